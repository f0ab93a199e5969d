// Register-tile products with operands in textures; see shared/matmul_registers.wgsl. In a loop, lavapipe reads a buffer lane
// by lane under a mask, but a texture by whole vectors: five times as fast there.
#import matmul_registers
#import image

@group(0) @binding(1) var a: texture_storage_2d<rgba32float, read>; // (M, K), layout 2: (K, M)
@group(0) @binding(2) var b: texture_storage_2d<rgba32float, read>; // (K, N), layout 1: (N, K)

fn load_a(column: u32, row: u32) -> vec4<f32> {
    return textureLoad(a, texel(row * (select(params.k, params.m, LAYOUT == 2u) / 4u) + column));
}

fn load_b(column: u32, row: u32) -> vec4<f32> {
    return textureLoad(b, texel(row * (select(params.n, params.k, LAYOUT == 1u) / 4u) + column));
}
