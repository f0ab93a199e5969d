// What attention in workgroup memory shares: bindings, where rows lie, and the rows that 64 invocations read together.
// What imports this brings TILE (rows shared at a time), QUARTERS (vec4 of a row) and a struct Place with `sample` and `head`.

const SHARED: u32 = TILE * QUARTERS;

struct Params { tokens: u32, heads: u32, scale: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> qkv: array<vec4<f32>>;        // (B, N, 3, H, D)
@group(0) @binding(2) var<storage, read> dy: array<vec4<f32>>;         // (B, N, H, D)
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;    // (B, N, H, D)
@group(0) @binding(4) var<storage, read_write> saved: array<f32>;      // (B, H, N) log of the sum of exponentials
@group(0) @binding(5) var<storage, read> out: array<vec4<f32>>;        // (B, N, H, D) `y` of the forward
@group(0) @binding(6) var<storage, read> log_sum: array<f32>;          // (B, H, N) `saved` of the forward
@group(0) @binding(7) var<storage, read_write> dqkv: array<vec4<f32>>; // (B, N, 3, H, D)
@group(0) @binding(8) var<storage, read_write> delta: array<f32>;      // (B, H, N) sum over D of dy * out, by `backward_q`
@group(0) @binding(9) var<storage, read> deltas: array<f32>;           // (B, H, N) the same, read by `backward_kv`

const Q: u32 = 0u;
const K: u32 = 1u;
const V: u32 = 2u;

var<workgroup> left: array<vec4<f32>, SHARED>;  // (TILE, QUARTERS)
var<workgroup> right: array<vec4<f32>, SHARED>; // (TILE, QUARTERS)
var<workgroup> row_lse: array<f32, TILE>;
var<workgroup> row_delta: array<f32, TILE>;

// Where a token's row of qkv begins; tokens past the end give the last.
fn in_qkv(at: Place, part: u32, token: u32) -> u32 {
    return (((at.sample * params.tokens + min(token, params.tokens - 1u)) * 3u + part) * params.heads + at.head) * QUARTERS;
}

fn in_y(at: Place, token: u32) -> u32 {
    return ((at.sample * params.tokens + min(token, params.tokens - 1u)) * params.heads + at.head) * QUARTERS;
}

fn in_rows(at: Place, token: u32) -> u32 {
    return (at.sample * params.heads + at.head) * params.tokens + min(token, params.tokens - 1u);
}

// Shares the keys and values from `first` on; invocation `index` of 64 brings its part.
fn share_keys(at: Place, first: u32, index: u32) {
    for (var i = index; i < SHARED; i += 64u) {
        left[i] = qkv[in_qkv(at, K, first + i / QUARTERS) + i % QUARTERS];
        right[i] = qkv[in_qkv(at, V, first + i / QUARTERS) + i % QUARTERS];
    }
}

// The same for queries, their dy, and what there is one of for a query.
fn share_queries(at: Place, first: u32, index: u32) {
    for (var i = index; i < SHARED; i += 64u) {
        left[i] = qkv[in_qkv(at, Q, first + i / QUARTERS) + i % QUARTERS];
        right[i] = dy[in_y(at, first + i / QUARTERS) + i % QUARTERS];
    }
    if index < TILE {
        row_lse[index] = log_sum[in_rows(at, first + index)];
        row_delta[index] = deltas[in_rows(at, first + index)];
    }
}
