// Column sums, four columns an invocation; see column_sum.wgsl for any width.
#import some_rows
#import chunk_sum
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;             // (matrices, R, C)
@group(0) @binding(2) var<storage, read_write> partial: array<vec4<f32>>; // (matrices, chunks, C)
@group(0) @binding(3) var<storage, read_write> total: array<vec4<f32>>;   // (matrices, C)

// total = ..., where nothing was added before.
override STORE: bool = false;

const ROWS_AHEAD: u32 = 8u;

// A workgroup 64 columns of four and a chunk of rows, in 4 strips.
@compute @workgroup_size(256)
fn chunks(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let width = params.columns / 4u;
    let c = group.x * 64u + local % 64u;
    let start = matrix_start(group.z);
    let first = group.y * params.chunk;
    let end = min(first + params.chunk, params.rows);
    var sum = vec4(0.0);
    for (var row = first + local / 64u; row < end; row += 4u * ROWS_AHEAD) {
        // Clamped, so that loads need no branch and all go out before the first is waited for.
        var here: array<vec4<f32>, ROWS_AHEAD>;
        for (var i = 0u; i < ROWS_AHEAD; i++) {
            here[i] = x[(start + row_of(min(row + 4u * i, end - 1u))) * width + min(c, width - 1u)];
        }
        for (var i = 0u; i < ROWS_AHEAD; i++) {
            sum += select(vec4(0.0), here[i], row + 4u * i < end);
        }
    }
    sum = strip_sum(local, 64u, sum);
    if local < 64u && c < width {
        partial[(group.z * count() + group.y) * width + c] = sum;
    }
}

// A workgroup 16 columns of four. `skip` and `skip_end` may lie within a four.
@compute @workgroup_size(256)
fn add_chunks(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let width = params.columns / 4u;
    let c = group.x * 16u + local % 16u;
    let sum = params.scale * chunk_sum(local, group.z, c, width, count());
    if local < 16u && c < width {
        let to = group.z * width + c;
        if STORE {
            total[to] = sum;
        } else {
            let at = vec4(4u * c) + vec4(0u, 1u, 2u, 3u);
            let skipped = (at >= vec4(params.skip)) & (at < vec4(params.skip_end));
            total[to] = select(total[to] + sum, total[to], skipped);
        }
    }
}
