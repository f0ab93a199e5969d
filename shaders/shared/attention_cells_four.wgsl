// Matrices in workgroup memory four numbers at a time, so that drivers know how their loads are aligned.
const CELL: u32 = 4u;
alias Cell = vec4<f16>;
alias Score = vec4<f32>;

fn score(at: u32) -> vec4<f32> {
    return scores[at];
}

fn put_score(at: u32, x: vec4<f32>) {
    scores[at] = x;
}

#list stored weights near_a near_b turned_a turned_b
#each to stored
fn put_$to(at: u32, x: vec4<f16>) {
    $to[at] = x;
}
#end
