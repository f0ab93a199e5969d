// Attention by subgroups, with qkv and dy in textures: in a loop, lavapipe reads a buffer lane by lane under a mask.
#import attention_registers
#import image

@group(0) @binding(1) var qkv: texture_storage_2d<rgba32float, read>; // (B, N, 3, H, D)
@group(0) @binding(4) var dy: texture_storage_2d<rgba32float, read>; // (B, N, H, D)

fn load(m: Mine, token: u32, part: u32, d: u32) -> vec4<f32> {
    return textureLoad(qkv, texel(at(m, token, part) + d));
}

fn load_dy(m: Mine, token: u32, d: u32) -> vec4<f32> {
    return textureLoad(dy, texel(out_at(m, token) + d));
}
