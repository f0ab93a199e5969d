// The first stage of column_sum.wgsl with x in a texture, for adapters whose buffer reads are slow.
#import image

// Rows are a multiple of 4 long; `rows` of each of some matrices behind each other.
struct Params { rows: u32, columns: u32, chunk: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var x: texture_storage_2d<rgba32float, read>;       // (matrices, R, C)
@group(0) @binding(2) var<storage, read_write> partial: array<vec4<f32>>; // (matrices, chunks, C)

// One invocation four columns and a chunk of rows.
@compute @workgroup_size(16)
fn chunks(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let c = group.x * 16u + local;
    let width = params.columns / 4u;
    if c >= width {
        return;
    }
    let first = group.y * params.chunk;
    var sum = vec4(0.0);
    for (var row = first; row < min(first + params.chunk, params.rows); row++) {
        sum += textureLoad(x, texel((group.z * params.rows + row) * width + c));
    }
    let count = (params.rows + params.chunk - 1u) / params.chunk;
    partial[(group.z * count + group.y) * width + c] = sum;
}
