// Column sums by workgroups of 256: `width` columns of four numbers side by side, 256 / width strips of rows below each other.
var<workgroup> strips: array<vec4<f32>, 256>;

// Every invocation gets its column's sum over the strips, added in a fixed order. Call in uniform control flow.
fn strip_sum(local: u32, width: u32, value: vec4<f32>) -> vec4<f32> {
    workgroupBarrier();
    strips[local] = value;
    workgroupBarrier();
    for (var half = 128u; half >= width; half >>= 1u) {
        if local < half {
            strips[local] += strips[local + half];
        }
        workgroupBarrier();
    }
    return strips[local % width];
}
