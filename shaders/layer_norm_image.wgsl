// Layer norm with what is read in textures, an invocation a row: for adapters whose buffer reads are slow; see
// layer_norm.wgsl, whose second stage of the weight's gradient is used here too.
#import index
#import image
#import sum4

// Rows are a multiple of 4 long; they are those of some norms behind each other, `part` rows each.
struct Params { rows: u32, channels: u32, chunk: u32, part: u32, eps: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var x: texture_storage_2d<rgba32float, read>;      // (R, C)
@group(0) @binding(2) var weight: texture_storage_2d<rgba32float, read>; // (norms, C)
@group(0) @binding(3) var bias: texture_storage_2d<rgba32float, read>;   // (norms, C)
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;      // (R, C)
@group(0) @binding(5) var<storage, read_write> saved: array<vec2<f32>>;  // (R) mean and rstd
@group(0) @binding(6) var dy: texture_storage_2d<rgba32float, read>;     // (R, C)
@group(0) @binding(7) var<storage, read> stats: array<vec2<f32>>;        // (R) `saved` of the forward
@group(0) @binding(8) var prior: texture_storage_2d<rgba32float, read>;  // (R, C) gradient of x so far
@group(0) @binding(9) var<storage, read_write> dx: array<vec4<f32>>;     // (R, C)
@group(0) @binding(10) var<storage, read_write> partial: array<vec2<f32>>; // (norms, chunks, C) dweight and dbias of some rows
@group(0) @binding(11) var y_image: texture_storage_2d<rgba32float, write>; // (R, C), where products alone read it

// dx = prior + ..., where an earlier share of the gradient is there.
override HAS_PRIOR: bool = false;

fn statistics(start: u32, width: u32) -> vec2<f32> {
    var sum = vec4(0.0);
    for (var c = 0u; c < width; c++) {
        sum += textureLoad(x, texel(start + c));
    }
    let mean = sum4(sum) / f32(params.channels);
    var squares = vec4(0.0);
    for (var c = 0u; c < width; c++) {
        let d = textureLoad(x, texel(start + c)) - mean;
        squares = fma(d, d, squares);
    }
    return vec2(mean, 1.0 / sqrt(sum4(squares) / f32(params.channels) + params.eps));
}

// `weight_at`: of the norm and column.
fn normal(at: u32, weight_at: u32, s: vec2<f32>) -> vec4<f32> {
    let hat = (textureLoad(x, texel(at)) - s.x) * s.y;
    return fma(hat, textureLoad(weight, texel(weight_at)), textureLoad(bias, texel(weight_at)));
}

@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let row = linear_group(group, groups) * 64u + local;
    if row >= params.rows {
        return;
    }
    let width = params.channels / 4u;
    let s = statistics(row * width, width);
    saved[row] = s;
    let norm = row / params.part * width;
    for (var c = 0u; c < width; c++) {
        y[row * width + c] = normal(row * width + c, norm + c, s);
    }
}

@compute @workgroup_size(64)
fn forward_image(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let row = linear_group(group, groups) * 64u + local;
    if row >= params.rows {
        return;
    }
    let width = params.channels / 4u;
    let s = statistics(row * width, width);
    saved[row] = s;
    let norm = row / params.part * width;
    for (var c = 0u; c < width; c++) {
        textureStore(y_image, texel(row * width + c), normal(row * width + c, norm + c, s));
    }
}

@compute @workgroup_size(64)
fn backward_x(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let row = linear_group(group, groups) * 64u + local;
    if row >= params.rows {
        return;
    }
    let width = params.channels / 4u;
    let start = row * width;
    let norm = row / params.part * width;
    let s = stats[row];
    var sum = vec4(0.0);
    var products = vec4(0.0);
    for (var c = 0u; c < width; c++) {
        let g = textureLoad(dy, texel(start + c)) * textureLoad(weight, texel(norm + c));
        sum += g;
        products = fma(g, (textureLoad(x, texel(start + c)) - s.x) * s.y, products);
    }
    let mean_g = sum4(sum) / f32(params.channels);
    let mean_gx = sum4(products) / f32(params.channels);
    for (var c = 0u; c < width; c++) {
        let hat = (textureLoad(x, texel(start + c)) - s.x) * s.y;
        var d = s.y * (textureLoad(dy, texel(start + c)) * textureLoad(weight, texel(norm + c)) - mean_g - hat * mean_gx);
        if HAS_PRIOR {
            d += textureLoad(prior, texel(start + c));
        }
        dx[start + c] = d;
    }
}

// One invocation four columns and a chunk of rows.
@compute @workgroup_size(16)
fn backward_weight_partial(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let c = group.x * 16u + local;
    let width = params.channels / 4u;
    if c >= width {
        return;
    }
    var dweight = vec4(0.0);
    var dbias = vec4(0.0);
    let first = group.z * params.part + group.y * params.chunk;
    for (var row = first; row < min(first + params.chunk, (group.z + 1u) * params.part); row++) {
        let s = stats[row];
        let d = textureLoad(dy, texel(row * width + c));
        dweight = fma(d, (textureLoad(x, texel(row * width + c)) - s.x) * s.y, dweight);
        dbias += d;
    }
    let chunks = (params.part + params.chunk - 1u) / params.chunk;
    let to = (group.z * chunks + group.y) * params.channels + c * 4u;
    partial[to] = vec2(dweight.x, dbias.x);
    partial[to + 1u] = vec2(dweight.y, dbias.y);
    partial[to + 2u] = vec2(dweight.z, dbias.z);
    partial[to + 3u] = vec2(dweight.w, dbias.w);
}
