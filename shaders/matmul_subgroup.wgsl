// Register-tile products with operands in buffers; see shared/matmul_registers.wgsl.
#import matmul_registers

@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>; // (M, K), layout 2: (K, M)
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>; // (K, N), layout 1: (N, K)
@group(0) @binding(5) var<storage, read> skip: array<vec4<f32>>;         // (M, N) added to the scaled sums
@group(0) @binding(7) var<storage, read_write> saved: array<vec4<f32>>;  // (M, N) what goes into the GELU
@group(0) @binding(8) var<storage, read> before: array<vec4<f32>>;       // (M, N) `saved` of the forward
@group(0) @binding(9) var<storage, read_write> hidden: array<vec4<f32>>; // (M, N) C beside a GELU

fn load_a(column: u32, row: u32) -> vec4<f32> {
    return a[row * (select(params.k, params.m, LAYOUT == 2u) / 4u) + column];
}

fn load_b(column: u32, row: u32) -> vec4<f32> {
    return b[row * (select(params.n, params.k, LAYOUT == 1u) / 4u) + column];
}

fn load_skip(index: u32) -> vec4<f32> {
    return skip[index];
}

fn load_before(index: u32) -> vec4<f32> {
    return before[index];
}

fn store_saved(index: u32, value: vec4<f32>) {
    saved[index] = value;
}

fn store_hidden(index: u32, value: vec4<f32>) {
    hidden[index] = value;
}
