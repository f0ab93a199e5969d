// total[c] += scale * sum over rows of x[row, c], except for columns in [skip, skip_end); see src/op/column_sum.rs.
#import some_rows
@group(0) @binding(1) var<storage, read> x: array<f32>;             // (matrices, R, C)
@group(0) @binding(2) var<storage, read_write> partial: array<f32>; // (matrices, chunks, C)
@group(0) @binding(3) var<storage, read_write> total: array<f32>;   // (matrices, C)

// total = ..., where nothing was added before.
override STORE: bool = false;

// One invocation a column and a chunk of rows.
@compute @workgroup_size(64)
fn chunks(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let c = group.x * 64u + local;
    if c >= params.columns {
        return;
    }
    let start = matrix_start(group.z);
    let first = group.y * params.chunk;
    let end = min(first + params.chunk, params.rows);
    var sum = 0.0;
    for (var row = first; row < end; row++) {
        sum += x[(start + row_of(row)) * params.columns + c];
    }
    partial[(group.z * count() + group.y) * params.columns + c] = sum;
}

@compute @workgroup_size(64)
fn add_chunks(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let c = group.x * 64u + local;
    if c >= params.columns || (c >= params.skip && c < params.skip_end) {
        return;
    }
    var sum = 0.0;
    for (var k = 0u; k < count(); k++) {
        sum += partial[(group.z * count() + k) * params.columns + c];
    }
    let to = group.z * params.columns + c;
    if STORE {
        total[to] = params.scale * sum;
    } else {
        total[to] += params.scale * sum;
    }
}
