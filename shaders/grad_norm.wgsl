// Norm of all gradients and the factor that clips it; see src/op/grad_norm.rs.
#import index
#import step
#import list_sum

struct Params { len: u32, groups: u32, first: u32, norm_slot: u32, clip_slot: u32, total: u32, unscale: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<uniform> step: Step;
@group(0) @binding(2) var<storage, read> grad: array<vec4<f32>>;    // one chunk of the arena, `len` fours
@group(0) @binding(3) var<storage, read_write> partial: array<f32>; // sums of squares, all chunks'
@group(0) @binding(4) var<storage, read_write> scalars: array<f32>;

// Fours that an invocation loads before it needs the first.
const AHEAD: u32 = 8u;

// `groups` workgroups share a chunk; each LANES of a workgroup leave one sum.
@compute @workgroup_size(64)
fn squares(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let k = linear_group(group, groups);
    if k >= params.groups {
        return;
    }
    var sums = vec4(0.0);
    for (var first = k * 64u * AHEAD + local; first < params.len; first += params.groups * 64u * AHEAD) {
        var g: array<vec4<f32>, AHEAD>;
        for (var i = 0u; i < AHEAD; i++) {
            g[i] = grad[min(first + i * 64u, params.len - 1u)];
        }
        for (var i = 0u; i < AHEAD; i++) {
            let own = select(vec4(0.0), g[i], first + i * 64u < params.len);
            sums = fma(own, own, sums);
        }
    }
    let sum = row_sum_f32(local, sum4(sums));
    if local % LANES == 0u {
        partial[params.first + (k * 64u + local) / LANES] = sum;
    }
}

@compute @workgroup_size(LANES)
fn total(@builtin(local_invocation_index) local: u32) {
    let norm = params.unscale * sqrt(list_sum(local, params.total));
    if local == 0u {
        scalars[params.norm_slot] = norm;
        // As torch.nn.utils.clip_grad_norm_ does it.
        let factor = select(1.0, min(1.0, step.clip / (norm + 1e-6)), step.clip > 0.0);
        scalars[params.clip_slot] = params.unscale * factor;
    }
}
