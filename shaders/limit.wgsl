// What an adapter can do at most: fused multiply-adds in registers, and copying.
#import index

struct Params { len: u32, factor: f32, term: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;       // (len)
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>; // (len)

// Fused multiply-adds of four numbers each in an invocation: 6 chains, 8 a round.
const ROUNDS: u32 = 512u;

@compute @workgroup_size(64)
fn multiply_add(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = linear_group(group, groups) * 64u + lane;
    let b = vec4(params.factor);
    let c = vec4(params.term);
    var s: array<vec4<f32>, 6>;
    for (var i = 0u; i < 6u; i++) {
        s[i] = vec4(f32(i));
    }
    for (var round = 0u; round < ROUNDS; round++) {
        for (var turn = 0u; turn < 8u; turn++) {
            for (var i = 0u; i < 6u; i++) {
                s[i] = fma(s[i], b, c);
            }
        }
    }
    if at < params.len {
        y[at] = s[0] + s[1] + s[2] + s[3] + s[4] + s[5];
    }
}

@compute @workgroup_size(64)
fn copy(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = linear_group(group, groups) * 64u + lane;
    if at < params.len {
        y[at] = x[at];
    }
}
