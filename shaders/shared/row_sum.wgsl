// Sums over the LANES invocations that share a row or a list: a workgroup of n holds n / LANES rows.
// One lane a row on software adapters, where a barrier costs more than a row; see `Caps::row_lanes`.
#import sum4
override LANES: u32 = 64u;

#list types f32 vec2f vec4f
#each T types
var<workgroup> scratch_$T: array<$T, 256>;
#end

// Every invocation of the row gets the sum, added in a fixed order. Call in uniform control flow.
#each T types
fn row_sum_$T(local: u32, value: $T) -> $T {
    if LANES == 1u {
        return value;
    }
    workgroupBarrier();
    scratch_$T[local] = value;
    workgroupBarrier();
    for (var width = LANES / 2u; width > 0u; width >>= 1u) {
        if local % LANES < width {
            scratch_$T[local] += scratch_$T[local + width];
        }
        workgroupBarrier();
    }
    return scratch_$T[local - local % LANES];
}
#end

// The largest, likewise.
fn row_most(local: u32, value: f32) -> f32 {
    if LANES == 1u {
        return value;
    }
    workgroupBarrier();
    scratch_f32[local] = value;
    workgroupBarrier();
    for (var width = LANES / 2u; width > 0u; width >>= 1u) {
        if local % LANES < width {
            scratch_f32[local] = max(scratch_f32[local], scratch_f32[local + width]);
        }
        workgroupBarrier();
    }
    return scratch_f32[local - local % LANES];
}
