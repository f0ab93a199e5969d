// What an adapter can do at most: fused multiply-adds in registers, and copying.
#import index

struct Params { len: u32, factor: f32, term: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;       // (len)
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>; // (len)

// Fused multiply-adds of four numbers each in an invocation: 6 chains, 8 a round.
const ROUNDS: u32 = 512u;
// Written out: an array that a driver does not keep in registers would be measured instead.
#list chains 0 1 2 3 4 5
#list turns 0 1 2 3 4 5 6 7

@compute @workgroup_size(64)
fn multiply_add(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = linear_group(group, groups) * 64u + lane;
    let b = vec4(params.factor);
    let c = vec4(params.term);
#each I chains
    var s$I = vec4(f32($I));
#end
    for (var round = 0u; round < ROUNDS; round++) {
#each TURN turns
#each I chains
        s$I = fma(s$I, b, c);
#end
#end
    }
    if at < params.len {
        y[at] = s0 + s1 + s2 + s3 + s4 + s5;
    }
}

@compute @workgroup_size(64)
fn copy(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = linear_group(group, groups) * 64u + lane;
    if at < params.len {
        y[at] = x[at];
    }
}
