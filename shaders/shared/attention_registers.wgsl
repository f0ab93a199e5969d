// Attention for subgroups of 8 lanes, head size 4 SIZE4: a workgroup is one subgroup and takes 8 PER_LANE queries, or 8
// keys, of one head, each lane's rows in registers; the other side's rows are read once, a lane each, and spread by shuffles. See
// src/op/attention.rs.
//
// Loops over an array run exactly its length: Mesa then unrolls them and keeps the array in registers.
// What imports this brings `load(m, token, part, d)` of qkv and `load_dy(m, token, d)`, four numbers each.
#import index

struct Params { samples: u32, tokens: u32, heads: u32, scale: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;    // (B, N, H, D)
@group(0) @binding(3) var<storage, read_write> saved: array<f32>;      // (B, H, N) log of the sum of exponentials
@group(0) @binding(5) var<storage, read> out: array<vec4<f32>>;        // (B, N, H, D) `y` of the forward
@group(0) @binding(6) var<storage, read> log_sum: array<f32>;          // (B, H, N) `saved` of the forward
@group(0) @binding(7) var<storage, read_write> delta_out: array<f32>;  // (B, H, N) sum over D of dy * y
@group(0) @binding(8) var<storage, read> delta: array<f32>;            // (B, H, N) the same
@group(0) @binding(9) var<storage, read_write> dqkv: array<vec4<f32>>; // (B, N, 3, H, D)

alias Row = array<vec4<f32>, SIZE4>;
alias Rows = array<Row, PER_LANE>;
alias Scores = array<array<f32, 8>, PER_LANE>;
const SUBGROUP: u32 = 8u;
const NEVER: f32 = -3.0e38;

// a b + c in fused steps, which `dot` is not on every driver.
fn fma_dot(a: vec4<f32>, b: vec4<f32>, c: f32) -> f32 {
    return fma(a.w, b.w, fma(a.z, b.z, fma(a.y, b.y, fma(a.x, b.x, c))));
}

struct Mine { inside: bool, sample: u32, head: u32, first: u32 }

// The tokens lane + 8 j, j < `per_lane`, of a tile.
fn mine_of(group: vec3<u32>, groups: vec3<u32>, lane: u32, per_lane: u32) -> Mine {
    let index = linear_group(group, groups);
    let tiles = (params.tokens + 8u * per_lane - 1u) / (8u * per_lane);
    let pair = index / tiles;
    return Mine(pair < params.samples * params.heads, min(pair / params.heads, params.samples - 1u),
        pair % params.heads, index % tiles * 8u * per_lane + lane);
}

// Tokens past the edge repeat the last one; they are not stored.
fn token_of(m: Mine, j: u32) -> u32 {
    return min(m.first + 8u * j, params.tokens - 1u);
}

fn stored(m: Mine, j: u32) -> bool {
    return m.inside && m.first + 8u * j < params.tokens;
}

fn at(m: Mine, token: u32, part: u32) -> u32 {
    return (((m.sample * params.tokens + token) * 3u + part) * params.heads + m.head) * SIZE4;
}

fn out_at(m: Mine, token: u32) -> u32 {
    return ((m.sample * params.tokens + token) * params.heads + m.head) * SIZE4;
}

fn pair_at(m: Mine, token: u32) -> u32 {
    return (m.sample * params.heads + m.head) * params.tokens + token;
}

@compute @workgroup_size(SUBGROUP)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let m = mine_of(group, groups, lane, PER_LANE);
    var q: Rows;
    var sums: Rows;
    var largest: array<f32, PER_LANE>;
    var total: array<f32, PER_LANE>;
    for (var j = 0u; j < PER_LANE; j++) {
        largest[j] = NEVER;
        for (var d = 0u; d < SIZE4; d++) {
            q[j][d] = load(m, token_of(m, j), 0u, d) * params.scale;
        }
    }
    for (var first = 0u; first < params.tokens; first += 8u) {
        let theirs = min(first + lane, params.tokens - 1u);
        var s: Scores;
        for (var d = 0u; d < SIZE4; d++) {
            let k = load(m, theirs, 1u, d);
            for (var i = 0u; i < 8u; i++) {
                let b = subgroupShuffle(k, i);
                for (var j = 0u; j < PER_LANE; j++) {
                    s[j][i] = fma_dot(q[j][d], b, s[j][i]);
                }
            }
        }
        for (var j = 0u; j < PER_LANE; j++) {
            var next = largest[j];
            for (var i = 0u; i < 8u; i++) {
                s[j][i] = select(NEVER, s[j][i], first + i < params.tokens);
                next = max(next, s[j][i]);
            }
            let shrink = exp(largest[j] - next);
            largest[j] = next;
            total[j] *= shrink;
            for (var i = 0u; i < 8u; i++) {
                s[j][i] = exp(s[j][i] - next);
                total[j] += s[j][i];
            }
            for (var d = 0u; d < SIZE4; d++) {
                sums[j][d] *= shrink;
            }
        }
        for (var d = 0u; d < SIZE4; d++) {
            let v = load(m, theirs, 2u, d);
            for (var i = 0u; i < 8u; i++) {
                let b = subgroupShuffle(v, i);
                for (var j = 0u; j < PER_LANE; j++) {
                    sums[j][d] = fma(vec4(s[j][i]), b, sums[j][d]);
                }
            }
        }
    }
    for (var j = 0u; j < PER_LANE; j++) {
        if stored(m, j) {
            let token = token_of(m, j);
            for (var d = 0u; d < SIZE4; d++) {
                y[out_at(m, token) + d] = sums[j][d] / total[j];
            }
            saved[pair_at(m, token)] = largest[j] + log(total[j]);
        }
    }
}

