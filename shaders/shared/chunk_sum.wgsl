// The second pass of column sums by workgroups of 16 columns of four and 16 strips: adds the chunks that the first pass left in
// `partial` (lists, chunks, width).
#import strips

const CHUNKS_AHEAD: u32 = 8u;

// Of column `c` of list `list`, for every invocation of the column. Call in uniform control flow.
fn chunk_sum(local: u32, list: u32, c: u32, width: u32, count: u32) -> vec4<f32> {
    let column = list * count * width + min(c, width - 1u);
    var sum = vec4(0.0);
    for (var first = local / 16u; first < count; first += 16u * CHUNKS_AHEAD) {
        var here: array<vec4<f32>, CHUNKS_AHEAD>;
        for (var i = 0u; i < CHUNKS_AHEAD; i++) {
            here[i] = partial[column + min(first + i * 16u, count - 1u) * width];
        }
        for (var i = 0u; i < CHUNKS_AHEAD; i++) {
            sum += select(vec4(0.0), here[i], first + i * 16u < count);
        }
    }
    return strip_sum(local, 16u, sum);
}
