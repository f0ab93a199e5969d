// Multi-head attention over packed qkv, a row a lane: a lane owns a query or a key, and reads the rows of the other side at addresses
// that all lanes share, which AMD loads once a wave, into scalar registers. Of rows too long for registers, SPLIT lanes hold
// a part each and exchange their shares of the dot products. No optional feature.

// vec4 of a row.
const QUARTERS: u32 = $quarters;
// Lanes of a row.
const SPLIT: u32 = $split;
// Rows of the other side whose scores are taken together.
const STEP: u32 = $step;
// Rows of a workgroup.
const ROWS: u32 = 64u;
// vec4 of a lane's part of a row.
const PART: u32 = QUARTERS / SPLIT;
#import attention_places

alias Row = array<vec4<f32>, PART>;
alias Scores = array<f32, STEP>;

struct Place { sample: u32, head: u32, token: u32, row: u32, part: u32 }

fn place(group: vec3<u32>, local: u32) -> Place {
    return Place(group.z, group.y, group.x * ROWS + local % ROWS, local % ROWS, select(0u, local / ROWS, SPLIT > 1u));
}

fn in_dy(at: Place, third: u32, token: u32) -> u32 {
    return in_y(at, token);
}

// Two turns of KINDS scores of STEP rows: a turn is overwritten when all have passed the barrier of the next.
const SHARES: u32 = 2u * KINDS * STEP * SPLIT * ROWS;
var<workgroup> shares: array<f32, SHARES>;

fn offer(at: Place, turn: u32, scores: ptr<function, Scores>) {
    for (var r = 0u; r < STEP; r++) {
        shares[((turn * STEP + r) * SPLIT + at.part) * ROWS + at.row] = (*scores)[r];
    }
}

// Sums in the same order in all lanes of a row.
fn collect(at: Place, turn: u32, scores: ptr<function, Scores>) {
    for (var r = 0u; r < STEP; r++) {
        let first = (turn * STEP + r) * SPLIT * ROWS + at.row;
        var sum = shares[first];
        for (var part = 1u; part < SPLIT; part++) {
            sum += shares[first + part * ROWS];
        }
        (*scores)[r] = sum;
    }
}

#list buffers qkv dy
#list parts 0 1 2 3
#each buffer buffers
fn part_dots_$buffer(at: Place, part: u32, row: ptr<function, Row>, third: u32, first: u32, scores: ptr<function, Scores>) {
    for (var r = 0u; r < STEP; r++) {
        let start = in_$buffer(at, third, first + r) + part * PART;
        var sum = vec4<f32>();
        for (var d = 0u; d < PART; d++) {
            sum = fma((*row)[d], $buffer[start + d], sum);
        }
        (*scores)[r] = sum.x + sum.y + sum.z + sum.w;
    }
}

// A lane's shares of the dot products of its row and STEP rows of the other side. A branch a part: its addresses are then uniform.
fn dots_$buffer(at: Place, row: ptr<function, Row>, third: u32, first: u32, scores: ptr<function, Scores>) {
#each part parts
    if $part < SPLIT && at.part == $part {
        part_dots_$buffer(at, $part, row, third, first, scores);
    }
#end
}

fn part_add_$buffer(at: Place, part: u32, row: ptr<function, Row>, third: u32, first: u32, weights: ptr<function, Scores>) {
    for (var r = 0u; r < STEP; r++) {
        let start = in_$buffer(at, third, first + r) + part * PART;
        for (var d = 0u; d < PART; d++) {
            (*row)[d] = fma(vec4((*weights)[r]), $buffer[start + d], (*row)[d]);
        }
    }
}

// Adds STEP rows of the other side, weighted.
fn add_$buffer(at: Place, row: ptr<function, Row>, third: u32, first: u32, weights: ptr<function, Scores>) {
#each part parts
    if $part < SPLIT && at.part == $part {
        part_add_$buffer(at, $part, row, third, first, weights);
    }
#end
}
#end
