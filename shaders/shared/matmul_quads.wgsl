// Tensors of a matrix product read and written four numbers at a time: N is a multiple of 4, and so is K or, in layout 2, M. A and B are of
// `$operand`, $unit numbers an element, and then those sides are multiples of that.
#import matmul_sizes
@group(0) @binding(1) var<storage, read> a: array<vec4<$operand>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<$operand>>;
@group(0) @binding(3) var<storage, read_write> c: array<vec4<f32>>;     // (M, N)
@group(0) @binding(4) var<storage, read> bias: array<vec4<f32>>;        // (N)
@group(0) @binding(5) var<storage, read> skip: array<vec4<f32>>;        // (M, N) added to the scaled sums
@group(0) @binding(6) var<storage, read> scale: array<f32>;             // (B) factor of a sample's sums
@group(0) @binding(7) var<storage, read_write> saved: array<vec4<f32>>; // (M, N) what goes into the GELU
@group(0) @binding(8) var<storage, read> before: array<vec4<f32>>;      // (M, N) `saved` of the forward

// Numbers an element of A and B holds.
const UNIT: u32 = $unitu;

// An element of A, which stands at `k`; zero past the end of K.
fn load_a(at: u32, k: u32) -> vec4<$operand> {
    if WHOLE {
        return a[at];
    }
    return select(vec4<$operand>(), a[min(at, (part + 1u) * params.m * params.k / UNIT - 1u)], k < k_end);
}

// The same of B, where what is past the end of K does not matter: it meets zeros of A.
fn load_b(at: u32, k: u32) -> vec4<$operand> {
    if WHOLE {
        return b[at];
    }
    return b[min(at, (part + 1u) * params.k * params.n / UNIT - 1u)];
}

// Four neighbours of what A holds in place of C: sums of one range of K.
fn read_part(row: u32, quad: u32) -> vec4<f32> {
    return vec4<f32>(a[clamped(row, quad)]);
}

fn index(row: u32, quad: u32) -> u32 {
    return (slice * params.m + row) * (params.n / 4u) + quad;
}

fn read_skip(row: u32, quad: u32) -> vec4<f32> {
    return skip[clamped(row, quad)];
}

fn read_before(row: u32, quad: u32) -> vec4<f32> {
    return before[clamped(row, quad)];
}

fn write_saved(row: u32, quad: u32, x: vec4<f32>) {
    if inside(row, quad) {
        saved[index(row, quad)] = x;
    }
}

#import matmul_fours
#import matmul_hidden
