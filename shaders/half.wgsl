// Numbers rounded to f16.
enable f16;
#import index
struct Params { quads: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f16>>;

@compute @workgroup_size(256)
fn to_half(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = linear_group(group, groups) * 256u + local;
    if i < params.quads {
        y[i] = vec4<f16>(x[i]);
    }
}
