// Operands in workgroup memory number by number, as Metal's loads of matrices want them; read four numbers at a time.
const GROUP: u32 = 4u;
const CELL: u32 = 1u;
alias Group = vec4<$element>;
var<workgroup> tile_a: array<$element, SLABS * SLAB_A>;
var<workgroup> tile_b: array<$element, SLABS * SLAB_B>;

fn fetch_a(from_a: Source) -> Group {
    return Group(load_a(from_a.at, from_a.k));
}

fn fetch_b(from_b: Source) -> Group {
    return Group(load_b(from_b.at, from_b.k));
}

fn keep_a(at: u32, x: Group) {
    tile_a[at] = x.x;
    tile_a[at + 1u] = x.y;
    tile_a[at + 2u] = x.z;
    tile_a[at + 3u] = x.w;
}

fn keep_b(at: u32, x: Group) {
    tile_b[at] = x.x;
    tile_b[at + 1u] = x.y;
    tile_b[at + 2u] = x.z;
    tile_b[at + 3u] = x.w;
}
