// Operands in workgroup memory four numbers at a time, so that drivers know how loads of matrices are aligned; read eight numbers at a time.
const GROUP: u32 = 8u;
const CELL: u32 = 4u;
struct Group { low: vec4<$element>, high: vec4<$element> }
var<workgroup> tile_a: array<vec4<$element>, SLABS * SLAB_A / CELL>;
var<workgroup> tile_b: array<vec4<$element>, SLABS * SLAB_B / CELL>;

fn fetch_a(from_a: Source) -> Group {
    return Group(load_a(from_a.at, from_a.k), load_a(from_a.at + 1u, from_a.k));
}

fn fetch_b(from_b: Source) -> Group {
    return Group(load_b(from_b.at, from_b.k), load_b(from_b.at + 1u, from_b.k));
}

fn keep_a(at: u32, x: Group) {
    tile_a[at / CELL] = x.low;
    tile_a[at / CELL + 1u] = x.high;
}

fn keep_b(at: u32, x: Group) {
    tile_b[at / CELL] = x.low;
    tile_b[at / CELL + 1u] = x.high;
}
