// A position table from a row a place and a row a moment; see src/op/separable.rs. In `forward_wide` a channel is four.
#import index

struct Params { places: u32, channels: u32, len: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> spatial: array<f32>;       // (S, C)
@group(0) @binding(2) var<storage, read> temporal: array<f32>;      // (T, C)
@group(0) @binding(3) var<storage, read_write> y: array<f32>;       // (T S, C), `len` elements
@group(0) @binding(4) var<storage, read> spatial_wide: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> temporal_wide: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> y_wide: array<vec4<f32>>;

struct Sources { inside: bool, spatial: u32, temporal: u32 }

fn sources(i: u32) -> Sources {
    let row = i / params.channels;
    let c = i % params.channels;
    return Sources(i < params.len, row % params.places * params.channels + c, row / params.places * params.channels + c);
}

@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * 64u + lane;
    let s = sources(i);
    if s.inside {
        y[i] = spatial[s.spatial] + temporal[s.temporal];
    }
}

@compute @workgroup_size(64)
fn forward_wide(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * 64u + lane;
    let s = sources(i);
    if s.inside {
        y_wide[i] = spatial_wide[s.spatial] + temporal_wide[s.temporal];
    }
}
