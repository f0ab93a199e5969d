// Cross entropy of logits against soft labels, and its gradient; see src/op/cross_entropy.rs.
#import index
#import loss_total

struct Params { samples: u32, classes: u32, slot: u32, scale: f32, gradient: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;         // (B, K)
@group(0) @binding(2) var<storage, read> labels: array<f32>;         // (B, K)
@group(0) @binding(3) var<storage, read_write> dlogits: array<f32>;  // (B, K)
@group(0) @binding(4) var<storage, read_write> partial: array<f32>;  // (B)
@group(0) @binding(5) var<storage, read_write> scalars: array<f32>;

// LANES invocations a sample.
@compute @workgroup_size(64)
fn rows(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let row = (linear_group(group, groups) * 64u + local) / LANES;
    let first = min(row, params.samples - 1u) * params.classes;
    var most = logits[first];
    for (var k = local % LANES; k < params.classes; k += LANES) {
        most = max(most, logits[first + k]);
    }
    most = row_most(local, most);
    var sums = vec2(0.0);
    for (var k = local % LANES; k < params.classes; k += LANES) {
        sums += vec2(exp(logits[first + k] - most), labels[first + k]);
    }
    sums = row_sum_vec2f(local, sums);
    let shift = most + log(sums.x);
    var loss = 0.0;
    if row < params.samples {
        for (var k = local % LANES; k < params.classes; k += LANES) {
            let log_share = logits[first + k] - shift;
            loss = fma(-labels[first + k], log_share, loss);
            dlogits[first + k] = params.gradient * (sums.y * exp(log_share) - labels[first + k]);
        }
    }
    loss = row_sum_f32(local, loss);
    if row < params.samples && local % LANES == 0u {
        partial[row] = loss;
    }
}
