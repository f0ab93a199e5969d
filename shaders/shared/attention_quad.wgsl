// Multi-head attention over packed qkv by quads of lanes, for subgroups of any size from 4: a lane holds a quarter of a row, so that
// rows fit the registers where a whole one would not; sums over D are completed by two shuffles. The rows of the other side are shared in workgroup memory.
// What imports this says how many vec4 of a row a lane holds: PARTS, head size 16 PARTS.

// Rows shared at a time, and of those whose scores are taken together.
const TILE: u32 = 16u;
const STEP: u32 = 4u;
// vec4 of a row.
const QUARTERS: u32 = 4u * PARTS;
const LANES: u32 = 64u;
const QUADS: u32 = 16u;
// Queries of a quad.
const PER_QUAD: u32 = 2u;
const NEVER: f32 = -3.0e38;
#import attention_rows

alias Row = array<vec4<f32>, PARTS>;

struct Place { sample: u32, head: u32, first: u32, part: u32, index: u32 }

// The first token of a quad, which of its rows' quarters are a lane's, and the lane's number in the workgroup.
fn place(group: vec3<u32>, per_quad: u32, index: u32) -> Place {
    return Place(group.z, group.y, group.x * QUADS * per_quad + index / 4u, index % 4u, index);
}

// Tokens past the end repeat the last; nothing is stored for them.
fn token_of(at: Place, j: u32) -> u32 {
    return min(at.first + j * QUADS, params.tokens - 1u);
}

fn inside(at: Place, j: u32) -> bool {
    return at.first + j * QUADS < params.tokens;
}

// Neighbouring lanes have neighbouring vec4.
fn mine(at: Place, d: u32) -> u32 {
    return d * 4u + at.part;
}

// The sum over a quad.
fn whole(x: f32) -> f32 {
    let pair = x + subgroupShuffleXor(x, 1u);
    return pair + subgroupShuffleXor(pair, 2u);
}

fn dot_left(at: Place, x: Row, row: u32) -> f32 {
    var s = 0.0;
    for (var d = 0u; d < PARTS; d++) {
        s += dot(x[d], left[row * QUARTERS + mine(at, d)]);
    }
    return whole(s);
}

fn dot_right(at: Place, x: Row, row: u32) -> f32 {
    var s = 0.0;
    for (var d = 0u; d < PARTS; d++) {
        s += dot(x[d], right[row * QUARTERS + mine(at, d)]);
    }
    return whole(s);
}

@compute @workgroup_size(LANES)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_size) size: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let at = place(group, PER_QUAD, subgroup * size + lane);
    var query: array<Row, PER_QUAD>;
    var sums: array<Row, PER_QUAD>;
    var largest: array<f32, PER_QUAD>;
    var total: array<f32, PER_QUAD>;
    for (var j = 0u; j < PER_QUAD; j++) {
        largest[j] = NEVER;
        for (var d = 0u; d < PARTS; d++) {
            query[j][d] = qkv[in_qkv(at, Q, token_of(at, j)) + mine(at, d)] * params.scale;
        }
    }
    for (var first = 0u; first < params.tokens; first += TILE) {
        share_keys(at, first, at.index);
        workgroupBarrier();
        for (var row = 0u; row < min(TILE, params.tokens - first); row += STEP) {
            for (var j = 0u; j < PER_QUAD; j++) {
                var s: array<f32, STEP>;
                var next = largest[j];
                for (var r = 0u; r < STEP; r++) {
                    s[r] = select(NEVER, dot_left(at, query[j], row + r), first + row + r < params.tokens);
                    next = max(next, s[r]);
                }
                let shrink = exp(largest[j] - next);
                largest[j] = next;
                total[j] *= shrink;
                for (var r = 0u; r < STEP; r++) {
                    s[r] = exp(s[r] - next);
                    total[j] += s[r];
                }
                for (var d = 0u; d < PARTS; d++) {
                    var sum = sums[j][d] * shrink;
                    for (var r = 0u; r < STEP; r++) {
                        sum += s[r] * right[(row + r) * QUARTERS + mine(at, d)];
                    }
                    sums[j][d] = sum;
                }
            }
        }
        workgroupBarrier();
    }
    for (var j = 0u; j < PER_QUAD; j++) {
        if inside(at, j) {
            let token = token_of(at, j);
            for (var d = 0u; d < PARTS; d++) {
                y[in_y(at, token) + mine(at, d)] = sums[j][d] / total[j];
            }
            if at.part == 0u {
                saved[in_rows(at, token)] = largest[j] + log(total[j]);
            }
        }
    }
}

