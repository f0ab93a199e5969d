// Two slabs of both operands in workgroup memory, four numbers at a time, so that drivers know how loads of matrices are aligned.
const GROUP: u32 = 4u;
const CELL: u32 = 4u;
alias Group = vec4<$element>;
var<workgroup> tile_a: array<Group, 2u * SLAB_A / CELL>;
var<workgroup> tile_b: array<Group, 2u * SLAB_B / CELL>;

fn keep_a(at: u32, x: Group) {
    tile_a[at / CELL] = x;
}

fn keep_b(at: u32, x: Group) {
    tile_b[at / CELL] = x;
}
