// Multi-head attention over packed qkv by tiles of scores in registers: a workgroup owns 64 rows of a head (queries, or keys in
// `backward_kv`) and walks over the other side's rows, 64 at a time. Operands go through workgroup memory in slabs of 16. No
// optional feature; vec4 of neighbouring lanes are neighbours there, or swizzled, so that banks do not collide.
//
// A lane has two places. In the tile: vec4 of own rows `y + YS o`, other rows `x + XS c`. In the sums: own rows 4 `slot` to
// 4 `slot` + 3, columns `column + ACROSS p`. What imports this brings the keys `quarters` (vec4 of a row), `lanes` (of a
// workgroup), `own` and `other` (vec4 of own and of other rows a lane has in the tile) and `width` (numbers of a part of a row).

const QUARTERS: u32 = $quarters;
const LANES: u32 = $lanes;
const OWN: u32 = $own;
const OTHER: u32 = $other;
const WIDTH: u32 = $width;
// Rows of a tile's side, in numbers and in vec4.
const SIDE: u32 = 64u;
const SLOTS: u32 = 16u;
// Steps of a slab: numbers along D for scores, rows of the other side for sums.
const SLAB: u32 = 16u;
// Lanes along own and along other rows.
const YS: u32 = SLOTS / OWN;
const XS: u32 = SLOTS / OTHER;
// Other rows of a lane, and of those the rows in a slab.
const MINE: u32 = 4u * OTHER;
const IN_SLAB: u32 = SLAB / XS;
// Lanes that share a slot's sums, and how many of them are neighbours.
const ACROSS: u32 = LANES / SLOTS;
const NEAR: u32 = min(ACROSS, 8u);
// Parts of a row, and a lane's share of them.
const PARTS: u32 = 4u * QUARTERS / WIDTH;
const SHARE: u32 = PARTS / ACROSS;
#import attention_places
#import attention_parts_$width

alias Tile = array<vec4<f32>, MINE * OWN>;
alias Own = array<vec4<f32>, OWN>;
alias Sums = array<Part, 4u * SHARE>;

var<workgroup> rows: array<vec4<f32>, SLAB * SLOTS>;    // (SLAB, own rows)
var<workgroup> columns: array<vec4<f32>, SLAB * SLOTS>; // (SLAB, other rows)
var<workgroup> values: array<Part, SLAB * PARTS>;       // (SLAB, D)

struct Place {
    sample: u32, head: u32, first: u32, x: u32, y: u32, slot: u32, column: u32, index: u32,
    // `behind` of the own rows that the lane stages.
    rows: vec4<u32>,
}

// Of 32 neighbours, 8 differ in one direction and 4 in the other, in both places: they then read few rows and columns.
fn place(group: vec3<u32>, index: u32) -> Place {
    let block = index / 64u;
    let x = index % 8u + 8u * (block % (XS / 8u));
    let y = index / 8u % 8u + 8u * (block / (XS / 8u));
    let column = index % NEAR + NEAR * (index / (NEAR * SLOTS));
    let first = group.x * SIDE;
    let staged = behind_all(first + 4u * staged_slot(index) + vec4(0u, 1u, 2u, 3u));
    return Place(group.z, group.y, first, x, y, index / NEAR % SLOTS, column, index, staged);
}

fn behind_all(token: vec4<u32>) -> vec4<u32> {
    return min(token, vec4(params.tokens - 1u)) * params.heads * QUARTERS;
}

// Of 64 lanes that stage 16 slots by 4 quarters of a slab, 8 neighbours write 8 slots, 32 read 64 bytes of each row.
fn staged_slot(index: u32) -> u32 {
    return index % 8u + index / 32u % 2u * 8u;
}

fn staged_quarter(index: u32) -> u32 {
    return index / 8u % 4u;
}

// `behind` of the other rows that the lane stages, of those from `base` on.
fn other_rows(at: Place, base: u32) -> vec4<u32> {
    let slot = staged_slot(at.index);
    return behind_all(base + slot % XS + XS * (slot / XS * 4u + vec4(0u, 1u, 2u, 3u)));
}

// Where the step of a slab of weights has a slot.
fn swizzled(step: u32, slot: u32) -> u32 {
    return step * SLOTS + (slot ^ (step % 8u));
}

fn in_dy(at: Place, third: u32, token: u32) -> u32 {
    return in_y(at, token);
}

fn rows_qkv(at: Place, third: u32, rows: vec4<u32>) -> vec4<u32> {
    return first_qkv(at, third) + 3u * rows;
}

fn rows_dy(at: Place, third: u32, rows: vec4<u32>) -> vec4<u32> {
    return first_y(at) + rows;
}

#list buffers qkv dy
#each buffer buffers
// Four rows' numbers of a quarter: a column of the matrix has one number of each row.
fn block_$buffer(at: Place, third: u32, behind: vec4<u32>, slab: u32) -> mat4x4<f32> {
    let start = rows_$buffer(at, third, behind) + 4u * slab + staged_quarter(at.index);
    return transpose(mat4x4<f32>($buffer[start.x], $buffer[start.y], $buffer[start.z], $buffer[start.w]));
}

