// Register-tile products with operands in textures; see shared/matmul_registers.wgsl. In a loop, lavapipe reads a buffer lane
// by lane under a mask, but a texture by whole vectors: five times as fast there.
#import matmul_registers
#import image

@group(0) @binding(1) var a: texture_storage_2d<rgba32float, read>; // (M, K), layout 2: (K, M)
@group(0) @binding(2) var b: texture_storage_2d<rgba32float, read>; // (K, N), layout 1: (N, K)

@group(0) @binding(9) var c_image: texture_storage_2d<rgba32float, write>; // (M, N), where other products alone read it

fn load_a(column: u32, row: u32) -> vec4<f32> {
    return textureLoad(a, texel(row * (select(params.k, params.m, LAYOUT == 2u) / 4u) + column));
}

fn load_b(column: u32, row: u32) -> vec4<f32> {
    return textureLoad(b, texel(row * (select(params.n, params.k, LAYOUT == 1u) / 4u) + column));
}

fn put_activated_image(at: Place, row: u32, sum: vec4<f32>) {
    if inside(at, row) {
        textureStore(c_image, texel(index(at, row)), gelu(sum));
    }
}

@compute @workgroup_size(SUBGROUP)
fn activated_image(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let at = place(group, lane);
    var sums: Sums;
    product(at, &sums);
    let add = bias_of(at);
    for (var r = 0u; r < ROWS; r += 4u) {
        put_activated_image(at, at.row + r, sums[0] + add);
        put_activated_image(at, at.row + r + 1u, sums[1] + add);
        put_activated_image(at, at.row + r + 2u, sums[2] + add);
        put_activated_image(at, at.row + r + 3u, sums[3] + add);
        shift(&sums);
    }
}

fn put_activated_saved_image(at: Place, row: u32, sum: vec4<f32>) {
    if inside(at, row) {
        saved[index(at, row)] = sum;
        textureStore(c_image, texel(index(at, row)), gelu(sum));
    }
}

@compute @workgroup_size(SUBGROUP)
fn activated_saved_image(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let at = place(group, lane);
    var sums: Sums;
    product(at, &sums);
    let add = bias_of(at);
    for (var r = 0u; r < ROWS; r += 4u) {
        put_activated_saved_image(at, at.row + r, sums[0] + add);
        put_activated_saved_image(at, at.row + r + 1u, sums[1] + add);
        put_activated_saved_image(at, at.row + r + 2u, sums[2] + add);
        put_activated_saved_image(at, at.row + r + 3u, sums[3] + add);
        shift(&sums);
    }
}

fn put_activation_gradient_image(at: Place, row: u32, sum: vec4<f32>) {
    if inside(at, row) {
        textureStore(c_image, texel(index(at, row)), sum * gelu_derivative(before[index(at, row)]));
    }
}

@compute @workgroup_size(SUBGROUP)
fn activation_gradient_image(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let at = place(group, lane);
    var sums: Sums;
    product(at, &sums);
    for (var r = 0u; r < ROWS; r += 4u) {
        put_activation_gradient_image(at, at.row + r, sums[0]);
        put_activation_gradient_image(at, at.row + r + 1u, sums[1]);
        put_activation_gradient_image(at, at.row + r + 2u, sums[2]);
        put_activation_gradient_image(at, at.row + r + 3u, sums[3]);
        shift(&sums);
    }
}
