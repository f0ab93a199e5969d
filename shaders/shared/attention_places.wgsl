// Bindings of attention over packed qkv and where rows begin in them. What imports this brings QUARTERS (vec4 of a row), the key
// `width` (numbers of an element of what is written) and a struct Place with `sample` and `head`. Tokens past the end give the last.

struct Params { tokens: u32, heads: u32, scale: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> qkv: array<vec4<f32>>;             // (B, N, 3, H, D)
@group(0) @binding(2) var<storage, read> dy: array<vec4<f32>>;              // (B, N, H, D)
@group(0) @binding(3) var<storage, read_write> y: array<vec$width<f32>>;    // (B, N, H, D)
@group(0) @binding(4) var<storage, read_write> saved: array<f32>;           // (B, H, N) log of the sum of exponentials
@group(0) @binding(5) var<storage, read> out: array<vec4<f32>>;             // (B, N, H, D) `y` of the forward
@group(0) @binding(6) var<storage, read> log_sum: array<f32>;               // (B, H, N) `saved` of the forward
@group(0) @binding(7) var<storage, read_write> dqkv: array<vec$width<f32>>; // (B, N, 3, H, D)
@group(0) @binding(8) var<storage, read_write> delta_out: array<f32>;       // (B, H, N) sum over D of dy * out
@group(0) @binding(9) var<storage, read> delta: array<f32>;                 // (B, H, N) the same

const NEVER: f32 = -3.0e38;
// Thirds of qkv.
const Q: u32 = 0u;
const K: u32 = 1u;
const V: u32 = 2u;

// Where a token's row lies behind the first token's of its sample and head, in vec4: so far in y and dy, three times so far in qkv.
fn behind(token: u32) -> u32 {
    return min(token, params.tokens - 1u) * params.heads * QUARTERS;
}

// Where the first token's rows of qkv and of y or dy begin, in vec4.
fn first_qkv(at: Place, third: u32) -> u32 {
    return ((at.sample * params.tokens * 3u + third) * params.heads + at.head) * QUARTERS;
}

fn first_y(at: Place) -> u32 {
    return (at.sample * params.tokens * params.heads + at.head) * QUARTERS;
}

fn in_qkv(at: Place, third: u32, token: u32) -> u32 {
    return first_qkv(at, third) + 3u * behind(token);
}

fn in_y(at: Place, token: u32) -> u32 {
    return first_y(at) + behind(token);
}

fn in_rows(at: Place, token: u32) -> u32 {
    return (at.sample * params.heads + at.head) * params.tokens + min(token, params.tokens - 1u);
}
