// Bindings of attention over packed qkv. What imports this brings what `attention_index` needs and the key `width` (numbers of an element of
// what is written).
#import attention_index

@group(0) @binding(1) var<storage, read> qkv: array<vec4<f32>>;             // (B, N, 3, H, D)
@group(0) @binding(2) var<storage, read> dy: array<vec4<f32>>;              // (B, N, H, D)
@group(0) @binding(3) var<storage, read_write> y: array<vec$width<f32>>;    // (B, N, H, D)
@group(0) @binding(4) var<storage, read_write> saved: array<f32>;           // (B, H, N) log of the sum of exponentials
@group(0) @binding(5) var<storage, read> out: array<vec4<f32>>;             // (B, N, H, D) `y` of the forward
@group(0) @binding(6) var<storage, read> log_sum: array<f32>;               // (B, H, N) `saved` of the forward
@group(0) @binding(7) var<storage, read_write> dqkv: array<vec$width<f32>>; // (B, N, 3, H, D)
@group(0) @binding(8) var<storage, read_write> delta_out: array<f32>;       // (B, H, N) sum over D of dy * out
@group(0) @binding(9) var<storage, read> delta: array<f32>;                 // (B, H, N) the same
