// Backward of attention, a query or a key a lane; see src/op/attention.rs.
#shader attention_uniform_backward_16 quarters=4 split=1 step=2 width=4
#shader attention_uniform_backward_32 quarters=8 split=2 step=4 width=4
#shader attention_uniform_backward_64 quarters=16 split=2 step=4 width=4
#shader attention_uniform_backward_80 quarters=20 split=2 step=4 width=4
#shader attention_uniform_backward_96 quarters=24 split=2 step=4 width=4
#shader attention_uniform_backward_128 quarters=32 split=4 step=2 width=4
// Kinds of scores that lanes exchange.
const KINDS: u32 = 2u;
#import attention_uniform
#import attention_delta

// s and dp of STEP rows, completed.
fn exchange(at: Place, first: u32, s: ptr<function, Scores>, dp: ptr<function, Scores>) {
    if SPLIT > 1u {
        let turn = first / STEP % 2u * 2u;
        offer(at, turn, s);
        offer(at, turn + 1u, dp);
        workgroupBarrier();
        collect(at, turn, s);
        collect(at, turn + 1u, dp);
    }
}

// dQ = dS K, dS = P * (dP - delta) * scale, dP = dY Vᵀ.
@compute @workgroup_size(64 * $split)
fn backward_q(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let at = place(group, local);
    var query: Row;
    var dout: Row;
    var dquery: Row;
    for (var d = 0u; d < PART; d++) {
        query[d] = qkv[in_qkv(at, Q, at.token) + at.part * PART + d] * params.scale;
        dout[d] = dy[in_y(at, at.token) + at.part * PART + d];
    }
    let lse = log_sum[in_rows(at, at.token)];
    let mean = delta[in_rows(at, at.token)];
    for (var first = 0u; first < params.tokens; first += STEP) {
        var s: Scores;
        var dp: Scores;
        dots_qkv(at, &query, K, first, &s);
        dots_qkv(at, &dout, V, first, &dp);
        exchange(at, first, &s, &dp);
        for (var r = 0u; r < STEP; r++) {
            let p = select(0.0, exp(s[r] - lse), first + r < params.tokens);
            s[r] = p * (dp[r] - mean) * params.scale;
        }
        add_qkv(at, &dquery, K, first, &s);
    }
    if at.token < params.tokens {
        for (var d = 0u; d < PART; d++) {
            dqkv[in_qkv(at, Q, at.token) + at.part * PART + d] = dquery[d];
        }
    }
}

// dV = Pᵀ dY, dK = dSᵀ Q.
@compute @workgroup_size(64 * $split)
fn backward_kv(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let at = place(group, local);
    var key: Row;
    var value: Row;
    var dkey: Row;
    var dvalue: Row;
    for (var d = 0u; d < PART; d++) {
        key[d] = qkv[in_qkv(at, K, at.token) + at.part * PART + d] * params.scale;
        value[d] = qkv[in_qkv(at, V, at.token) + at.part * PART + d];
    }
    for (var first = 0u; first < params.tokens; first += STEP) {
        var s: Scores;
        var dp: Scores;
        dots_qkv(at, &key, Q, first, &s);
        dots_dy(at, &value, Q, first, &dp);
        exchange(at, first, &s, &dp);
        for (var r = 0u; r < STEP; r++) {
            let row = in_rows(at, first + r);
            s[r] = select(0.0, exp(s[r] - log_sum[row]), first + r < params.tokens);
            dp[r] = s[r] * (dp[r] - delta[row]) * params.scale;
        }
        add_dy(at, &dvalue, Q, first, &s);
        add_qkv(at, &dkey, Q, first, &dp);
    }
    if at.token < params.tokens {
        for (var d = 0u; d < PART; d++) {
            dqkv[in_qkv(at, K, at.token) + at.part * PART + d] = dkey[d];
            dqkv[in_qkv(at, V, at.token) + at.part * PART + d] = dvalue[d];
        }
    }
}
