// Binary cross entropy of logits, and its gradient; see src/op/binary_cross_entropy.rs.
#import index
#import loss_total

struct Params { samples: u32, classes: u32, slot: u32, scale: f32, gradient: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;         // (R, K)
@group(0) @binding(2) var<storage, read> labels: array<f32>;         // (R, K)
@group(0) @binding(3) var<storage, read> row_weights: array<f32>;    // (R)
@group(0) @binding(4) var<storage, read> class_weights: array<f32>;  // (K)
@group(0) @binding(5) var<storage, read_write> dlogits: array<f32>;  // (R, K)
@group(0) @binding(6) var<storage, read_write> partial: array<f32>;  // (R)
@group(0) @binding(7) var<storage, read_write> scalars: array<f32>;

// One invocation a row.
@compute @workgroup_size(64)
fn rows(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = linear_group(group, groups) * 64u + lane;
    if row < params.samples {
        let weight = row_weights[row];
        var loss = 0.0;
        for (var k = 0u; k < params.classes; k++) {
            let at = row * params.classes + k;
            let z = logits[at];
            let small = exp(-abs(z));
            // Of the larger of both shares, so that nothing overflows.
            let share = select(small, 1.0, z >= 0.0) / (1.0 + small);
            let entropy = max(z, 0.0) - z * labels[at] + log(1.0 + small);
            // A row of weight 0 may hold anything.
            loss += select(0.0, weight * class_weights[k] * entropy, weight != 0.0);
            dlogits[at] = select(0.0, params.gradient * weight * class_weights[k] * (share - labels[at]), weight != 0.0);
        }
        partial[row] = loss;
    }
}