@compute @workgroup_size(SUBGROUP)
fn backward_delta(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let m = mine_of(group, groups, lane, 1u);
    let token = token_of(m, 0u);
    var sum = 0.0;
    for (var d = 0u; d < SIZE4; d++) {
        sum += dot(load_dy(m, token, d), out[out_at(m, token) + d]);
    }
    if stored(m, 0u) {
        delta_out[pair_at(m, token)] = sum;
    }
}

// A lane has queries: dq = sum over keys of ds k.
@compute @workgroup_size(SUBGROUP)
fn backward_q(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let m = mine_of(group, groups, lane, PER_LANE);
    var q: Rows;
    var dy: Rows;
    var sums: Rows;
    var lse: array<f32, PER_LANE>;
    var shift: array<f32, PER_LANE>;
    for (var j = 0u; j < PER_LANE; j++) {
        let token = token_of(m, j);
        lse[j] = log_sum[pair_at(m, token)];
        shift[j] = delta[pair_at(m, token)];
        for (var d = 0u; d < SIZE4; d++) {
            q[j][d] = load(m, token, 0u, d) * params.scale;
            dy[j][d] = load_dy(m, token, d);
        }
    }
    for (var first = 0u; first < params.tokens; first += 8u) {
        let theirs = min(first + lane, params.tokens - 1u);
        var s: Scores;
        var dp: Scores;
        var k: Row;
        for (var d = 0u; d < SIZE4; d++) {
            k[d] = load(m, theirs, 1u, d);
            let v = load(m, theirs, 2u, d);
            for (var i = 0u; i < 8u; i++) {
                let b = subgroupShuffle(k[d], i);
                let c = subgroupShuffle(v, i);
                for (var j = 0u; j < PER_LANE; j++) {
                    s[j][i] = fma_dot(q[j][d], b, s[j][i]);
                    dp[j][i] = fma_dot(dy[j][d], c, dp[j][i]);
                }
            }
        }
        for (var j = 0u; j < PER_LANE; j++) {
            for (var i = 0u; i < 8u; i++) {
                let p = select(0.0, exp(s[j][i] - lse[j]), first + i < params.tokens);
                s[j][i] = p * (dp[j][i] - shift[j]) * params.scale;
            }
        }
        for (var d = 0u; d < SIZE4; d++) {
            for (var i = 0u; i < 8u; i++) {
                let b = subgroupShuffle(k[d], i);
                for (var j = 0u; j < PER_LANE; j++) {
                    sums[j][d] = fma(vec4(s[j][i]), b, sums[j][d]);
                }
            }
        }
    }
    for (var j = 0u; j < PER_LANE; j++) {
        if stored(m, j) {
            for (var d = 0u; d < SIZE4; d++) {
                dqkv[at(m, token_of(m, j), 0u) + d] = sums[j][d];
            }
        }
    }
}

// A lane has a key: dk = sum over queries of ds q, dv = sum over queries of p dy.
@compute @workgroup_size(SUBGROUP)
fn backward_kv(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let m = mine_of(group, groups, lane, 1u);
    let token = token_of(m, 0u);
    var k: Row;
    var v: Row;
    var dk: Row;
    var dv: Row;
    for (var d = 0u; d < SIZE4; d++) {
        k[d] = load(m, token, 1u, d) * params.scale;
        v[d] = load(m, token, 2u, d);
    }
    for (var first = 0u; first < params.tokens; first += 8u) {
        let theirs = min(first + lane, params.tokens - 1u);
        let lse = log_sum[pair_at(m, theirs)];
        let shift = delta[pair_at(m, theirs)];
        var s: array<f32, 8>;
        var dp: array<f32, 8>;
        var q: Row;
        var dy: Row;
        for (var d = 0u; d < SIZE4; d++) {
            q[d] = load(m, theirs, 0u, d);
            dy[d] = load_dy(m, theirs, d);
            for (var i = 0u; i < 8u; i++) {
                s[i] = fma_dot(k[d], subgroupShuffle(q[d], i), s[i]);
                dp[i] = fma_dot(v[d], subgroupShuffle(dy[d], i), dp[i]);
            }
        }
        for (var i = 0u; i < 8u; i++) {
            let p = select(0.0, exp(s[i] - subgroupShuffle(lse, i)), first + i < params.tokens);
            dp[i] = p * (dp[i] - subgroupShuffle(shift, i)) * params.scale;
            s[i] = p;
        }
        for (var d = 0u; d < SIZE4; d++) {
            for (var i = 0u; i < 8u; i++) {
                dk[d] = fma(vec4(dp[i]), subgroupShuffle(q[d], i), dk[d]);
                dv[d] = fma(vec4(s[i]), subgroupShuffle(dy[d], i), dv[d]);
            }
        }
    }
    if stored(m, 0u) {
        for (var d = 0u; d < SIZE4; d++) {
            dqkv[at(m, token, 1u) + d] = dk[d];
            dqkv[at(m, token, 2u) + d] = dv[d];
        }
    }
}
