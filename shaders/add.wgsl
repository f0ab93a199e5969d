// y = a + b; also the second share of a gradient.
#import index

// `len` fours in `forward_wide`.
struct Params { len: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;       // (len)
@group(0) @binding(2) var<storage, read> b: array<f32>;       // (len)
@group(0) @binding(3) var<storage, read_write> y: array<f32>; // (len)
@group(0) @binding(4) var<storage, read> a_wide: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> b_wide: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> y_wide: array<vec4<f32>>;

@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * 64u + lane;
    if i < params.len {
        y[i] = a[i] + b[i];
    }
}

@compute @workgroup_size(64)
fn forward_wide(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * 64u + lane;
    if i < params.len {
        y_wide[i] = a_wide[i] + b_wide[i];
    }
}
