// C = A B (+ bias), any layout: A and B are read through strides. One invocation computes 4 x 4 of C.
#import index

struct Params { m: u32, n: u32, k: u32, a_row: u32, a_k: u32, b_k: u32, b_col: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;       // (M, K) by strides
@group(0) @binding(2) var<storage, read> b: array<f32>;       // (K, N) by strides
@group(0) @binding(3) var<storage, read> bias: array<f32>;    // (N)
@group(0) @binding(4) var<storage, read_write> c: array<f32>; // (M, N)

struct Tile { row: u32, col: u32, sums: array<vec4<f32>, 4> }

fn product(group: vec3<u32>, groups: vec3<u32>, local: u32) -> Tile {
    let columns = (params.n + 3u) / 4u;
    let index = linear_group(group, groups) * 64u + local;
    var t: Tile;
    t.row = index / columns * 4u;
    t.col = index % columns * 4u;
    // Rows and columns past the edge repeat the last one; they are not stored.
    let r = min(vec4(t.row) + vec4(0u, 1u, 2u, 3u), vec4(params.m - 1u)) * params.a_row;
    let s = min(vec4(t.col) + vec4(0u, 1u, 2u, 3u), vec4(params.n - 1u)) * params.b_col;
    if t.row >= params.m {
        return t;
    }
    for (var k = 0u; k < params.k; k++) {
        let ak = k * params.a_k;
        let bk = k * params.b_k;
        let row = vec4(b[s.x + bk], b[s.y + bk], b[s.z + bk], b[s.w + bk]);
        t.sums[0] += a[r.x + ak] * row;
        t.sums[1] += a[r.y + ak] * row;
        t.sums[2] += a[r.z + ak] * row;
        t.sums[3] += a[r.w + ak] * row;
    }
    return t;
}

@compute @workgroup_size(64)
fn plain(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let t = product(group, groups, local);
    for (var i = 0u; i < 4u; i++) {
        for (var j = 0u; j < 4u; j++) {
            if t.row + i < params.m && t.col + j < params.n {
                c[(t.row + i) * params.n + t.col + j] = t.sums[i][j];
            }
        }
    }
}

@compute @workgroup_size(64)
fn accumulate(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let t = product(group, groups, local);
    for (var i = 0u; i < 4u; i++) {
        for (var j = 0u; j < 4u; j++) {
            if t.row + i < params.m && t.col + j < params.n {
                c[(t.row + i) * params.n + t.col + j] += t.sums[i][j];
            }
        }
    }
}

@compute @workgroup_size(64)
fn biased(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let t = product(group, groups, local);
    for (var i = 0u; i < 4u; i++) {
        for (var j = 0u; j < 4u; j++) {
            if t.row + i < params.m && t.col + j < params.n {
                c[(t.row + i) * params.n + t.col + j] = t.sums[i][j] + bias[t.col + j];
            }
        }
    }
}
