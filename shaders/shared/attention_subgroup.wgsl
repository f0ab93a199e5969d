// Attention for subgroups of 8 lanes, head size 4 SIZE4: a workgroup is one subgroup and takes 8 tokens of one head, a
// lane each; the other side's rows are read once, a lane each, and spread by shuffles. See src/op/attention.rs.
//
// Loops over an array run exactly its length: Mesa then unrolls them and keeps the array in registers.
#import index

struct Params { samples: u32, tokens: u32, heads: u32, scale: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> qkv: array<vec4<f32>>;        // (B, N, 3, H, D)
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;    // (B, N, H, D)
@group(0) @binding(3) var<storage, read_write> saved: array<f32>;      // (B, H, N) log of the sum of exponentials
@group(0) @binding(4) var<storage, read> dy: array<vec4<f32>>;         // (B, N, H, D)
@group(0) @binding(5) var<storage, read> out: array<vec4<f32>>;        // (B, N, H, D) `y` of the forward
@group(0) @binding(6) var<storage, read> log_sum: array<f32>;          // (B, H, N) `saved` of the forward
@group(0) @binding(7) var<storage, read_write> delta_out: array<f32>;  // (B, H, N) sum over D of dy * y
@group(0) @binding(8) var<storage, read> delta: array<f32>;            // (B, H, N) the same
@group(0) @binding(9) var<storage, read_write> dqkv: array<vec4<f32>>; // (B, N, 3, H, D)

alias Row = array<vec4<f32>, SIZE4>;
alias Scores = array<f32, 8>;
const SUBGROUP: u32 = 8u;
const NEVER: f32 = -3.0e38;

struct Mine { inside: bool, sample: u32, head: u32, token: u32, lane: u32 }

fn mine_of(group: vec3<u32>, groups: vec3<u32>, lane: u32) -> Mine {
    let index = linear_group(group, groups);
    let tiles = (params.tokens + 7u) / 8u;
    let pair = index / tiles;
    let token = index % tiles * 8u + lane;
    // Tokens past the edge repeat the last one; they are not stored.
    return Mine(token < params.tokens && pair < params.samples * params.heads, min(pair / params.heads, params.samples - 1u),
        pair % params.heads, min(token, params.tokens - 1u), lane);
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
    let m = mine_of(group, groups, lane);
    let q = at(m, m.token, 0u);
    var sums: Row;
    var largest = NEVER;
    var total = 0.0;
    for (var first = 0u; first < params.tokens; first += 8u) {
        let theirs = min(first + lane, params.tokens - 1u);
        let k = at(m, theirs, 1u);
        var s: Scores;
        for (var d = 0u; d < SIZE4; d++) {
            let a = qkv[q + d];
            let b = qkv[k + d];
            for (var i = 0u; i < 8u; i++) {
                s[i] += dot(a, subgroupShuffle(b, i));
            }
        }
        var next = largest;
        for (var i = 0u; i < 8u; i++) {
            s[i] = select(NEVER, s[i] * params.scale, first + i < params.tokens);
            next = max(next, s[i]);
        }
        let shrink = exp(largest - next);
        largest = next;
        total *= shrink;
        for (var i = 0u; i < 8u; i++) {
            s[i] = exp(s[i] - next);
            total += s[i];
        }
        let v = at(m, theirs, 2u);
        for (var d = 0u; d < SIZE4; d++) {
            let b = qkv[v + d];
            sums[d] *= shrink;
            for (var i = 0u; i < 8u; i++) {
                sums[d] += s[i] * subgroupShuffle(b, i);
            }
        }
    }
    if !m.inside {
        return;
    }
    let to = out_at(m, m.token);
    for (var d = 0u; d < SIZE4; d++) {
        y[to + d] = sums[d] / total;
    }
    saved[pair_at(m, m.token)] = largest + log(total);
}

@compute @workgroup_size(SUBGROUP)
fn backward_delta(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let m = mine_of(group, groups, lane);
    let o = out_at(m, m.token);
    var sum = 0.0;
    for (var d = 0u; d < SIZE4; d++) {
        sum += dot(dy[o + d], out[o + d]);
    }
    if m.inside {
        delta_out[pair_at(m, m.token)] = sum;
    }
}

// A lane is a query: dq = sum over keys of ds k.
@compute @workgroup_size(SUBGROUP)
fn backward_q(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let m = mine_of(group, groups, lane);
    let q = at(m, m.token, 0u);
    let o = out_at(m, m.token);
    let lse = log_sum[pair_at(m, m.token)];
    let shift = delta[pair_at(m, m.token)];
    var sums: Row;
    for (var first = 0u; first < params.tokens; first += 8u) {
        let theirs = min(first + lane, params.tokens - 1u);
        let k = at(m, theirs, 1u);
        let v = at(m, theirs, 2u);
        var s: Scores;
        var dp: Scores;
        for (var d = 0u; d < SIZE4; d++) {
            let a = qkv[q + d];
            let b = qkv[k + d];
            let da = dy[o + d];
            let c = qkv[v + d];
            for (var i = 0u; i < 8u; i++) {
                s[i] += dot(a, subgroupShuffle(b, i));
                dp[i] += dot(da, subgroupShuffle(c, i));
            }
        }
        for (var i = 0u; i < 8u; i++) {
            let p = select(0.0, exp(s[i] * params.scale - lse), first + i < params.tokens);
            s[i] = p * (dp[i] - shift) * params.scale;
        }
        for (var d = 0u; d < SIZE4; d++) {
            let b = qkv[k + d];
            for (var i = 0u; i < 8u; i++) {
                sums[d] += s[i] * subgroupShuffle(b, i);
            }
        }
    }
    if m.inside {
        for (var d = 0u; d < SIZE4; d++) {
            dqkv[q + d] = sums[d];
        }
    }
}

// A lane is a key: dk = sum over queries of ds q, dv = sum over queries of p dy.
@compute @workgroup_size(SUBGROUP)
fn backward_kv(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let m = mine_of(group, groups, lane);
    let k = at(m, m.token, 1u);
    let v = at(m, m.token, 2u);
    var dk: Row;
    var dv: Row;
    for (var first = 0u; first < params.tokens; first += 8u) {
        let theirs = min(first + lane, params.tokens - 1u);
        let q = at(m, theirs, 0u);
        let o = out_at(m, theirs);
        let lse = log_sum[pair_at(m, theirs)];
        let shift = delta[pair_at(m, theirs)];
        var s: Scores;
        var dp: Scores;
        for (var d = 0u; d < SIZE4; d++) {
            let a = qkv[q + d];
            let b = qkv[k + d];
            let da = dy[o + d];
            let c = qkv[v + d];
            for (var i = 0u; i < 8u; i++) {
                s[i] += dot(b, subgroupShuffle(a, i));
                dp[i] += dot(c, subgroupShuffle(da, i));
            }
        }
        for (var i = 0u; i < 8u; i++) {
            let p = select(0.0, exp(s[i] * params.scale - subgroupShuffle(lse, i)), first + i < params.tokens);
            dp[i] = p * (dp[i] - subgroupShuffle(shift, i)) * params.scale;
            s[i] = p;
        }
        for (var d = 0u; d < SIZE4; d++) {
            let a = qkv[q + d];
            let da = dy[o + d];
            for (var i = 0u; i < 8u; i++) {
                dk[d] += dp[i] * subgroupShuffle(a, i);
                dv[d] += s[i] * subgroupShuffle(da, i);
            }
        }
    }
    if m.inside {
        for (var d = 0u; d < SIZE4; d++) {
            dqkv[k + d] = dk[d];
            dqkv[v + d] = dv[d];
        }
    }
}
