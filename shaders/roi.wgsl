// Small products along one axis with tables, and the maximum over rows; see src/op/roi.rs.
#import index

struct Params { matrices: u32, outer: u32, rows: u32, terms: u32, inner: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;           // (N, O, K, I)
@group(0) @binding(2) var<storage, read> weights: array<f32>;     // (N, A, K); in `apply_transposed` (N, K, A)
@group(0) @binding(3) var<storage, read_write> y: array<f32>;     // (N, O, A, I)
@group(0) @binding(4) var<storage, read> dy: array<f32>;          // (N, I)
@group(0) @binding(5) var<storage, read> kept: array<f32>;        // (N, I) rows
@group(0) @binding(6) var<storage, read_write> place: array<f32>; // (N, I) rows

struct Cell { inside: bool, matrix: u32, row: u32, from_index: u32 }

// The cell of y that an invocation makes, and the first element of x that it reads; the next is `inner` further on.
fn cell(group: vec3<u32>, groups: vec3<u32>, lane: u32) -> Cell {
    let i = linear_group(group, groups) * 64u + lane;
    let outer = i / params.inner / params.rows;
    let matrix = outer / params.outer;
    return Cell(matrix < params.matrices, matrix, i / params.inner % params.rows, outer * params.terms * params.inner + i % params.inner);
}

// y[n, o, a, i] = sum_k weights[n, a, k] x[n, o, k, i]
@compute @workgroup_size(64)
fn apply(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let c = cell(group, groups, lane);
    if c.inside {
        let first = (c.matrix * params.rows + c.row) * params.terms;
        var sum = 0.0;
        for (var k = 0u; k < params.terms; k++) {
            sum = fma(weights[first + k], x[c.from_index + k * params.inner], sum);
        }
        y[linear_group(group, groups) * 64u + lane] = sum;
    }
}

// y[n, o, a, i] = sum_k weights[n, k, a] x[n, o, k, i]
@compute @workgroup_size(64)
fn apply_transposed(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let c = cell(group, groups, lane);
    if c.inside {
        let first = c.matrix * params.terms * params.rows + c.row;
        var sum = 0.0;
        for (var k = 0u; k < params.terms; k++) {
            sum = fma(weights[first + k * params.rows], x[c.from_index + k * params.inner], sum);
        }
        y[linear_group(group, groups) * 64u + lane] = sum;
    }
}

// y[n, i] = max_k x[n, k, i], and the first k where it is.
@compute @workgroup_size(64)
fn largest(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * 64u + lane;
    if i < params.matrices * params.inner {
        let first = i / params.inner * params.terms * params.inner + i % params.inner;
        var most = x[first];
        var at = 0u;
        for (var k = 1u; k < params.terms; k++) {
            let value = x[first + k * params.inner];
            if value > most {
                most = value;
                at = k;
            }
        }
        y[i] = most;
        place[i] = f32(at);
    }
}

// y[n, k, i] = dy[n, i] where k is the row kept, else 0.
@compute @workgroup_size(64)
fn largest_backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * 64u + lane;
    if i < params.matrices * params.terms * params.inner {
        let at = i / params.inner / params.terms * params.inner + i % params.inner;
        y[i] = select(0.0, dy[at], kept[at] == f32(i / params.inner % params.terms));
    }
}
