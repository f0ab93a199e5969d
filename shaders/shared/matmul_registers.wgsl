// C = A B by one subgroup: ROWS x 4 SUBGROUP of C in registers; every number of A is read by one lane and spread by a shuffle.
// Only for adapters whose subgroups are of SUBGROUP lanes. Loops over `Sums` run exactly its length: Mesa then unrolls them and keeps `Sums` out of memory.
// What imports this brings, four neighbours of a row each: `load_a(column, row)`, `load_b(column, row)`, `load_skip(index)`
// and `load_before(index)` of (M, N), and `store_hidden(index, value)` and `store_saved(index, value)`.
#import matmul_ends
#import matmul_fours
#list weights plain accumulate
#list four 0 1 2 3

// The workgroup is one subgroup.
const SUBGROUP: u32 = 8u;
// Rows of C a subgroup computes.
const ROWS: u32 = 32u;
// Reads that cover ROWS.
const READS: u32 = 4u;
const BLOCK: u32 = 4u;
// 0: A (M, K), B (K, N). 1: A (M, K), B (N, K). 2: A (K, M), B (K, N).
override LAYOUT: u32 = 0u;

// N is a multiple of 4, K too but for layout 2, where M is. Rows of C from `left` to `left_end`, multiples of 4, are left out of `totals`.
struct Params { m: u32, n: u32, k: u32, per_sample: u32, left: u32, left_end: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(3) var<storage, read_write> c: array<vec4<f32>>;   // (M, N)
@group(0) @binding(4) var<storage, read> bias: array<vec4<f32>>;      // (N)
@group(0) @binding(6) var<storage, read> scale: array<f32>;           // (B) factor of a sample's sums
@group(0) @binding(10) var<storage, read_write> totals: array<vec4<f32>>; // (M) column sums of A, layout 2

alias Sums = array<vec4<f32>, ROWS>;

// Which of the products, whose matrices lie behind each other.
var<private> part: u32;

struct Place { row: u32, col: u32, lane: u32 }

// Workgroups go down BLOCK tiles of rows before the next columns, so that those rows stay in the cache.
fn place(group: vec3<u32>, lane: u32) -> Place {
    let rows = (params.m + ROWS - 1u) / ROWS;
    let columns = (params.n / 4u + SUBGROUP - 1u) / SUBGROUP;
    let index = group.x + group.y * rows;
    let block = index / (BLOCK * columns) * BLOCK;
    let rest = index - block * columns;
    let high = min(BLOCK, rows - block);
    part = group.z;
    return Place((block + rest % high) * ROWS, rest / high * SUBGROUP + lane, lane);
}

// Layout 2 gives the sums over k of four columns of A a lane.
fn product(at: Place, sums: ptr<function, Sums>) -> vec4<f32> {
    var total = vec4(0.0);
    let last_col = params.n / 4u - 1u;
    let col = min(at.col, last_col);
    let blocks = (params.k + 3u) / 4u;
    let first_a = part * select(params.m, params.k, LAYOUT == 2u);
    let first_b = part * select(params.k, params.n, LAYOUT == 1u);
    for (var q = 0u; q < blocks; q++) {
        var y: array<vec4<f32>, 4>;
        if LAYOUT == 1u {
            let w0 = load_b(q, first_b + col * 4u);
            let w1 = load_b(q, first_b + col * 4u + 1u);
            let w2 = load_b(q, first_b + col * 4u + 2u);
            let w3 = load_b(q, first_b + col * 4u + 3u);
            y[0] = vec4(w0.x, w1.x, w2.x, w3.x);
            y[1] = vec4(w0.y, w1.y, w2.y, w3.y);
            y[2] = vec4(w0.z, w1.z, w2.z, w3.z);
            y[3] = vec4(w0.w, w1.w, w2.w, w3.w);
        } else {
            for (var u = 0u; u < 4u; u++) {
                y[u] = load_b(col, first_b + min(q * 4u + u, params.k - 1u));
            }
        }
        if LAYOUT == 2u {
            var x: array<vec4<f32>, 4>;
            let first = min(at.row / 4u + at.lane % (ROWS / 4u), params.m / 4u - 1u);
            for (var u = 0u; u < 4u; u++) {
                let k = q * 4u + u;
                x[u] = select(vec4(0.0), load_a(first, first_a + min(k, params.k - 1u)), k < params.k);
                total += x[u];
            }
            for (var i = 0u; i < ROWS; i++) {
                (*sums)[i] = fma(vec4(subgroupShuffle(x[0][i % 4u], i / 4u)), y[0], (*sums)[i]);
                (*sums)[i] = fma(vec4(subgroupShuffle(x[1][i % 4u], i / 4u)), y[1], (*sums)[i]);
                (*sums)[i] = fma(vec4(subgroupShuffle(x[2][i % 4u], i / 4u)), y[2], (*sums)[i]);
                (*sums)[i] = fma(vec4(subgroupShuffle(x[3][i % 4u], i / 4u)), y[3], (*sums)[i]);
            }
        } else {
            var x: array<vec4<f32>, READS>;
            for (var i = 0u; i < READS; i++) {
                x[i] = load_a(q, first_a + min(at.row + i * SUBGROUP + at.lane % ROWS, params.m - 1u));
            }
            for (var i = 0u; i < ROWS; i++) {
                let r = subgroupShuffle(x[i / SUBGROUP], i % SUBGROUP);
                (*sums)[i] = fma(vec4(r.x), y[0], (*sums)[i]);
                (*sums)[i] = fma(vec4(r.y), y[1], (*sums)[i]);
                (*sums)[i] = fma(vec4(r.z), y[2], (*sums)[i]);
                (*sums)[i] = fma(vec4(r.w), y[3], (*sums)[i]);
            }
        }
    }
    return total;
}

// The epilogues take four rows at a time off the front: constant indices, and code for four rows only. They are written
// out, since a loop over them is not unrolled once its body is long, and then `Sums` would be in memory.
fn shift(sums: ptr<function, Sums>) {
    for (var i = 0u; i < ROWS - 4u; i++) {
        (*sums)[i] = (*sums)[i + 4u];
    }
}

fn index(row: u32, quad: u32) -> u32 {
    return (part * params.m + row) * (params.n / 4u) + quad;
}

fn read_skip(row: u32, quad: u32) -> vec4<f32> {
    return load_skip(clamped(row, quad));
}

fn read_before(row: u32, quad: u32) -> vec4<f32> {
    return load_before(clamped(row, quad));
}

fn write_hidden(row: u32, quad: u32, x: vec4<f32>) {
    if inside(row, quad) {
        store_hidden(index(row, quad), x);
    }
}

fn write_saved(row: u32, quad: u32, x: vec4<f32>) {
    if inside(row, quad) {
        store_saved(index(row, quad), x);
    }
}

#each end ends
fn four_$end(at: Place, row: u32, sums: ptr<function, Sums>, add: vec4<f32>) {
#each r four
    put_$end(row + $ru, at.col, combine_$end(row + $ru, (*sums)[$r], add, beside_$end(row + $ru, at.col)));
#end
}

@compute @workgroup_size(SUBGROUP)
fn $end(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let at = place(group, lane);
    var sums: Sums;
    product(at, &sums);
    let add = add_$end(at.col);
    for (var r = 0u; r < ROWS; r += 4u) {
        four_$end(at, at.row + r, &sums, add);
        shift(&sums);
    }
}
#end

// The first column of tiles holds every column of A once.
fn put_total(at: Place, total: vec4<f32>) {
    let first = at.row / 4u + at.lane;
    let left = first >= params.left / 4u && first < params.left_end / 4u;
    if at.col == at.lane && at.lane < ROWS / 4u && first < params.m / 4u && !left {
        totals[part * (params.m / 4u) + first] += total;
    }
}

#each end weights
@compute @workgroup_size(SUBGROUP)
fn $end_totals(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let at = place(group, lane);
    var sums: Sums;
    let total = product(at, &sums);
    for (var r = 0u; r < ROWS; r += 4u) {
        four_$end(at, at.row + r, &sums, vec4(0.0));
        shift(&sums);
    }
    put_total(at, total);
}
#end
