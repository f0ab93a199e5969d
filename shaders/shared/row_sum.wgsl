// Sums over the LANES invocations that share a row; a workgroup of 64 holds 64 / LANES rows.
// One lane a row on software adapters, where a barrier costs more than a row; 64 on GPUs.
override LANES: u32 = 64u;
var<workgroup> row_scratch: array<f32, 64>;

// Every invocation of the row gets the sum, added in a fixed order. Call in uniform control flow.
fn row_sum(local: u32, value: f32) -> f32 {
    if LANES == 1u {
        return value;
    }
    workgroupBarrier();
    row_scratch[local] = value;
    workgroupBarrier();
    for (var width = LANES / 2u; width > 0u; width >>= 1u) {
        if local % LANES < width {
            row_scratch[local] += row_scratch[local + width];
        }
        workgroupBarrier();
    }
    return row_scratch[local - local % LANES];
}
