// C = A B by one subgroup: ROWS x 4 SUBGROUP of C in registers; every number of A is read by one lane and spread by a shuffle.
// Only for adapters whose subgroups are of SUBGROUP lanes. Loops over `Sums` run exactly its length: Mesa then unrolls them and keeps `Sums` out of memory.

// The workgroup is one subgroup.
const SUBGROUP: u32 = 8u;
// Rows of C a subgroup computes: 16 or 32.
const ROWS: u32 = 32u;
// Reads that cover ROWS: max(1, ROWS / SUBGROUP).
const READS: u32 = 4u;
// 0: A (M, K), B (K, N). 1: A (M, K), B (N, K). 2: A (K, M), B (K, N).
override LAYOUT: u32 = 0u;

// N is a multiple of 4, K too but for layout 2, where M is.
struct Params { m: u32, n: u32, k: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>; // (M, K), layout 2: (K, M)
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>; // (K, N), layout 1: (N, K)
@group(0) @binding(3) var<storage, read_write> c: array<vec4<f32>>;      // (M, N)
@group(0) @binding(4) var<storage, read> bias: array<vec4<f32>>;         // (N)

fn load_a(column: u32, row: u32) -> vec4<f32> {
    return a[row * (select(params.k, params.m, LAYOUT == 2u) / 4u) + column];
}

fn load_b(column: u32, row: u32) -> vec4<f32> {
    return b[row * (select(params.n, params.k, LAYOUT == 1u) / 4u) + column];
}

alias Sums = array<vec4<f32>, ROWS>;

struct Place { row: u32, col: u32, lane: u32 }

fn place(group: vec3<u32>, lane: u32) -> Place {
    return Place(group.x * ROWS, group.y * SUBGROUP + lane, lane);
}

fn product(at: Place, sums: ptr<function, Sums>) {
    let last_col = params.n / 4u - 1u;
    let col = min(at.col, last_col);
    let blocks = (params.k + 3u) / 4u;
    for (var q = 0u; q < blocks; q++) {
        var y: array<vec4<f32>, 4>;
        if LAYOUT == 1u {
            let w0 = load_b(q, col * 4u);
            let w1 = load_b(q, col * 4u + 1u);
            let w2 = load_b(q, col * 4u + 2u);
            let w3 = load_b(q, col * 4u + 3u);
            y[0] = vec4(w0.x, w1.x, w2.x, w3.x);
            y[1] = vec4(w0.y, w1.y, w2.y, w3.y);
            y[2] = vec4(w0.z, w1.z, w2.z, w3.z);
            y[3] = vec4(w0.w, w1.w, w2.w, w3.w);
        } else {
            for (var u = 0u; u < 4u; u++) {
                y[u] = load_b(col, min(q * 4u + u, params.k - 1u));
            }
        }
        if LAYOUT == 2u {
            var x: array<vec4<f32>, 4>;
            let first = min(at.row / 4u + at.lane % (ROWS / 4u), params.m / 4u - 1u);
            for (var u = 0u; u < 4u; u++) {
                let k = q * 4u + u;
                x[u] = select(vec4(0.0), load_a(first, min(k, params.k - 1u)), k < params.k);
            }
            for (var i = 0u; i < ROWS; i++) {
                (*sums)[i] += subgroupShuffle(x[0][i % 4u], i / 4u) * y[0];
                (*sums)[i] += subgroupShuffle(x[1][i % 4u], i / 4u) * y[1];
                (*sums)[i] += subgroupShuffle(x[2][i % 4u], i / 4u) * y[2];
                (*sums)[i] += subgroupShuffle(x[3][i % 4u], i / 4u) * y[3];
            }
        } else {
            var x: array<vec4<f32>, READS>;
            for (var i = 0u; i < READS; i++) {
                x[i] = load_a(q, min(at.row + i * SUBGROUP + at.lane % ROWS, params.m - 1u));
            }
            for (var i = 0u; i < ROWS; i++) {
                let r = subgroupShuffle(x[i / SUBGROUP], i % SUBGROUP);
                (*sums)[i] += r.x * y[0];
                (*sums)[i] += r.y * y[1];
                (*sums)[i] += r.z * y[2];
                (*sums)[i] += r.w * y[3];
            }
        }
    }
}

// The epilogues take four rows at a time off the front: constant indices, and code for four rows only.
fn shift(sums: ptr<function, Sums>) {
    for (var i = 0u; i < ROWS - 4u; i++) {
        (*sums)[i] = (*sums)[i + 4u];
    }
}

fn inside(at: Place, row: u32) -> bool {
    return row < params.m && at.col < params.n / 4u;
}

fn index(at: Place, row: u32) -> u32 {
    return row * (params.n / 4u) + at.col;
}

@compute @workgroup_size(SUBGROUP)
fn plain(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let at = place(group, lane);
    var sums: Sums;
    product(at, &sums);
    for (var r = 0u; r < ROWS; r += 4u) {
        for (var i = 0u; i < 4u; i++) {
            if inside(at, at.row + r + i) {
                c[index(at, at.row + r + i)] = sums[i];
            }
        }
        shift(&sums);
    }
}

@compute @workgroup_size(SUBGROUP)
fn accumulate(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let at = place(group, lane);
    var sums: Sums;
    product(at, &sums);
    for (var r = 0u; r < ROWS; r += 4u) {
        for (var i = 0u; i < 4u; i++) {
            if inside(at, at.row + r + i) {
                c[index(at, at.row + r + i)] += sums[i];
            }
        }
        shift(&sums);
    }
}

@compute @workgroup_size(SUBGROUP)
fn biased(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let at = place(group, lane);
    var sums: Sums;
    product(at, &sums);
    let add = bias[min(at.col, params.n / 4u - 1u)];
    for (var r = 0u; r < ROWS; r += 4u) {
        for (var i = 0u; i < 4u; i++) {
            if inside(at, at.row + r + i) {
                c[index(at, at.row + r + i)] = sums[i] + add;
            }
        }
        shift(&sums);
    }
}
