// y = (x - mean) * rstd * weight + bias over the last dimension; see src/op/layer_norm.rs.
#import index
#import row_sum

// The rows are those of some norms behind each other, `part` rows each.
struct Params { rows: u32, channels: u32, chunk: u32, part: u32, eps: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;                // (R, C)
@group(0) @binding(2) var<storage, read> weight: array<f32>;           // (norms, C)
@group(0) @binding(3) var<storage, read> bias: array<f32>;             // (norms, C)
@group(0) @binding(4) var<storage, read_write> y: array<f32>;          // (R, C)
@group(0) @binding(5) var<storage, read_write> saved: array<vec2<f32>>; // (R) mean and rstd
@group(0) @binding(6) var<storage, read> dy: array<f32>;               // (R, C)
@group(0) @binding(7) var<storage, read> stats: array<vec2<f32>>;      // (R) `saved` of the forward
@group(0) @binding(8) var<storage, read> prior: array<f32>;            // (R, C) gradient of x so far
@group(0) @binding(9) var<storage, read_write> dx: array<f32>;         // (R, C)
@group(0) @binding(10) var<storage, read_write> partial: array<vec2<f32>>; // (norms, chunks, C) dweight and dbias of some rows
@group(0) @binding(11) var<storage, read_write> dweight: array<f32>;   // (norms, C)
@group(0) @binding(12) var<storage, read_write> dbias: array<f32>;     // (norms, C)

// dx = prior + ..., where an earlier share of the gradient is there.
override HAS_PRIOR: bool = false;

fn statistics(row: u32, local: u32) -> vec2<f32> {
    let start = row * params.channels;
    let inside = row < params.rows;
    var sum = 0.0;
    if inside {
        for (var c = local % LANES; c < params.channels; c += LANES) {
            sum += x[start + c];
        }
    }
    let mean = row_sum_f32(local, sum) / f32(params.channels);
    var squares = 0.0;
    if inside {
        for (var c = local % LANES; c < params.channels; c += LANES) {
            let d = x[start + c] - mean;
            squares = fma(d, d, squares);
        }
    }
    let variance = row_sum_f32(local, squares) / f32(params.channels);
    return vec2(mean, 1.0 / sqrt(variance + params.eps));
}

fn row_of(group: vec3<u32>, groups: vec3<u32>, local: u32) -> u32 {
    return linear_group(group, groups) * (64u / LANES) + local / LANES;
}

@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let row = row_of(group, groups, local);
    let s = statistics(row, local);
    if row >= params.rows {
        return;
    }
    if local % LANES == 0u {
        saved[row] = s;
    }
    let start = row * params.channels;
    let norm = row / params.part * params.channels;
    for (var c = local % LANES; c < params.channels; c += LANES) {
        y[start + c] = fma((x[start + c] - s.x) * s.y, weight[norm + c], bias[norm + c]);
    }
}

@compute @workgroup_size(64)
fn forward_plain(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let row = row_of(group, groups, local);
    let s = statistics(row, local);
    if row >= params.rows {
        return;
    }
    let start = row * params.channels;
    for (var c = local % LANES; c < params.channels; c += LANES) {
        y[start + c] = (x[start + c] - s.x) * s.y;
    }
}

@compute @workgroup_size(64)
fn backward_x(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let row = row_of(group, groups, local);
    let inside = row < params.rows;
    let start = row * params.channels;
    let norm = row / params.part * params.channels;
    var s = vec2(0.0);
    var sums = vec2(0.0);
    if inside {
        s = stats[row];
        for (var c = local % LANES; c < params.channels; c += LANES) {
            let g = dy[start + c] * weight[norm + c];
            sums += vec2(g, g * (x[start + c] - s.x) * s.y);
        }
    }
    let means = row_sum_vec2f(local, sums) / f32(params.channels);
    if !inside {
        return;
    }
    for (var c = local % LANES; c < params.channels; c += LANES) {
        let hat = (x[start + c] - s.x) * s.y;
        var d = s.y * (dy[start + c] * weight[norm + c] - means.x - hat * means.y);
        if HAS_PRIOR {
            d += prior[start + c];
        }
        dx[start + c] = d;
    }
}

// Chunks of a norm's rows.
fn chunks() -> u32 {
    return (params.part + params.chunk - 1u) / params.chunk;
}

// One invocation a column and a chunk of rows.
@compute @workgroup_size(64)
fn backward_weight_partial(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let c = group.x * 64u + local;
    if c >= params.channels {
        return;
    }
    var sums = vec2(0.0);
    let first = group.z * params.part + group.y * params.chunk;
    for (var row = first; row < min(first + params.chunk, (group.z + 1u) * params.part); row++) {
        let s = stats[row];
        let i = row * params.channels + c;
        sums += vec2(dy[i] * (x[i] - s.x) * s.y, dy[i]);
    }
    partial[(group.z * chunks() + group.y) * params.channels + c] = sums;
}

@compute @workgroup_size(64)
fn backward_weight_sum(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let c = group.x * 64u + local;
    if c >= params.channels {
        return;
    }
    var sums = vec2(0.0);
    for (var k = 0u; k < chunks(); k++) {
        sums += partial[(group.z * chunks() + k) * params.channels + c];
    }
    dweight[group.z * params.channels + c] += sums.x;
    dbias[group.z * params.channels + c] += sums.y;
}
