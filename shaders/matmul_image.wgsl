// Register-tile products with operands in textures; see shared/matmul_registers.wgsl. In a loop, lavapipe reads a buffer lane
// by lane under a mask, but a texture by whole vectors: five times as fast there.
#import matmul_registers
#import image

@group(0) @binding(1) var a: texture_storage_2d<rgba32float, read>; // (M, K), layout 2: (K, M)
@group(0) @binding(2) var b: texture_storage_2d<rgba32float, read>; // (K, N), layout 1: (N, K)
@group(0) @binding(5) var skip: texture_storage_2d<rgba32float, read>;    // (M, N) added to the scaled sums
@group(0) @binding(7) var saved: texture_storage_2d<rgba32float, write>;  // (M, N) what goes into the GELU
@group(0) @binding(8) var before: texture_storage_2d<rgba32float, read>;  // (M, N) `saved` of the forward
@group(0) @binding(9) var hidden: texture_storage_2d<rgba32float, write>; // (M, N) C beside a GELU: other products alone read it

fn load_a(column: u32, row: u32) -> vec4<f32> {
    return textureLoad(a, texel(row * (select(params.k, params.m, LAYOUT == 2u) / 4u) + column));
}

fn load_b(column: u32, row: u32) -> vec4<f32> {
    return textureLoad(b, texel(row * (select(params.n, params.k, LAYOUT == 1u) / 4u) + column));
}

fn load_skip(index: u32) -> vec4<f32> {
    return textureLoad(skip, texel(index));
}

fn load_before(index: u32) -> vec4<f32> {
    return textureLoad(before, texel(index));
}

fn store_saved(index: u32, value: vec4<f32>) {
    textureStore(saved, texel(index), value);
}

fn store_hidden(index: u32, value: vec4<f32>) {
    textureStore(hidden, texel(index), value);
}
