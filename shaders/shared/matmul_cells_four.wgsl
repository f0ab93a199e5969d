// Operands in workgroup memory four numbers at a time, so that drivers know how loads of matrices are aligned; read four numbers at a time.
const GROUP: u32 = 4u;
const CELL: u32 = 4u;
alias Group = vec4<$element>;
var<workgroup> tile_a: array<Group, SLABS * SLAB_A / CELL>;
var<workgroup> tile_b: array<Group, SLABS * SLAB_B / CELL>;

fn fetch_a(from_a: Source) -> Group {
    return Group(load_a(from_a.at, from_a.k));
}

fn fetch_b(from_b: Source) -> Group {
    return Group(load_b(from_b.at, from_b.k));
}

fn keep_a(at: u32, x: Group) {
    tile_a[at / CELL] = x;
}

fn keep_b(at: u32, x: Group) {
    tile_b[at / CELL] = x;
}
