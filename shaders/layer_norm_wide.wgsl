// Layer norm by a workgroup a row, which it reads once, four channels a load, and keeps in registers; see layer_norm.wgsl for any
// width.
#import index
#import row_sum
#import chunk_sum

// Rows are a multiple of 4 long, of at most 256 MOST; they are those of some norms behind each other, `part` rows each.
struct Params { rows: u32, channels: u32, chunk: u32, part: u32, eps: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;          // (R, C)
@group(0) @binding(2) var<storage, read> weight: array<vec4<f32>>;     // (norms, C)
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;       // (norms, C)
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;    // (R, C)
@group(0) @binding(5) var<storage, read_write> saved: array<vec2<f32>>; // (R) mean and rstd
@group(0) @binding(6) var<storage, read> dy: array<vec4<f32>>;         // (R, C)
@group(0) @binding(7) var<storage, read> stats: array<vec2<f32>>;      // (R) `saved` of the forward
@group(0) @binding(8) var<storage, read> prior: array<vec4<f32>>;      // (R, C) gradient of x so far
@group(0) @binding(9) var<storage, read_write> dx: array<vec4<f32>>;   // (R, C)
@group(0) @binding(10) var<storage, read_write> partial: array<vec4<f32>>; // (norms, chunks, 2, C) dweight, then dbias
@group(0) @binding(11) var<storage, read_write> dweight: array<vec4<f32>>; // (norms, C)
@group(0) @binding(12) var<storage, read_write> dbias: array<vec4<f32>>;   // (norms, C)

// Fours of a row in each invocation.
override PARTS: u32 = 3u;
const MOST: u32 = 8u;
// dx = prior + ..., where an earlier share of the gradient is there.
override HAS_PRIOR: bool = false;

// Rows and columns are clamped, so that loads need no branch and all go out before the first is waited for.
fn column(local: u32, part: u32) -> u32 {
    return min(local + part * 64u, params.channels / 4u - 1u);
}

fn inside(local: u32, part: u32) -> bool {
    return local + part * 64u < params.channels / 4u;
}

struct Row { values: array<vec4<f32>, MOST>, statistics: vec2<f32> }

// `x - mean` of a row, 0 behind its end, and the row's mean and rstd.
fn centered(row: u32, local: u32) -> Row {
    let start = row * (params.channels / 4u);
    var out: Row;
    for (var i = 0u; i < MOST; i++) {
        if i < PARTS {
            out.values[i] = x[start + column(local, i)];
        }
    }
    var sum = vec4(0.0);
    for (var i = 0u; i < MOST; i++) {
        if i < PARTS {
            sum += select(vec4(0.0), out.values[i], inside(local, i));
        }
    }
    let mean = row_sum_f32(local, sum4(sum)) / f32(params.channels);
    var squares = vec4(0.0);
    for (var i = 0u; i < MOST; i++) {
        if i < PARTS {
            out.values[i] = select(vec4(0.0), out.values[i] - mean, inside(local, i));
            squares = fma(out.values[i], out.values[i], squares);
        }
    }
    let variance = row_sum_f32(local, sum4(squares)) / f32(params.channels);
    out.statistics = vec2(mean, 1.0 / sqrt(variance + params.eps));
    return out;
}

@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let row = linear_group(group, groups);
    if row >= params.rows {
        return;
    }
    let here = centered(row, local);
    if local == 0u {
        saved[row] = here.statistics;
    }
    let start = row * (params.channels / 4u);
    let norm = row / params.part * (params.channels / 4u);
    for (var i = 0u; i < MOST; i++) {
        let c = column(local, i);
        if i < PARTS && inside(local, i) {
            y[start + c] = fma(here.values[i] * here.statistics.y, weight[norm + c], bias[norm + c]);
        }
    }
}

