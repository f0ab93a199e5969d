// Register-tile products with operands in buffers; see shared/matmul_registers.wgsl.
#import matmul_registers

@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>; // (M, K), layout 2: (K, M)
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>; // (K, N), layout 1: (N, K)

fn load_a(column: u32, row: u32) -> vec4<f32> {
    return a[row * (select(params.k, params.m, LAYOUT == 2u) / 4u) + column];
}

fn load_b(column: u32, row: u32) -> vec4<f32> {
    return b[row * (select(params.n, params.k, LAYOUT == 1u) / 4u) + column];
}
