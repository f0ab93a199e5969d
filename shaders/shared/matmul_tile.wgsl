// C = A B by tiles in workgroup memory, any size, no optional feature: 64 invocations. One computes rows 4 y + (0 to 3) and
// columns 4 x + (0 to 3) of its tile, of a tile of 64 also those 32 further down and to the right.
// What imports this brings TILE (64 or 32) and `multiply`.
#import matmul_ends

const DEPTH: u32 = 16u;
// vec4 a step of k.
const WIDTH: u32 = TILE / 4u;
// Rows an invocation.
const ROWS: u32 = TILE / 8u;
// The tile has right halves.
const WIDE: bool = TILE == 64u;

var<workgroup> tile_a: array<vec4<f32>, DEPTH * WIDTH>; // four rows of A at one k
var<workgroup> tile_b: array<vec4<f32>, DEPTH * WIDTH>; // four columns of B at one k

struct Sums { left: array<vec4<f32>, ROWS>, right: array<vec4<f32>, ROWS> }

struct Place { row: u32, col: u32 }

fn place(group: vec3<u32>, local: u32) -> Place {
    return Place(group.x * TILE + local / 8u * 4u, group.y * TILE + local % 8u * 4u);
}

// Four neighbours along a matrix side of `size`, at k; zero past the end of k, the last one past the end of the side.
fn read_a(side: u32, k: u32) -> vec4<f32> {
    let i = min(vec4(side) + vec4(0u, 1u, 2u, 3u), vec4(params.m - 1u));
    let at = select(i * params.k + min(k, params.k - 1u), i + min(k, params.k - 1u) * params.m, vec4(LAYOUT == 2u));
    let first = part * params.m * params.k;
    return select(vec4(0.0), vec4(a[first + at.x], a[first + at.y], a[first + at.z], a[first + at.w]), k < params.k);
}

fn read_b(side: u32, k: u32) -> vec4<f32> {
    let i = min(vec4(side) + vec4(0u, 1u, 2u, 3u), vec4(params.n - 1u));
    let at = select(i + min(k, params.k - 1u) * params.n, i * params.k + min(k, params.k - 1u), vec4(LAYOUT == 1u));
    let first = part * params.k * params.n;
    return vec4(b[first + at.x], b[first + at.y], b[first + at.z], b[first + at.w]);
}

fn product(group: vec3<u32>, local: u32, sums: ptr<function, Sums>) {
    part = group.z;
    let y = local / 8u;
    let x = local % 8u;
    for (var first = 0u; first < params.k; first += DEPTH) {
        for (var i = 0u; i < DEPTH * WIDTH / 64u; i++) {
            // Neighbouring invocations read neighbouring numbers: along k where k is the matrix's last dimension.
            let e = i * 64u + local;
            let along_k = e % DEPTH * WIDTH + e / DEPTH;
            let at_a = select(along_k, e, LAYOUT == 2u);
            let at_b = select(e, along_k, LAYOUT == 1u);
            tile_a[at_a] = read_a(group.x * TILE + at_a % WIDTH * 4u, first + at_a / WIDTH);
            tile_b[at_b] = read_b(group.y * TILE + at_b % WIDTH * 4u, first + at_b / WIDTH);
        }
        workgroupBarrier();
        for (var k = 0u; k < DEPTH; k++) {
            multiply(k, y, x, sums);
        }
        workgroupBarrier();
    }
}

// Row i of an invocation.
fn row_of(at: Place, i: u32) -> u32 {
    return at.row + i % 4u + i / 4u * 32u;
}

@compute @workgroup_size(64)
fn plain(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let at = place(group, local);
    var sums: Sums;
    product(group, local, &sums);
    for (var i = 0u; i < ROWS; i++) {
        put_plain(row_of(at, i), at.col, sums.left[i]);
        if WIDE {
            put_plain(row_of(at, i), at.col + 32u, sums.right[i]);
        }
    }
}

@compute @workgroup_size(64)
fn accumulate(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let at = place(group, local);
    var sums: Sums;
    product(group, local, &sums);
    for (var i = 0u; i < ROWS; i++) {
        put_accumulate(row_of(at, i), at.col, sums.left[i]);
        if WIDE {
            put_accumulate(row_of(at, i), at.col + 32u, sums.right[i]);
        }
    }
}

@compute @workgroup_size(64)
fn biased(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let at = place(group, local);
    var sums: Sums;
    product(group, local, &sums);
    let bias_left = bias_at(at.col);
    let bias_right = bias_at(at.col + 32u);
    for (var i = 0u; i < ROWS; i++) {
        put_plain(row_of(at, i), at.col, sums.left[i] + bias_left);
        if WIDE {
            put_plain(row_of(at, i), at.col + 32u, sums.right[i] + bias_right);
        }
    }
}

@compute @workgroup_size(64)
fn activated(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let at = place(group, local);
    var sums: Sums;
    product(group, local, &sums);
    let bias_left = bias_at(at.col);
    let bias_right = bias_at(at.col + 32u);
    for (var i = 0u; i < ROWS; i++) {
        put_activated(row_of(at, i), at.col, sums.left[i] + bias_left);
        if WIDE {
            put_activated(row_of(at, i), at.col + 32u, sums.right[i] + bias_right);
        }
    }
}

@compute @workgroup_size(64)
fn activated_saved(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let at = place(group, local);
    var sums: Sums;
    product(group, local, &sums);
    let bias_left = bias_at(at.col);
    let bias_right = bias_at(at.col + 32u);
    for (var i = 0u; i < ROWS; i++) {
        put_activated_saved(row_of(at, i), at.col, sums.left[i] + bias_left);
        if WIDE {
            put_activated_saved(row_of(at, i), at.col + 32u, sums.right[i] + bias_right);
        }
    }
}

@compute @workgroup_size(64)
fn skipped(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let at = place(group, local);
    var sums: Sums;
    product(group, local, &sums);
    let bias_left = bias_at(at.col);
    let bias_right = bias_at(at.col + 32u);
    for (var i = 0u; i < ROWS; i++) {
        put_skipped(row_of(at, i), at.col, sums.left[i] + bias_left);
        if WIDE {
            put_skipped(row_of(at, i), at.col + 32u, sums.right[i] + bias_right);
        }
    }
}

@compute @workgroup_size(64)
fn skipped_scaled(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let at = place(group, local);
    var sums: Sums;
    product(group, local, &sums);
    let bias_left = bias_at(at.col);
    let bias_right = bias_at(at.col + 32u);
    for (var i = 0u; i < ROWS; i++) {
        put_skipped_scaled(row_of(at, i), at.col, sums.left[i] + bias_left);
        if WIDE {
            put_skipped_scaled(row_of(at, i), at.col + 32u, sums.right[i] + bias_right);
        }
    }
}

@compute @workgroup_size(64)
fn activation_gradient(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let at = place(group, local);
    var sums: Sums;
    product(group, local, &sums);
    for (var i = 0u; i < ROWS; i++) {
        put_activation_gradient(row_of(at, i), at.col, sums.left[i]);
        if WIDE {
            put_activation_gradient(row_of(at, i), at.col + 32u, sums.right[i]);
        }
    }
}
