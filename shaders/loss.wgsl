// Mean distance between predictions and the masked rows of the targets, and its gradient; see src/op/loss.rs.
#import index
#import list_sum

// `channels` of four each in `chunks_wide`; `chunks` numbers of `partial`.
struct Params { samples: u32, masked: u32, tokens: u32, channels: u32, chunks: u32, slot: u32, kind: u32, scale: f32, gradient: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> prediction: array<f32>;         // (B, M, D)
@group(0) @binding(2) var<storage, read> expected: array<f32>;           // (B, N, D)
@group(0) @binding(3) var<storage, read> index: array<u32>;              // (B, M)
@group(0) @binding(4) var<storage, read_write> dprediction: array<f32>;  // (B, M, D)
@group(0) @binding(5) var<storage, read_write> partial: array<f32>;      // (chunks)
@group(0) @binding(6) var<storage, read_write> scalars: array<f32>;
@group(0) @binding(7) var<storage, read> prediction_wide: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read> expected_wide: array<vec4<f32>>;
@group(0) @binding(9) var<storage, read_write> dprediction_wide: array<vec4<f32>>;

const SMOOTH_L1: u32 = 0u;
const L1: u32 = 1u;

// Where the target of element i of the predictions is.
fn target_of(i: u32) -> u32 {
    let row = i / params.channels;
    let token = row / params.masked * params.tokens + index[row];
    return token * params.channels + i % params.channels;
}

#list types f32 vec4f
#each T types
fn distance_$T(d: $T) -> $T {
    let a = abs(d);
    if params.kind == SMOOTH_L1 {
        return select(a - 0.5, 0.5 * d * d, a < $T(1.0));
    }
    return select(d * d, a, params.kind == L1);
}

fn slope_$T(d: $T) -> $T {
    if params.kind == SMOOTH_L1 {
        return params.gradient * clamp(d, $T(-1.0), $T(1.0));
    }
    return params.gradient * select(2.0 * d, sign(d), params.kind == L1);
}
#end

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
        let d = prediction[i] - expected[target_of(i)];
        sum += distance_f32(d);
        dprediction[i] = slope_f32(d);
    }
    partial[k] = sum;
}

// Fours that an invocation loads before it needs the first.
const AHEAD: u32 = 4u;

// One workgroup a chunk of elements.
@compute @workgroup_size(64)
fn chunks_wide(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let k = linear_group(group, groups);
    if k >= params.chunks {
        return;
    }
    let len = params.samples * params.masked * params.channels;
    var sum = vec4(0.0);
    for (var first = k * 64u * AHEAD + local; first < len; first += params.chunks * 64u * AHEAD) {
        var d: array<vec4<f32>, AHEAD>;
        var e: array<vec4<f32>, AHEAD>;
        for (var i = 0u; i < AHEAD; i++) {
            let at = min(first + i * 64u, len - 1u);
            d[i] = prediction_wide[at];
            e[i] = expected_wide[target_of(at)];
        }
        for (var i = 0u; i < AHEAD; i++) {
            let at = first + i * 64u;
            if at < len {
                let difference = d[i] - e[i];
                sum += distance_vec4f(difference);
                dprediction_wide[at] = slope_vec4f(difference);
            }
        }
    }
    let total = row_sum_f32(local, sum4(sum));
    if local == 0u {
        partial[k] = total;
    }
}

@compute @workgroup_size(LANES)
fn total(@builtin(local_invocation_index) local: u32) {
    let sum = list_sum(local, params.chunks);
    if local == 0u {
        scalars[params.slot] += sum * params.scale;
    }
}