// dQ = dS K, dS = P * (dP - delta) * scale, dP = dY Vᵀ; and delta.
@compute @workgroup_size(LANES)
fn backward_q(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_size) size: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let at = place(group, PER_QUAD, subgroup * size + lane);
    var query: array<Row, PER_QUAD>;
    var dout: array<Row, PER_QUAD>;
    var dquery: array<Row, PER_QUAD>;
    var mean: array<f32, PER_QUAD>;
    var lse: array<f32, PER_QUAD>;
    for (var j = 0u; j < PER_QUAD; j++) {
        let token = token_of(at, j);
        var sum = 0.0;
        for (var d = 0u; d < PARTS; d++) {
            query[j][d] = qkv[in_qkv(at, Q, token) + mine(at, d)] * params.scale;
            dout[j][d] = dy[in_y(at, token) + mine(at, d)];
            sum += dot(dout[j][d], out[in_y(at, token) + mine(at, d)]);
        }
        mean[j] = whole(sum);
        lse[j] = log_sum[in_rows(at, token)];
    }
    for (var first = 0u; first < params.tokens; first += TILE) {
        share_keys(at, first, at.index);
        workgroupBarrier();
        for (var row = 0u; row < min(TILE, params.tokens - first); row++) {
            for (var j = 0u; j < PER_QUAD; j++) {
                let s = dot_left(at, query[j], row);
                let dp = dot_right(at, dout[j], row);
                let ds = exp(s - lse[j]) * (dp - mean[j]) * params.scale;
                for (var d = 0u; d < PARTS; d++) {
                    dquery[j][d] += ds * left[row * QUARTERS + mine(at, d)];
                }
            }
        }
        workgroupBarrier();
    }
    for (var j = 0u; j < PER_QUAD; j++) {
        if inside(at, j) {
            let token = token_of(at, j);
            for (var d = 0u; d < PARTS; d++) {
                dqkv[in_qkv(at, Q, token) + mine(at, d)] = dquery[j][d];
            }
            if at.part == 0u {
                delta[in_rows(at, token)] = mean[j];
            }
        }
    }
}

// dV = Pᵀ dY, dK = dSᵀ Q: a quad has a key, the shared rows are queries.
@compute @workgroup_size(LANES)
fn backward_kv(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_size) size: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let at = place(group, 1u, subgroup * size + lane);
    let token = token_of(at, 0u);
    var key: Row;
    var value: Row;
    var dkey: Row;
    var dvalue: Row;
    for (var d = 0u; d < PARTS; d++) {
        key[d] = qkv[in_qkv(at, K, token) + mine(at, d)] * params.scale;
        value[d] = qkv[in_qkv(at, V, token) + mine(at, d)];
    }
    for (var first = 0u; first < params.tokens; first += TILE) {
        share_queries(at, first, at.index);
        workgroupBarrier();
        for (var row = 0u; row < min(TILE, params.tokens - first); row++) {
            let p = exp(dot_left(at, key, row) - row_lse[row]);
            let ds = p * (dot_right(at, value, row) - row_delta[row]) * params.scale;
            for (var d = 0u; d < PARTS; d++) {
                dvalue[d] += p * right[row * QUARTERS + mine(at, d)];
                dkey[d] += ds * left[row * QUARTERS + mine(at, d)];
            }
        }
        workgroupBarrier();
    }
    if inside(at, 0u) {
        for (var d = 0u; d < PARTS; d++) {
            dqkv[in_qkv(at, K, token) + mine(at, d)] = dkey[d];
            dqkv[in_qkv(at, V, token) + mine(at, d)] = dvalue[d];
        }
    }
}
