// Tensors of a matrix product of any size, read and written number by number.
#import matmul_sizes
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> c: array<f32>;     // (M, N)
@group(0) @binding(4) var<storage, read> bias: array<f32>;        // (N)
@group(0) @binding(5) var<storage, read> skip: array<f32>;        // (M, N) added to the scaled sums
@group(0) @binding(6) var<storage, read> scale: array<f32>;       // (B) factor of a sample's sums
@group(0) @binding(7) var<storage, read_write> saved: array<f32>; // (M, N) what goes into the GELU
@group(0) @binding(8) var<storage, read> before: array<f32>;      // (M, N) `saved` of the forward

// Numbers an element of A and B holds.
const UNIT: u32 = 1u;

// Indices of four neighbours, the last place there is past it.
fn four(at: u32, last: u32) -> vec4<u32> {
    return min(vec4(at) + vec4(0u, 1u, 2u, 3u), vec4(last));
}

// Four numbers of A from `at` on, which stand at `k`; zero past the end of K.
fn load_a(at: u32, k: u32) -> vec4<f32> {
    let i = four(at, (part + 1u) * params.m * params.k - 1u);
    let first = vec4(k) + select(vec4(0u, 1u, 2u, 3u), vec4(0u), LAYOUT == 2u);
    return select(vec4(0.0), vec4(a[i.x], a[i.y], a[i.z], a[i.w]), first < vec4(k_end));
}

// The same of B, where what is past the end of K does not matter: it meets zeros of A.
fn load_b(at: u32, k: u32) -> vec4<f32> {
    let i = four(at, (part + 1u) * params.k * params.n - 1u);
    return vec4(b[i.x], b[i.y], b[i.z], b[i.w]);
}

fn index(row: u32, quad: u32) -> u32 {
    return (slice * params.m + row) * params.n + quad * 4u;
}

// The places of a read: past the edges that of the last row and column.
fn clamped(row: u32, quad: u32) -> vec4<u32> {
    return four(index(min(row, params.m - 1u), quad), index(min(row, params.m - 1u), 0u) + params.n - 1u);
}

// Four neighbours of what A holds in place of C: sums of one range of K.
fn read_part(row: u32, quad: u32) -> vec4<f32> {
    let i = clamped(row, quad);
    return vec4(a[i.x], a[i.y], a[i.z], a[i.w]);
}

fn read_bias(quad: u32) -> vec4<f32> {
    let i = four(part * params.n + quad * 4u, (part + 1u) * params.n - 1u);
    return vec4(bias[i.x], bias[i.y], bias[i.z], bias[i.w]);
}

fn read_c(row: u32, quad: u32) -> vec4<f32> {
    let i = clamped(row, quad);
    return vec4(c[i.x], c[i.y], c[i.z], c[i.w]);
}

fn read_skip(row: u32, quad: u32) -> vec4<f32> {
    let i = clamped(row, quad);
    return vec4(skip[i.x], skip[i.y], skip[i.z], skip[i.w]);
}

fn read_before(row: u32, quad: u32) -> vec4<f32> {
    let i = clamped(row, quad);
    return vec4(before[i.x], before[i.y], before[i.z], before[i.w]);
}

fn write_c(row: u32, quad: u32, x: vec4<f32>) {
    for (var j = 0u; j < 4u; j++) {
        if row < params.m && quad * 4u + j < params.n {
            c[index(row, quad) + j] = x[j];
        }
    }
}

fn write_saved(row: u32, quad: u32, x: vec4<f32>) {
    for (var j = 0u; j < 4u; j++) {
        if row < params.m && quad * 4u + j < params.n {
            saved[index(row, quad) + j] = x[j];
        }
    }
}

#import matmul_hidden
