// Mean distance between predictions and the masked rows of the targets, and its gradient; see src/op/loss.rs.
#import index

struct Params { samples: u32, masked: u32, tokens: u32, channels: u32, chunk: u32, chunks: u32, slot: u32, kind: u32, scale: f32, gradient: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> prediction: array<f32>;         // (B, M, D)
@group(0) @binding(2) var<storage, read> expected: array<f32>;           // (B, N, D)
@group(0) @binding(3) var<storage, read> index: array<u32>;              // (B, M)
@group(0) @binding(4) var<storage, read_write> dprediction: array<f32>;  // (B, M, D)
@group(0) @binding(5) var<storage, read_write> partial: array<f32>;      // (chunks)
@group(0) @binding(6) var<storage, read_write> scalars: array<f32>;

const SMOOTH_L1: u32 = 0u;
const L1: u32 = 1u;

// One invocation a chunk of elements: writes their gradient and sums their distance.
@compute @workgroup_size(64)
fn chunks(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let k = linear_group(group, groups) * 64u + lane;
    if k >= params.chunks {
        return;
    }
    let len = params.samples * params.masked * params.channels;
    var sum = 0.0;
    for (var i = k; i < len; i += params.chunks) {
        let row = i / params.channels;
        let token = row / params.masked * params.tokens + index[row];
        let d = prediction[i] - expected[token * params.channels + i % params.channels];
        let a = abs(d);
        if params.kind == SMOOTH_L1 {
            sum += select(a - 0.5, 0.5 * d * d, a < 1.0);
            dprediction[i] = params.gradient * clamp(d, -1.0, 1.0);
        } else if params.kind == L1 {
            sum += a;
            dprediction[i] = params.gradient * sign(d);
        } else {
            sum = fma(d, d, sum);
            dprediction[i] = params.gradient * 2.0 * d;
        }
    }
    partial[k] = sum;
}

@compute @workgroup_size(1)
fn total() {
    var sum = 0.0;
    for (var k = 0u; k < params.chunks; k++) {
        sum += partial[k];
    }
    scalars[params.slot] += sum * params.scale;
}
