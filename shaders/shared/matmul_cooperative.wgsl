// C = A B by cooperative matrices: operands rounded to f16, sums in f32. A workgroup is one subgroup of LANES and computes 32 x 32.
// What imports this enables f16 and the matrices, and brings their side SIDE (8 or 16) and types Left, Right and Sum.
#import matmul_ends

override LANES: u32 = 32u;
const TILE: u32 = 32u;
const DEPTH: u32 = 16u;
// Matrices along a side of the tile.
const COUNT: u32 = TILE / SIDE;

// Rows apart by more than a power of two, so that columns do not fall into one bank.
const STRIDE_A: u32 = DEPTH + 8u;
const STRIDE_B: u32 = TILE + 8u;
var<workgroup> tile_a: array<f16, TILE * STRIDE_A>; // (TILE rows, DEPTH)
var<workgroup> tile_b: array<f16, DEPTH * STRIDE_B>; // (DEPTH, TILE columns)
var<workgroup> tile_c: array<f32, TILE * TILE>;

// Zero past the ends of k, the last row or column past those of the sides.
fn read_a(row: u32, k: u32) -> f16 {
    let i = min(row, params.m - 1u);
    let at = min(k, params.k - 1u);
    let first = part * params.m * params.k;
    return f16(select(0.0, a[first + select(i * params.k + at, at * params.m + i, LAYOUT == 2u)], k < params.k));
}

fn read_b(k: u32, column: u32) -> f16 {
    let i = min(column, params.n - 1u);
    let at = min(k, params.k - 1u);
    let first = part * params.k * params.n;
    return f16(select(0.0, b[first + select(at * params.n + i, i * params.k + at, LAYOUT == 1u)], k < params.k));
}

// Leaves the tile's sums in `tile_c`.
fn product(group: vec3<u32>, lane: u32) {
    part = group.z;
    var sums: array<Sum, COUNT * COUNT>;
    for (var first = 0u; first < params.k; first += DEPTH) {
        for (var e = lane; e < TILE * DEPTH; e += LANES) {
            // Neighbouring lanes read neighbouring numbers.
            let row = select(e / DEPTH, e % TILE, LAYOUT == 2u);
            let k = select(e % DEPTH, e / TILE, LAYOUT == 2u);
            tile_a[row * STRIDE_A + k] = read_a(group.x * TILE + row, first + k);
            let column = select(e % TILE, e / DEPTH, LAYOUT == 1u);
            let at = select(e / TILE, e % DEPTH, LAYOUT == 1u);
            tile_b[at * STRIDE_B + column] = read_b(first + at, group.y * TILE + column);
        }
        workgroupBarrier();
        for (var k = 0u; k < DEPTH; k += SIDE) {
            for (var i = 0u; i < COUNT; i++) {
                let left = coopLoadT<Left>(&tile_a[i * SIDE * STRIDE_A + k], STRIDE_A);
                for (var j = 0u; j < COUNT; j++) {
                    let right = coopLoadT<Right>(&tile_b[k * STRIDE_B + j * SIDE], STRIDE_B);
                    sums[i * COUNT + j] = coopMultiplyAdd(left, right, sums[i * COUNT + j]);
                }
            }
        }
        workgroupBarrier();
    }
    for (var i = 0u; i < COUNT; i++) {
        for (var j = 0u; j < COUNT; j++) {
            coopStoreT(sums[i * COUNT + j], &tile_c[(i * TILE + j) * SIDE], TILE);
        }
    }
    workgroupBarrier();
}

// Four neighbours of the tile's sums.
fn sums_at(e: u32) -> vec4<f32> {
    return vec4(tile_c[e * 4u], tile_c[e * 4u + 1u], tile_c[e * 4u + 2u], tile_c[e * 4u + 3u]);
}

@compute @workgroup_size(LANES)
fn plain(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    product(group, lane);
    for (var e = lane; e < TILE * TILE / 4u; e += LANES) {
        let col = group.y * TILE + e % 8u * 4u;
        put_plain(group.x * TILE + e / 8u, col, sums_at(e));
    }
}

@compute @workgroup_size(LANES)
fn accumulate(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    product(group, lane);
    for (var e = lane; e < TILE * TILE / 4u; e += LANES) {
        let col = group.y * TILE + e % 8u * 4u;
        put_accumulate(group.x * TILE + e / 8u, col, sums_at(e));
    }
}

@compute @workgroup_size(LANES)
fn biased(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    product(group, lane);
    for (var e = lane; e < TILE * TILE / 4u; e += LANES) {
        let col = group.y * TILE + e % 8u * 4u;
        put_plain(group.x * TILE + e / 8u, col, sums_at(e) + bias_at(col));
    }
}

@compute @workgroup_size(LANES)
fn activated(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    product(group, lane);
    for (var e = lane; e < TILE * TILE / 4u; e += LANES) {
        let col = group.y * TILE + e % 8u * 4u;
        put_activated(group.x * TILE + e / 8u, col, sums_at(e) + bias_at(col));
    }
}

@compute @workgroup_size(LANES)
fn activated_saved(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    product(group, lane);
    for (var e = lane; e < TILE * TILE / 4u; e += LANES) {
        let col = group.y * TILE + e % 8u * 4u;
        put_activated_saved(group.x * TILE + e / 8u, col, sums_at(e) + bias_at(col));
    }
}

@compute @workgroup_size(LANES)
fn skipped(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    product(group, lane);
    for (var e = lane; e < TILE * TILE / 4u; e += LANES) {
        let col = group.y * TILE + e % 8u * 4u;
        put_skipped(group.x * TILE + e / 8u, col, sums_at(e) + bias_at(col));
    }
}

@compute @workgroup_size(LANES)
fn skipped_scaled(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    product(group, lane);
    for (var e = lane; e < TILE * TILE / 4u; e += LANES) {
        let col = group.y * TILE + e % 8u * 4u;
        put_skipped_scaled(group.x * TILE + e / 8u, col, sums_at(e) + bias_at(col));
    }
}

@compute @workgroup_size(LANES)
fn activation_gradient(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    product(group, lane);
    for (var e = lane; e < TILE * TILE / 4u; e += LANES) {
        let col = group.y * TILE + e % 8u * 4u;
        put_activation_gradient(group.x * TILE + e / 8u, col, sums_at(e));
    }
}
