// Pixels of patches as targets, each normalised over its own; see src/op/patch_target.rs.
#import index

struct Params { rows: u32, pixels: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;        // (R, 3, pixels), normalised by ImageNet's mean and deviation
@group(0) @binding(2) var<storage, read_write> y: array<f32>;  // (R, pixels, 3)

const EPS: f32 = 1e-6;

struct Moments { mean: f32, variance: f32 }

// Of n elements from `first` on; the variance is unbiased.
fn moments(first: u32, n: u32) -> Moments {
    var m: Moments;
    for (var k = 0u; k < n; k++) {
        m.mean += x[first + k];
    }
    m.mean /= f32(n);
    for (var k = 0u; k < n; k++) {
        let d = x[first + k] - m.mean;
        m.variance = fma(d, d, m.variance);
    }
    m.variance /= f32(n - 1u);
    return m;
}

// One invocation a row and colour.
@compute @workgroup_size(64)
fn per_colour(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * 64u + lane;
    if i >= params.rows * 3u {
        return;
    }
    let n = params.pixels;
    let first = i * n;
    let colour = i % 3u;
    var deviation = 0.229;
    if colour == 1u {
        deviation = 0.224;
    } else if colour == 2u {
        deviation = 0.225;
    }
    let m = moments(first, n);
    // The mean cancels ImageNet's; the deviation is that of pixels in [0, 1].
    let scale = deviation / (deviation * sqrt(m.variance) + EPS);
    for (var k = 0u; k < n; k++) {
        y[(i / 3u * n + k) * 3u + colour] = (x[first + k] - m.mean) * scale;
    }
}

// One invocation a row.
@compute @workgroup_size(64)
fn whole(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = linear_group(group, groups) * 64u + lane;
    if row >= params.rows {
        return;
    }
    let n = 3u * params.pixels;
    let first = row * n;
    let m = moments(first, n);
    let scale = 1.0 / sqrt(m.variance + EPS);
    for (var k = 0u; k < n; k++) {
        y[first + k % params.pixels * 3u + k / params.pixels] = (x[first + k] - m.mean) * scale;
    }
}
