// Two slabs of both operands in workgroup memory, number by number, as Metal's loads of matrices want them.
const GROUP: u32 = 4u;
const CELL: u32 = 1u;
alias Group = vec4<$element>;
var<workgroup> tile_a: array<$element, 2u * SLAB_A>;
var<workgroup> tile_b: array<$element, 2u * SLAB_B>;

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
