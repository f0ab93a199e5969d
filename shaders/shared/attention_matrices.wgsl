// Attention by cooperative matrices of f16 with sums of f32, for subgroups of LANES. A workgroup is WAVES subgroups. Each owns ROWS rows of a
// head (queries, or keys in `backward_kv`), whose operands stay in its registers; all walk over the other side's rows, OTHERS at a
// time, which they share in workgroup memory. Scores go to the lanes through workgroup memory, and as weights of f16 back into matrices: a
// subgroup has a patch of its own for both and waits for nobody.
//
// The other side's tensors, `a` and `b`, lie in workgroup memory as they are, `near` (rows, D), for products over D. For products over rows
// they are read from there too, or from a copy `turned` (D, rows), where drivers load columns of a matrix number by number: the
// keys `kept`, `far` and `turns` say so. Other keys: `side` of a matrix, `lanes`, `waves`, `mi` matrices of own rows, `nj` of other rows, `ds`
// a list of as many words as a row has matrices, `quarters` vec4 of a row.
#list none
#list none_a
#list pair a b
#list pair_a a
#list one 0
#list two 0 1
#list four 0 1 2 3
#list five 0 1 2 3 4
#list six 0 1 2 3 4 5
#list eight 0 1 2 3 4 5 6 7
#list ten 0 1 2 3 4 5 6 7 8 9
#list twelve 0 1 2 3 4 5 6 7 8 9 10 11
#list sixteen 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15

const QUARTERS: u32 = $quartersu;
const SIDE: u32 = $sideu;
const LANES: u32 = $lanesu;
const WAVES: u32 = $wavesu;
const THREADS: u32 = LANES * WAVES;
const ROWS: u32 = $miu * SIDE;
const OTHERS: u32 = $nju * SIDE;
alias Left = coop_mat$sidex$side<f16, A>;
alias Right = coop_mat$sidex$side<f16, B>;
alias Sum = coop_mat$sidex$side<f32, C>;
struct Own {
#each i $mis
#each d $ds
    a$i_$d: Left,
#end
#end
}
struct Sums {
#each i $mis
#each d $ds
    s$i_$d: Sum,
#end
#end
}

// Lanes that share a row of scores, and quads of it that each has.
const PER_ROW: u32 = LANES / ROWS;
const MINE: u32 = OTHERS / 4u / PER_ROW;
// The same of a matrix; all lanes have some if even.
const PARTS: u32 = max(SIDE / 4u / PER_ROW, 1u);
const EVEN: bool = 4u * PER_ROW <= SIDE;
alias Scores = array<vec4<f32>, MINE>;

#import attention_index
#import attention_cells_$cells
// Cells of four numbers and of a matrix's side.
const QUAD: u32 = 4u / CELL;
const SPAN: u32 = SIDE / CELL;
// Cells from one row to the next: no power of two, so that columns do not fall into one bank.
const NEAR: u32 = (4u * QUARTERS + 8u) / CELL;
const TURNED: u32 = (OTHERS + 8u) / CELL;
const SCORES: u32 = (OTHERS + 4u * PER_ROW) / CELL;
const WEIGHTS: u32 = (OTHERS + 8u) / CELL;
var<workgroup> scores: array<Score, WAVES * ROWS * SCORES>;
var<workgroup> weights: array<Cell, WAVES * ROWS * WEIGHTS>;
#each x pair
var<workgroup> near_$x: array<Cell, OTHERS * NEAR>;
var<workgroup> turned_$x: array<Cell, 4u * QUARTERS * TURNED>;
#end

@group(0) @binding(1) var<storage, read> qkv: array<vec4<f16>>; // (B, N, 3, H, D)
@group(0) @binding(2) var<storage, read> dy: array<vec4<f16>>;  // (B, N, H, D) each row scaled by 2 to the power of its exponent

const LOG2_E: f32 = 1.4426950408889634;

// `first` own row of the subgroup.
struct Place { sample: u32, head: u32, first: u32, local: u32, subgroup: u32, lane: u32 }

