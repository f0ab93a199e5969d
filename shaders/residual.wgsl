// The gradient of a residual branch, dbranch = scale[sample] * dy; see src/op/residual.rs.
#import index

// Of fours in `backward_wide`.
struct Params { len: u32, per_sample: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> scale: array<f32>;         // (B)
@group(0) @binding(2) var<storage, read> dy: array<f32>;            // (B, N, C)
@group(0) @binding(3) var<storage, read_write> dbranch: array<f32>; // (B, N, C)
@group(0) @binding(4) var<storage, read> dy_wide: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> dbranch_wide: array<vec4<f32>>;

@compute @workgroup_size(64)
fn backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * 64u + lane;
    if i < params.len {
        dbranch[i] = scale[i / params.per_sample] * dy[i];
    }
}

@compute @workgroup_size(64)
fn backward_wide(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * 64u + lane;
    if i < params.len {
        dbranch_wide[i] = scale[i / params.per_sample] * dy_wide[i];
    }
}
