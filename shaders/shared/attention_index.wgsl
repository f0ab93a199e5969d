// Where rows of attention's tensors begin. What imports this brings QUARTERS (vec4 of a row) and a struct Place with `sample` and `head`.
// Tokens past the end give the last.

struct Params { tokens: u32, heads: u32, scale: f32 }
@group(0) @binding(0) var<uniform> params: Params;

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
