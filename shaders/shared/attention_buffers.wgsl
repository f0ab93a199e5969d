// Attention by subgroups, with qkv and dy in buffers.
#import attention_registers

@group(0) @binding(1) var<storage, read> qkv: array<vec4<f32>>; // (B, N, 3, H, D)
@group(0) @binding(4) var<storage, read> dy: array<vec4<f32>>; // (B, N, H, D)

fn load(m: Mine, token: u32, part: u32, d: u32) -> vec4<f32> {
    return qkv[at(m, token, part) + d];
}

fn load_dy(m: Mine, token: u32, d: u32) -> vec4<f32> {
    return dy[out_at(m, token) + d];
}
