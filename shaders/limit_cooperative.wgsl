// What an adapter can do at most in matrix products of f16: cooperative matrices in registers, sums in f32.
#shader limit_cooperative_8 SIDE=8 MATRIX=coop_mat8x8
#shader limit_cooperative_16 SIDE=16 MATRIX=coop_mat16x16
enable f16;
enable wgpu_cooperative_matrix;
#import index

struct Params { stored: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<f32>; // (stored, 8, SIDE, SIDE)

const SIDE: u32 = $SIDEu;
const AREA: u32 = SIDE * SIDE;
const LANES: u32 = 128u;
// Steps of all subgroups of a workgroup together, 8 products of 2 by 4 matrices each.
const STEPS: u32 = 1024u;
#list lefts 0 1
#list rights 0 1 2 3

var<workgroup> left: array<f16, 2u * AREA>;  // (2, SIDE, SIDE)
var<workgroup> right: array<f16, 4u * AREA>; // (4, SIDE, SIDE)

// A number in [0.25, 1.25) for each i.
fn operand(i: u32) -> f32 {
    return 0.25 + f32((i * 2654435761u) >> 22u) / 1024.0;
}

// The left operand alternates in sign along k, and each number of the right one stands twice along it: all sums are 0.
@compute @workgroup_size(LANES)
fn multiply_add(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(num_subgroups) subgroups: u32,
) {
    for (var i = lane; i < 2u * AREA; i += LANES) {
        left[i] = f16(select(1.0, -1.0, i % 2u == 1u) * operand(i / 2u));
    }
    for (var i = lane; i < 4u * AREA; i += LANES) {
        right[i] = f16(operand(i / (2u * SIDE) * SIDE + i % SIDE));
    }
    workgroupBarrier();
#each I lefts
    let a$I = coopLoadT<$MATRIX<f16, A>>(&left[$Iu * AREA], SIDE);
#end
#each J rights
    let b$J = coopLoadT<$MATRIX<f16, B>>(&right[$Ju * AREA], SIDE);
#end
#each I lefts
#each J rights
    var s$I_$J: $MATRIX<f32, C>;
#end
#end
    for (var step = 0u; step < STEPS / subgroups; step++) {
#each I lefts
#each J rights
        s$I_$J = coopMultiplyAdd(a$I, b$J, s$I_$J);
#end
#end
    }
    // Every subgroup of the workgroups that share a place stores the same.
    let first = linear_group(group, groups) % params.stored * 8u * AREA;
#each I lefts
#each J rights
    coopStoreT(s$I_$J, &y[first + ($Iu * 4u + $Ju) * AREA], SIDE);
#end
#end
}