fn place(group: vec3<u32>, local: u32, subgroup: u32, lane: u32) -> Place {
    return Place(group.z, group.y, (group.x * WAVES + subgroup) * ROWS, local, subgroup, lane);
}

// The lane's row of the subgroup's.
fn row_of(at: Place) -> u32 {
    return at.lane / PER_ROW;
}

// Which four columns of the tile the lane has.
fn quad_of(at: Place, mine: u32) -> u32 {
    return at.lane % PER_ROW + PER_ROW * mine;
}

// Where a row of the subgroup's begins in its patches, in cells.
fn score_row(at: Place, row: u32) -> u32 {
    return (at.subgroup * ROWS + row) * SCORES;
}

fn weight_row(at: Place, row: u32) -> u32 {
    return (at.subgroup * ROWS + row) * WEIGHTS;
}

fn in_dy(at: Place, third: u32, token: u32) -> u32 {
    return in_y(at, token);
}

// Blocks of 4 rows by 4 columns that bring a tile of the other side's rows to workgroup memory, and how many an invocation brings.
const BLOCKS: u32 = OTHERS / 4u * QUARTERS;
const ROUNDS: u32 = (BLOCKS + THREADS - 1u) / THREADS;
alias Ahead = array<mat4x4<f16>, ROUNDS>;

// An invocation's block: past the last that one again, since a load that only some invocations need would wait until they store it.
fn block_of(at: Place, round: u32) -> u32 {
    return min(at.local + round * THREADS, BLOCKS - 1u);
}

// The block's first row and its quad: of 16 neighbours, four different ones each.
fn block_row(block: u32) -> u32 {
    return 4u * (block % 4u + block / 16u % (OTHERS / 16u) * 4u);
}

fn block_quad(block: u32) -> u32 {
    return block / 4u % 4u + block / OTHERS * 4u;
}

// Where the rows of an invocation's blocks lie behind the first of a tile, in vec4 of y.
alias Walk = array<vec4<u32>, ROUNDS>;

fn walk(at: Place, rows: ptr<function, Walk>) {
    for (var r = 0u; r < ROUNDS; r++) {
        (*rows)[r] = (block_row(block_of(at, r)) + vec4(0u, 1u, 2u, 3u)) * params.heads * QUARTERS;
    }
}

fn rows_qkv(at: Place, third: u32, rows: vec4<u32>) -> vec4<u32> {
    return first_qkv(at, third) + 3u * rows;
}

fn rows_dy(at: Place, third: u32, rows: vec4<u32>) -> vec4<u32> {
    return first_y(at) + rows;
}

#list sources qkv dy
#each source sources
// Reads the other side's rows from `base` on, into registers.
fn fetch_$source(at: Place, third: u32, base: u32, rows: ptr<function, Walk>, ahead: ptr<function, Ahead>) {
    let stride = params.heads * QUARTERS;
    for (var r = 0u; r < ROUNDS; r++) {
        let clamped = min((*rows)[r] + base * stride, vec4((params.tokens - 1u) * stride));
        let start = rows_$source(at, third, clamped) + block_quad(block_of(at, r));
        (*ahead)[r] = mat4x4<f16>($source[start.x], $source[start.y], $source[start.z], $source[start.w]);
    }
}

// The subgroup's own rows.
fn own_$source(at: Place, third: u32, own: ptr<function, Own>) {
#each d $ds
    for (var e = at.lane; e < ROWS * SIDE / 4u; e += LANES) {
        let row = e / (SIDE / 4u);
        let quad = e % (SIDE / 4u);
        put_weights(weight_row(at, row) + quad * QUAD, $source[in_$source(at, third, at.first + row) + $du * SIDE / 4u + quad]);
    }
    subgroupBarrier();
#each i $mis
    (*own).a$i_$d = coopLoadT<Left>(&weights[weight_row(at, $iu * SIDE)], WEIGHTS);
#end
    subgroupBarrier();
#end
}
#end