@compute @workgroup_size(64)
fn forward_plain(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let row = linear_group(group, groups);
    if row >= params.rows {
        return;
    }
    let here = centered(row, local);
    let start = row * (params.channels / 4u);
    for (var i = 0u; i < MOST; i++) {
        if i < PARTS && inside(local, i) {
            y[start + column(local, i)] = here.values[i] * here.statistics.y;
        }
    }
}

@compute @workgroup_size(64)
fn backward_x(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let row = linear_group(group, groups);
    if row >= params.rows {
        return;
    }
    let start = row * (params.channels / 4u);
    let norm = row / params.part * (params.channels / 4u);
    let s = stats[row];
    var hat: array<vec4<f32>, MOST>;
    var g: array<vec4<f32>, MOST>;
    var before: array<vec4<f32>, MOST>;
    for (var i = 0u; i < MOST; i++) {
        if i < PARTS {
            let c = column(local, i);
            hat[i] = x[start + c];
            g[i] = dy[start + c] * weight[norm + c];
            if HAS_PRIOR {
                before[i] = prior[start + c];
            }
        }
    }
    var sum = vec4(0.0);
    var products = vec4(0.0);
    for (var i = 0u; i < MOST; i++) {
        if i < PARTS {
            hat[i] = (hat[i] - s.x) * s.y;
            g[i] = select(vec4(0.0), g[i], inside(local, i));
            sum += g[i];
            products = fma(g[i], hat[i], products);
        }
    }
    let means = row_sum_vec2f(local, vec2(sum4(sum), sum4(products))) / f32(params.channels);
    for (var i = 0u; i < MOST; i++) {
        if i < PARTS && inside(local, i) {
            var d = s.y * (g[i] - means.x - hat[i] * means.y);
            if HAS_PRIOR {
                d += before[i];
            }
            dx[start + column(local, i)] = d;
        }
    }
}

// Chunks of a norm's rows.
fn chunks() -> u32 {
    return (params.part + params.chunk - 1u) / params.chunk;
}

const ROWS_AHEAD: u32 = 4u;

// A workgroup 64 columns of four and a chunk of rows, in 4 strips.
@compute @workgroup_size(256)
fn backward_weight_partial(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let width = params.channels / 4u;
    let c = group.x * 64u + local % 64u;
    let first = group.z * params.part + group.y * params.chunk;
    let end = min(first + params.chunk, (group.z + 1u) * params.part);
    var weights = vec4(0.0);
    var biases = vec4(0.0);
    for (var row = first + local / 64u; row < end; row += 4u * ROWS_AHEAD) {
        var s: array<vec2<f32>, ROWS_AHEAD>;
        var xs: array<vec4<f32>, ROWS_AHEAD>;
        var d: array<vec4<f32>, ROWS_AHEAD>;
        for (var i = 0u; i < ROWS_AHEAD; i++) {
            let r = min(row + 4u * i, end - 1u);
            s[i] = stats[r];
            xs[i] = x[r * width + min(c, width - 1u)];
            d[i] = dy[r * width + min(c, width - 1u)];
        }
        for (var i = 0u; i < ROWS_AHEAD; i++) {
            let own = select(vec4(0.0), d[i], row + 4u * i < end);
            weights = fma(own, (xs[i] - s[i].x) * s[i].y, weights);
            biases += own;
        }
    }
    weights = strip_sum(local, 64u, weights);
    biases = strip_sum(local, 64u, biases);
    if local < 64u && c < width {
        let to = (group.z * chunks() + group.y) * 2u * width + c;
        partial[to] = weights;
        partial[to + width] = biases;
    }
}

// A workgroup 16 columns of four, of dweight and dbias beside each other.
@compute @workgroup_size(256)
fn backward_weight_sum(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let width = params.channels / 4u;
    let c = group.x * 16u + local % 16u;
    let sum = chunk_sum(local, group.z, c, 2u * width, chunks());
    if local < 16u && c < width {
        dweight[group.z * width + c] += sum;
    } else if local < 16u && c < 2u * width {
        dbias[group.z * width + c - width] += sum;
    }
}
