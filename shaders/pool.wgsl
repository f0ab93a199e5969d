// Mean over tokens and its gradient; see src/op/pool.rs.
#import index

// `channels` of four each in `backward_wide`.
struct Params { samples: u32, tokens: u32, channels: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;        // (B, N, C)
@group(0) @binding(2) var<storage, read_write> y: array<f32>;  // (B, C)
@group(0) @binding(3) var<storage, read> dy: array<f32>;       // (B, C)
@group(0) @binding(4) var<storage, read_write> dx: array<f32>; // (B, N, C)
@group(0) @binding(5) var<storage, read> dy_wide: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> dx_wide: array<vec4<f32>>;

@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * 64u + lane;
    if i >= params.samples * params.channels {
        return;
    }
    let first = i / params.channels * params.tokens * params.channels + i % params.channels;
    var sum = 0.0;
    for (var n = 0u; n < params.tokens; n++) {
        sum += x[first + n * params.channels];
    }
    y[i] = sum / f32(params.tokens);
}

@compute @workgroup_size(64)
fn backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * 64u + lane;
    if i < params.samples * params.tokens * params.channels {
        dx[i] = dy[i / (params.tokens * params.channels) * params.channels + i % params.channels] / f32(params.tokens);
    }
}

@compute @workgroup_size(64)
fn backward_wide(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * 64u + lane;
    if i < params.samples * params.tokens * params.channels {
        dx_wide[i] = dy_wide[i / (params.tokens * params.channels) * params.channels + i % params.channels] / f32(params.tokens);
    }
}
