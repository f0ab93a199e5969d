// average += share * (weight - average); see src/op/ema.rs.
#import index

// `len` fours.
struct Params { len: u32, share: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weight: array<vec4<f32>>;        // (len)
@group(0) @binding(2) var<storage, read_write> average: array<vec4<f32>>; // (len)

@compute @workgroup_size(64)
fn update(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * 64u + lane;
    if i < params.len {
        average[i] = fma(vec4(params.share), weight[i] - average[i], average[i]);
    }
}
