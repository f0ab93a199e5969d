// What products with results in workgroup memory or registers share: bindings, and how four neighbours of a row of C are stored.
#import gelu

// 0: A (M, K), B (K, N). 1: A (M, K), B (N, K). 2: A (K, M), B (K, N).
override LAYOUT: u32 = 0u;

struct Params { m: u32, n: u32, k: u32, per_sample: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> c: array<f32>;      // (M, N)
@group(0) @binding(4) var<storage, read> bias: array<f32>;         // (N)
@group(0) @binding(5) var<storage, read> skip: array<f32>;         // (M, N) added to the scaled sums
@group(0) @binding(6) var<storage, read> scale: array<f32>;        // (B) factor of a sample's sums
@group(0) @binding(7) var<storage, read_write> saved: array<f32>;  // (M, N) what goes into the GELU
@group(0) @binding(8) var<storage, read> before: array<f32>;       // (M, N) `saved` of the forward

// Which of the products, whose matrices lie behind each other.
var<private> part: u32;

fn index(row: u32, col: u32) -> u32 {
    return (part * params.m + row) * params.n + col;
}

fn bias_at(col: u32) -> vec4<f32> {
    let i = part * params.n + min(vec4(col) + vec4(0u, 1u, 2u, 3u), vec4(params.n - 1u));
    return vec4(bias[i.x], bias[i.y], bias[i.z], bias[i.w]);
}

fn put_plain(row: u32, col: u32, x: vec4<f32>) {
    for (var j = 0u; j < 4u; j++) {
        if row < params.m && col + j < params.n {
            let i = index(row, col + j);
            c[i] = x[j];
        }
    }
}

fn put_accumulate(row: u32, col: u32, x: vec4<f32>) {
    for (var j = 0u; j < 4u; j++) {
        if row < params.m && col + j < params.n {
            let i = index(row, col + j);
            c[i] += x[j];
        }
    }
}

fn put_activated(row: u32, col: u32, x: vec4<f32>) {
    let y = gelu(x);
    for (var j = 0u; j < 4u; j++) {
        if row < params.m && col + j < params.n {
            let i = index(row, col + j);
            c[i] = y[j];
        }
    }
}

fn put_activated_saved(row: u32, col: u32, x: vec4<f32>) {
    let y = gelu(x);
    for (var j = 0u; j < 4u; j++) {
        if row < params.m && col + j < params.n {
            let i = index(row, col + j);
            saved[i] = x[j];
            c[i] = y[j];
        }
    }
}

fn put_skipped(row: u32, col: u32, x: vec4<f32>) {
    for (var j = 0u; j < 4u; j++) {
        if row < params.m && col + j < params.n {
            let i = index(row, col + j);
            c[i] = skip[i] + x[j];
        }
    }
}

fn put_skipped_scaled(row: u32, col: u32, x: vec4<f32>) {
    for (var j = 0u; j < 4u; j++) {
        if row < params.m && col + j < params.n {
            let i = index(row, col + j);
            c[i] = fma(scale[(part * params.m + row) / params.per_sample], x[j], skip[i]);
        }
    }
}

fn put_activation_gradient(row: u32, col: u32, x: vec4<f32>) {
    for (var j = 0u; j < 4u; j++) {
        if row < params.m && col + j < params.n {
            let i = index(row, col + j);
            c[i] = x[j] * gelu_derivative(vec4(before[i])).x;
        }
    }
}
