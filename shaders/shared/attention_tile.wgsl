// Multi-head attention over packed qkv with workgroup memory, no optional feature: softmax(Q Kᵀ scale) V, neither scores nor weights
// in memory. An invocation owns a query (a key in `backward_kv`); 64 of them share TILE rows of the two other operands.

// Rows shared at a time: 2 TILE QUARTERS vec4 are at most 16 KiB for every D.
const TILE: u32 = 8u;
#import attention_rows

alias Row = array<vec4<f32>, QUARTERS>;

struct Place { sample: u32, head: u32, token: u32, inside: bool }

// Invocations past the last token repeat it and store nothing.
fn place(group: vec3<u32>, local: u32) -> Place {
    let token = group.x * 64u + local;
    return Place(group.z, group.y, min(token, params.tokens - 1u), token < params.tokens);
}

@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let at = place(group, local);
    var query: Row;
    var sums: Row;
    for (var d = 0u; d < QUARTERS; d++) {
        query[d] = qkv[in_qkv(at, Q, at.token) + d] * params.scale;
    }
    var largest = -3.0e38;
    var total = 0.0;
    for (var first = 0u; first < params.tokens; first += TILE) {
        share_keys(at, first, local);
        workgroupBarrier();
        for (var row = 0u; row < min(TILE, params.tokens - first); row++) {
            var s = 0.0;
            for (var d = 0u; d < QUARTERS; d++) {
                s += dot(query[d], left[row * QUARTERS + d]);
            }
            let next = max(largest, s);
            let shrink = exp(largest - next);
            let p = exp(s - next);
            largest = next;
            total = total * shrink + p;
            for (var d = 0u; d < QUARTERS; d++) {
                sums[d] = sums[d] * shrink + p * right[row * QUARTERS + d];
            }
        }
        workgroupBarrier();
    }
    if at.inside {
        for (var d = 0u; d < QUARTERS; d++) {
            y[in_y(at, at.token) + d] = sums[d] / total;
        }
        saved[in_rows(at, at.token)] = largest + log(total);
    }
}

// dQ = dS K, dS = P * (dP - delta) * scale, dP = dY Vᵀ; and delta.
@compute @workgroup_size(64)
fn backward_q(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let at = place(group, local);
    var query: Row;
    var dout: Row;
    var dquery: Row;
    var mean = 0.0;
    for (var d = 0u; d < QUARTERS; d++) {
        query[d] = qkv[in_qkv(at, Q, at.token) + d] * params.scale;
        dout[d] = dy[in_y(at, at.token) + d];
        mean += dot(dout[d], out[in_y(at, at.token) + d]);
    }
    let lse = log_sum[in_rows(at, at.token)];
    for (var first = 0u; first < params.tokens; first += TILE) {
        share_keys(at, first, local);
        workgroupBarrier();
        for (var row = 0u; row < min(TILE, params.tokens - first); row++) {
            var s = 0.0;
            var dp = 0.0;
            for (var d = 0u; d < QUARTERS; d++) {
                s += dot(query[d], left[row * QUARTERS + d]);
                dp += dot(dout[d], right[row * QUARTERS + d]);
            }
            let ds = exp(s - lse) * (dp - mean) * params.scale;
            for (var d = 0u; d < QUARTERS; d++) {
                dquery[d] += ds * left[row * QUARTERS + d];
            }
        }
        workgroupBarrier();
    }
    if at.inside {
        for (var d = 0u; d < QUARTERS; d++) {
            dqkv[in_qkv(at, Q, at.token) + d] = dquery[d];
        }
        delta[in_rows(at, at.token)] = mean;
    }
}

// dV = Pᵀ dY, dK = dSᵀ Q: an invocation owns a key, the shared rows are queries.
@compute @workgroup_size(64)
fn backward_kv(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let at = place(group, local);
    var key: Row;
    var value: Row;
    var dkey: Row;
    var dvalue: Row;
    for (var d = 0u; d < QUARTERS; d++) {
        key[d] = qkv[in_qkv(at, K, at.token) + d] * params.scale;
        value[d] = qkv[in_qkv(at, V, at.token) + d];
    }
    for (var first = 0u; first < params.tokens; first += TILE) {
        share_queries(at, first, local);
        workgroupBarrier();
        for (var row = 0u; row < min(TILE, params.tokens - first); row++) {
            var s = 0.0;
            var dp = 0.0;
            for (var d = 0u; d < QUARTERS; d++) {
                s += dot(key[d], left[row * QUARTERS + d]);
                dp += dot(value[d], right[row * QUARTERS + d]);
            }
            let p = exp(s - row_lse[row]);
            let ds = p * (dp - row_delta[row]) * params.scale;
            for (var d = 0u; d < QUARTERS; d++) {
                dvalue[d] += p * right[row * QUARTERS + d];
                dkey[d] += ds * left[row * QUARTERS + d];
            }
        }
        workgroupBarrier();
    }
    if at.inside {
        for (var d = 0u; d < QUARTERS; d++) {
            dqkv[in_qkv(at, K, at.token) + d] = dkey[d];
            dqkv[in_qkv(at, V, at.token) + d] = dvalue[d];
        }
    }
}
