// Multi-head attention over packed qkv (B, N, 3, H, D), online softmax; see src/op/attention.rs.
#import index

struct Params { samples: u32, tokens: u32, heads: u32, size: u32, scale: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> qkv: array<f32>;           // (B, N, 3, H, D)
@group(0) @binding(2) var<storage, read_write> y: array<f32>;       // (B, N, H, D)
@group(0) @binding(3) var<storage, read_write> saved: array<f32>;   // (B, H, N) log of the sum of exponentials
@group(0) @binding(4) var<storage, read> dy: array<f32>;            // (B, N, H, D)
@group(0) @binding(5) var<storage, read> out: array<f32>;           // (B, N, H, D) `y` of the forward
@group(0) @binding(6) var<storage, read> log_sum: array<f32>;       // (B, H, N) `saved` of the forward
@group(0) @binding(7) var<storage, read_write> dqkv: array<f32>;    // (B, N, 3, H, D)

// Head sizes up to this are supported.
const MOST: u32 = 128u;

struct Query { inside: bool, sample: u32, head: u32, token: u32 }

// One invocation a (sample, head, token).
fn query_of(group: vec3<u32>, groups: vec3<u32>, local: u32) -> Query {
    let i = linear_group(group, groups) * 64u + local;
    let per_sample = params.heads * params.tokens;
    return Query(i < params.samples * per_sample, i / per_sample, i / params.tokens % params.heads, i % params.tokens);
}

fn at(q: Query, token: u32, part: u32) -> u32 {
    return (((q.sample * params.tokens + token) * 3u + part) * params.heads + q.head) * params.size;
}

fn out_at(q: Query, token: u32) -> u32 {
    return ((q.sample * params.tokens + token) * params.heads + q.head) * params.size;
}

@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let q = query_of(group, groups, local);
    if !q.inside {
        return;
    }
    var sums: array<f32, MOST>;
    var largest = -3.0e38;
    var total = 0.0;
    let mine = at(q, q.token, 0u);
    for (var j = 0u; j < params.tokens; j++) {
        let key = at(q, j, 1u);
        var s = 0.0;
        for (var d = 0u; d < params.size; d++) {
            s = fma(qkv[mine + d], qkv[key + d], s);
        }
        s *= params.scale;
        let next = max(largest, s);
        let shrink = exp(largest - next);
        let p = exp(s - next);
        let value = at(q, j, 2u);
        for (var d = 0u; d < params.size; d++) {
            sums[d] = fma(p, qkv[value + d], sums[d] * shrink);
        }
        total = fma(total, shrink, p);
        largest = next;
    }
    let to = out_at(q, q.token);
    for (var d = 0u; d < params.size; d++) {
        y[to + d] = sums[d] / total;
    }
    saved[(q.sample * params.heads + q.head) * params.tokens + q.token] = largest + log(total);
}

fn dot_out(q: Query, token: u32) -> f32 {
    let o = out_at(q, token);
    var sum = 0.0;
    for (var d = 0u; d < params.size; d++) {
        sum = fma(dy[o + d], out[o + d], sum);
    }
    return sum;
}

// One row of dq, dk and dv: the token as a query over all keys, then as a key over all queries.
@compute @workgroup_size(64)
fn backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let q = query_of(group, groups, local);
    if !q.inside {
        return;
    }
    var first: array<f32, MOST>;
    var second: array<f32, MOST>;
    let lse = (q.sample * params.heads + q.head) * params.tokens;
    let mine = at(q, q.token, 0u);
    let delta = dot_out(q, q.token);
    for (var j = 0u; j < params.tokens; j++) {
        let key = at(q, j, 1u);
        let value = at(q, j, 2u);
        let o = out_at(q, q.token);
        var s = 0.0;
        var dp = 0.0;
        for (var d = 0u; d < params.size; d++) {
            s = fma(qkv[mine + d], qkv[key + d], s);
            dp = fma(dy[o + d], qkv[value + d], dp);
        }
        let ds = exp(s * params.scale - log_sum[lse + q.token]) * (dp - delta) * params.scale;
        for (var d = 0u; d < params.size; d++) {
            first[d] = fma(ds, qkv[key + d], first[d]);
        }
    }
    for (var d = 0u; d < params.size; d++) {
        dqkv[mine + d] = first[d];
        first[d] = 0.0;
    }
    let key = at(q, q.token, 1u);
    let value = at(q, q.token, 2u);
    for (var i = 0u; i < params.tokens; i++) {
        let query = at(q, i, 0u);
        let o = out_at(q, i);
        var s = 0.0;
        var dp = 0.0;
        for (var d = 0u; d < params.size; d++) {
            s = fma(qkv[query + d], qkv[key + d], s);
            dp = fma(dy[o + d], qkv[value + d], dp);
        }
        let p = exp(s * params.scale - log_sum[lse + i]);
        let ds = p * (dp - dot_out(q, i)) * params.scale;
        for (var d = 0u; d < params.size; d++) {
            first[d] = fma(ds, qkv[query + d], first[d]);
            second[d] = fma(p, dy[o + d], second[d]);
        }
    }
    for (var d = 0u; d < params.size; d++) {
        dqkv[key + d] = first[d];
        dqkv[value + d] = second[d];
    }
}
