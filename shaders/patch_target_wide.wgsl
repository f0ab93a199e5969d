// Targets of pixels by a workgroup a row, which it reads once, four pixels a load, and keeps in registers; see patch_target.wgsl
// for any number of pixels.
#import index
#import row_sum

// Pixels are a multiple of 4, 256 MOST at most.
struct Params { rows: u32, pixels: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;       // (R, 3, pixels), normalised by ImageNet's mean and deviation
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>; // (R, pixels, 3)

// Over all values of a row, else over those of each colour.
override WHOLE: bool = false;
// Fours of a colour in each invocation.
override PARTS: u32 = 2u;
const MOST: u32 = 4u;
const EPS: f32 = 1e-6;
const DEVIATION: vec4<f32> = vec4(0.229, 0.224, 0.225, 1.0);

// The mean of the colours' sums of what an invocation adds up, and of how many values it is one.
fn mean_of(local: u32, sums: vec4<f32>, less: f32) -> vec4<f32> {
    let all = row_sum_vec4f(local, sums);
    if WHOLE {
        return vec4((all.x + all.y + all.z) / (3.0 * f32(params.pixels) - less));
    }
    return all / (f32(params.pixels) - less);
}

@compute @workgroup_size(64)
fn targets(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let row = linear_group(group, groups);
    if row >= params.rows {
        return;
    }
    let width = params.pixels / 4u;
    let start = row * 3u * width;
    var values: array<vec4<f32>, 12>; // MOST of each colour
    for (var i = 0u; i < 12u; i++) {
        if i / 3u < PARTS {
            values[i] = x[start + i % 3u * width + min(local + i / 3u * 64u, width - 1u)];
        }
    }
    var sums = vec4(0.0);
    for (var i = 0u; i < MOST; i++) {
        if i < PARTS && local + i * 64u < width {
            sums += vec4(sum4(values[3u * i]), sum4(values[3u * i + 1u]), sum4(values[3u * i + 2u]), 0.0);
        }
    }
    let mean = mean_of(local, sums, 0.0);
    var squares = vec4(0.0);
    for (var i = 0u; i < MOST; i++) {
        if i < PARTS && local + i * 64u < width {
            let r = values[3u * i] - mean.x;
            let g = values[3u * i + 1u] - mean.y;
            let b = values[3u * i + 2u] - mean.z;
            squares += vec4(dot(r, r), dot(g, g), dot(b, b), 0.0);
        }
    }
    let variance = mean_of(local, squares, 1.0);
    // Of each colour: the mean cancels ImageNet's, the deviation is that of pixels in [0, 1].
    var scale = DEVIATION / (DEVIATION * sqrt(variance) + EPS);
    if WHOLE {
        scale = 1.0 / sqrt(variance + EPS);
    }
    for (var i = 0u; i < MOST; i++) {
        let at = local + i * 64u;
        if i < PARTS && at < width {
            let r = (values[3u * i] - mean.x) * scale.x;
            let g = (values[3u * i + 1u] - mean.y) * scale.y;
            let b = (values[3u * i + 2u] - mean.z) * scale.z;
            let to = start + 3u * at;
            y[to] = vec4(r.x, g.x, b.x, r.y);
            y[to + 1u] = vec4(g.y, b.y, r.z, g.z);
            y[to + 2u] = vec4(b.z, r.w, g.w, b.w);
        }
    }
}
