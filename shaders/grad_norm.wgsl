// Norm of all gradients and the factor that clips it; see src/op/grad_norm.rs.
#import index
#import step

struct Params { len: u32, sums: u32, first: u32, norm_slot: u32, clip_slot: u32, total: u32, unscale: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<uniform> step: Step;
@group(0) @binding(2) var<storage, read> grad: array<vec4<f32>>;    // one chunk of the arena, `len` fours
@group(0) @binding(3) var<storage, read_write> partial: array<f32>; // sums of squares, all chunks'
@group(0) @binding(4) var<storage, read_write> scalars: array<f32>;

@compute @workgroup_size(64)
fn squares(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let k = linear_group(group, groups) * 64u + lane;
    if k >= params.sums {
        return;
    }
    var sums = vec4(0.0);
    for (var i = k; i < params.len; i += params.sums) {
        let g = grad[i];
        sums = fma(g, g, sums);
    }
    partial[params.first + k] = sums.x + sums.y + sums.z + sums.w;
}

@compute @workgroup_size(1)
fn total() {
    var sum = 0.0;
    for (var k = 0u; k < params.total; k++) {
        sum += partial[k];
    }
    let norm = params.unscale * sqrt(sum);
    scalars[params.norm_slot] = norm;
    // As torch.nn.utils.clip_grad_norm_ does it.
    let factor = select(1.0, min(1.0, step.clip / (norm + 1e-6)), step.clip > 0.0);
    scalars[params.clip_slot] = params.unscale * factor;
}