// Brings a slab of own rows to `rows`: the first 64 lanes, 4 x 4 numbers each.
fn stage_own_$buffer(at: Place, third: u32, slab: u32) {
    if at.index < 64u {
        let block = block_$buffer(at, third, at.rows, slab);
        let to = 4u * staged_quarter(at.index) * SLOTS + staged_slot(at.index);
        rows[to] = block[0];
        rows[to + SLOTS] = block[1];
        rows[to + 2u * SLOTS] = block[2];
        rows[to + 3u * SLOTS] = block[3];
    }
}

// The same for other rows and `columns`, by the next 64 lanes where there are more.
fn stage_other_$buffer(at: Place, third: u32, other: vec4<u32>, slab: u32) {
    if LANES == 64u || at.index / 64u == 1u {
        let block = block_$buffer(at, third, other, slab);
        let to = 4u * staged_quarter(at.index) * SLOTS + staged_slot(at.index);
        columns[to] = block[0];
        columns[to + SLOTS] = block[1];
        columns[to + 2u * SLOTS] = block[2];
        columns[to + 3u * SLOTS] = block[3];
    }
}

// Brings other rows from `base` on to `values`.
fn stage_values_$buffer(at: Place, third: u32, base: u32) {
    for (var i = at.index; i < SLAB * QUARTERS; i += LANES) {
        put_values(i, $buffer[in_$buffer(at, third, base + i / QUARTERS) + i % QUARTERS]);
    }
}
#end

// Adds the products of a slab to the tile.
fn add_products(at: Place, tile: ptr<function, Tile>) {
    for (var k = 0u; k < SLAB; k += 4u) {
        for (var u = 0u; u < 4u; u++) {
            var own: Own;
            for (var o = 0u; o < OWN; o++) {
                own[o] = rows[(k + u) * SLOTS + at.y + YS * o];
            }
            for (var v = 0u; v < OTHER; v++) {
                let other = columns[(k + u) * SLOTS + at.x + XS * v];
                for (var o = 0u; o < OWN; o++) {
                    (*tile)[4u * v * OWN + o] = fma(own[o], vec4(other.x), (*tile)[4u * v * OWN + o]);
                    (*tile)[(4u * v + 1u) * OWN + o] = fma(own[o], vec4(other.y), (*tile)[(4u * v + 1u) * OWN + o]);
                    (*tile)[(4u * v + 2u) * OWN + o] = fma(own[o], vec4(other.z), (*tile)[(4u * v + 2u) * OWN + o]);
                    (*tile)[(4u * v + 3u) * OWN + o] = fma(own[o], vec4(other.w), (*tile)[(4u * v + 3u) * OWN + o]);
                }
            }
        }
    }
}

// Scores of own rows, third `own` of qkv, and other rows, third `other`, from `base` on.
fn scores(at: Place, own: u32, other: u32, base: u32, tile: ptr<function, Tile>) {
    let behind = other_rows(at, base);
    for (var slab = 0u; slab < QUARTERS / 4u; slab++) {
        stage_own_qkv(at, own, slab);
        stage_other_qkv(at, other, behind, slab);
        workgroupBarrier();
        add_products(at, tile);
        workgroupBarrier();
    }
}

#list slabs 0 1 2 3
#each slab slabs
// Brings a slab of weights, other rows 16 $slab to 16 $slab + 15 of the tile, to `rows`.
fn put_$slab(at: Place, tile: ptr<function, Tile>) {
    for (var u = 0u; u < IN_SLAB; u++) {
        for (var o = 0u; o < OWN; o++) {
            rows[swizzled(at.x + XS * u, at.y + YS * o)] = (*tile)[($slab * IN_SLAB + u) * OWN + o];
        }
    }
}
#end

// Adds `values`, weighted by `rows`.
fn add_values(at: Place, sums: ptr<function, Sums>) {
    for (var k = 0u; k < SLAB; k += 2u) {
        for (var u = 0u; u < 2u; u++) {
            let weights = rows[swizzled(k + u, at.slot)];
            for (var p = 0u; p < SHARE; p++) {
                let part = values[(k + u) * PARTS + at.column + ACROSS * p];
                (*sums)[4u * p] = fma(Part(weights.x), part, (*sums)[4u * p]);
                (*sums)[4u * p + 1u] = fma(Part(weights.y), part, (*sums)[4u * p + 1u]);
                (*sums)[4u * p + 2u] = fma(Part(weights.z), part, (*sums)[4u * p + 2u]);
                (*sums)[4u * p + 3u] = fma(Part(weights.w), part, (*sums)[4u * p + 3u]);
            }
        }
    }
}

#each buffer buffers
// Adds the other rows from `base` on, weighted by the tile.
fn add_rows_$buffer(at: Place, third: u32, base: u32, tile: ptr<function, Tile>, sums: ptr<function, Sums>) {
#each slab slabs
    put_$slab(at, tile);
    stage_values_$buffer(at, third, base + $slab * SLAB);
    workgroupBarrier();
    add_values(at, sums);
    workgroupBarrier();
#end
}
#end
