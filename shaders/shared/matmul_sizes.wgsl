// Sizes of a matrix product, and which part of the work a workgroup has.

// 0: A (M, K), B (K, N). 1: A (M, K), B (N, K). 2: A (K, M), B (K, N).
override LAYOUT: u32 = 0u;
// K is a multiple of DEPTH: nothing past its end is read.
override WHOLE: bool = false;

// K is cut into `splits` ranges of `depth` terms; each range's sums go to a C of their own, which `matmul_sum` adds.
struct Params { m: u32, n: u32, k: u32, per_sample: u32, splits: u32, depth: u32, batch: u32 }
@group(0) @binding(0) var<uniform> params: Params;

// Which product of the batch, whose matrices lie behind each other.
var<private> part: u32;
// Which C.
var<private> slice: u32;
// Terms of the sums from and to.
var<private> k_first: u32;
var<private> k_end: u32;

fn take(z: u32) {
    slice = z;
    part = z / params.splits;
    k_first = z % params.splits * params.depth;
    k_end = min(k_first + params.depth, params.k);
}
