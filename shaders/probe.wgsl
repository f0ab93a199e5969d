// The size of the subgroups that a driver builds kernels with cooperative matrices for: adapters report a range only.
#shader probe_f16_16 element=f16 side=16 feature=f16
#shader probe_f16_8 element=f16 side=8 feature=f16
#shader probe_f32_8 element=f32 side=8 feature=wgpu_cooperative_matrix
enable $feature;
enable wgpu_cooperative_matrix;
const SIDE: u32 = $sideu;
var<workgroup> operands: array<$element, SIDE * SIDE>;
var<workgroup> result: array<f32, SIDE * SIDE>;
@group(0) @binding(0) var<storage, read_write> lanes: array<u32>;

@compute @workgroup_size(128)
fn probe(@builtin(subgroup_size) size: u32, @builtin(local_invocation_index) local: u32) {
    var sum: coop_mat$sidex$side<f32, C>;
    for (var i = local; i < SIDE * SIDE; i += 128u) {
        operands[i] = 1.0;
    }
    workgroupBarrier();
    let left = coopLoadT<coop_mat$sidex$side<$element, A>>(&operands[0], SIDE);
    let right = coopLoadT<coop_mat$sidex$side<$element, B>>(&operands[0], SIDE);
    coopStoreT(coopMultiplyAdd(left, right, sum), &result[0], SIDE);
    workgroupBarrier();
    if local == 0u {
        // The result is used, so that no driver leaves the matrices out.
        lanes[0] = select(0u, size, result[0] > 0.0);
    }
}