#each x pair
// Brings what was read to workgroup memory.
fn keep_near_$x(at: Place, ahead: ptr<function, Ahead>) {
    for (var r = 0u; r < ROUNDS; r++) {
        let to = block_row(block_of(at, r)) * NEAR + block_quad(block_of(at, r)) * QUAD;
        put_near_$x(to, (*ahead)[r][0]);
        put_near_$x(to + NEAR, (*ahead)[r][1]);
        put_near_$x(to + 2u * NEAR, (*ahead)[r][2]);
        put_near_$x(to + 3u * NEAR, (*ahead)[r][3]);
    }
}

fn keep_turned_$x(at: Place, ahead: ptr<function, Ahead>) {
    for (var r = 0u; r < ROUNDS; r++) {
        let to = 4u * block_quad(block_of(at, r)) * TURNED + block_row(block_of(at, r)) / CELL;
        let columns = transpose((*ahead)[r]);
        put_turned_$x(to, columns[0]);
        put_turned_$x(to + TURNED, columns[1]);
        put_turned_$x(to + 2u * TURNED, columns[2]);
        put_turned_$x(to + 3u * TURNED, columns[3]);
    }
}

// Products of own rows and the other side's, over D, into the subgroup's patch.
fn multiply_$x(at: Place, own: ptr<function, Own>) {
#each j $njs
    {
#each i $mis
        var s$i: Sum;
#end
#each d $ds
        let near$d = coopLoad<Right>(&near_$x[$ju * SIDE * NEAR + $du * SPAN], NEAR);
#each i $mis
        s$i = coopMultiplyAdd((*own).a$i_$d, near$d, s$i);
#end
#end
#each i $mis
        coopStoreT(s$i, &scores[score_row(at, $iu * SIDE) + $ju * SPAN], SCORES);
#end
    }
#end
    subgroupBarrier();
}

// Adds the other side's rows, weighted by the subgroup's patch.
fn add_$x(at: Place, sums: ptr<function, Sums>) {
#each i $mis
#each j $njs
    let weights$i_$j = coopLoadT<Left>(&weights[weight_row(at, $iu * SIDE) + $ju * SPAN], WEIGHTS);
#end
#end
#each d $ds
#each j $njs
    let far$j_$d = $far<Right>(&$kept_$x[far_at($ju, $du)], FAR);
#each i $mis
    (*sums).s$i_$d = coopMultiplyAdd(weights$i_$j, far$j_$d, (*sums).s$i_$d);
#end
#end
#end
}
#end
#import attention_far_$kept

// The lane's scores; the patch may be written after.
fn take(at: Place, s: ptr<function, Scores>) {
    for (var u = 0u; u < MINE; u++) {
        (*s)[u] = score(score_row(at, row_of(at)) + quad_of(at, u) * QUAD);
    }
    subgroupBarrier();
}

// The lane's weights, rounded, for `add`.
fn give(at: Place, s: ptr<function, Scores>) {
    for (var u = 0u; u < MINE; u++) {
        put_weights(weight_row(at, row_of(at)) + quad_of(at, u) * QUAD, vec4<f16>((*s)[u]));
    }
    subgroupBarrier();
}

// Which of four columns of the other side's rows from `base` on are tokens.
fn inside(at: Place, base: u32, mine: u32) -> vec4<bool> {
    return vec4(base + 4u * quad_of(at, mine)) + vec4(0u, 1u, 2u, 3u) < vec4(params.tokens);
}

// Writes sums of own rows, times the factor of each lane's row.
fn put_sums(at: Place, third: u32, sums: ptr<function, Sums>, factor: f32) {
    let token = at.first + row_of(at);
#each d $ds
#each i $mis
    coopStoreT((*sums).s$i_$d, &scores[score_row(at, $iu * SIDE)], SCORES);
#end
    subgroupBarrier();
    if token < params.tokens {
        for (var u = 0u; u < PARTS; u++) {
            let quad = quad_of(at, u);
            if EVEN || quad < SIDE / 4u {
                let x = score(score_row(at, row_of(at)) + quad * QUAD);
                write(at, third, token, $du * SIDE / 4u + quad, x * factor);
            }
        }
    }
    subgroupBarrier();
#end
}
