// Where the numbers of an operand are that an invocation brings to workgroup memory, GROUP neighbours at a time, slab by slab of DEPTH
// terms of K.

// The element of the next group, and its k.
struct Source { at: u32, k: u32 }

// `e`: which group of a slab, which is `tile` rows or columns wide, from `first` of `side` on. Neighbours read along the matrix's last
// dimension, which is K if `along_k`.
fn source(e: u32, along_k: bool, tile: u32, first: u32, side: u32) -> Source {
    let k = k_first + select(e / (tile / GROUP), e % (DEPTH / GROUP) * GROUP, along_k);
    let unit = select(GROUP, 1u, along_k);
    let mine = min(first + select(e % (tile / GROUP) * GROUP, e / (DEPTH / GROUP), along_k), (side - 1u) / unit * unit);
    let at = part * side * params.k + select(k * side + mine, mine * params.k + k, along_k);
    return Source(at / UNIT, k);
}

// Elements from one slab to the next.
fn slab_step(along_k: bool, side: u32) -> u32 {
    return DEPTH * select(side, 1u, along_k) / UNIT;
}
