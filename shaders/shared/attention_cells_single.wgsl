// Matrices in workgroup memory number by number, as Metal's loads of matrices want them.
const CELL: u32 = 1u;
alias Cell = f16;
alias Score = f32;

fn score(at: u32) -> vec4<f32> {
    return vec4(scores[at], scores[at + 1u], scores[at + 2u], scores[at + 3u]);
}

fn put_score(at: u32, x: vec4<f32>) {
    scores[at] = x.x;
    scores[at + 1u] = x.y;
    scores[at + 2u] = x.z;
    scores[at + 3u] = x.w;
}

#list stored weights near_a near_b turned_a turned_b
#each to stored
fn put_$to(at: u32, x: vec4<f16>) {
    $to[at] = x.x;
    $to[at + 1u] = x.y;
    $to[at + 2u] = x.z;
    $to[at + 3u] = x.w;
}
#end
