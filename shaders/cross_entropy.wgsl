// Cross entropy of logits against soft labels, and its gradient; see src/op/cross_entropy.rs.
#import index

struct Params { samples: u32, classes: u32, slot: u32, scale: f32, gradient: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;         // (B, K)
@group(0) @binding(2) var<storage, read> labels: array<f32>;         // (B, K)
@group(0) @binding(3) var<storage, read_write> dlogits: array<f32>;  // (B, K)
@group(0) @binding(4) var<storage, read_write> partial: array<f32>;  // (B)
@group(0) @binding(5) var<storage, read_write> scalars: array<f32>;

// One invocation a sample.
@compute @workgroup_size(64)
fn rows(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = linear_group(group, groups) * 64u + lane;
    if row >= params.samples {
        return;
    }
    let first = row * params.classes;
    var most = logits[first];
    for (var k = 1u; k < params.classes; k++) {
        most = max(most, logits[first + k]);
    }
    var sum = 0.0;
    var mass = 0.0;
    for (var k = 0u; k < params.classes; k++) {
        sum += exp(logits[first + k] - most);
        mass += labels[first + k];
    }
    let shift = most + log(sum);
    var loss = 0.0;
    for (var k = 0u; k < params.classes; k++) {
        let log_share = logits[first + k] - shift;
        loss = fma(-labels[first + k], log_share, loss);
        dlogits[first + k] = params.gradient * (mass * exp(log_share) - labels[first + k]);
    }
    partial[row] = loss;
}

@compute @workgroup_size(1)
fn total() {
    var sum = 0.0;
    for (var row = 0u; row < params.samples; row++) {
        sum += partial[row];
    }
    scalars[params.slot] += sum * params.scale;
}
