// Forward of attention, a query a lane; see src/op/attention.rs.
#shader attention_uniform_16 quarters=4 split=1 step=8 width=4
#shader attention_uniform_32 quarters=8 split=1 step=8 width=4
#shader attention_uniform_64 quarters=16 split=1 step=8 width=4
#shader attention_uniform_80 quarters=20 split=2 step=8 width=4
#shader attention_uniform_96 quarters=24 split=2 step=8 width=4
#shader attention_uniform_128 quarters=32 split=2 step=8 width=4
// Kinds of scores that lanes exchange.
const KINDS: u32 = 1u;
#import attention_uniform

@compute @workgroup_size(64 * $split)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let at = place(group, local);
    var query: Row;
    var sums: Row;
    for (var d = 0u; d < PART; d++) {
        query[d] = qkv[in_qkv(at, Q, at.token) + at.part * PART + d] * params.scale;
    }
    var largest = NEVER;
    var total = 0.0;
    for (var first = 0u; first < params.tokens; first += STEP) {
        var s: Scores;
        dots_qkv(at, &query, K, first, &s);
        if SPLIT > 1u {
            let turn = first / STEP % 2u;
            offer(at, turn, &s);
            workgroupBarrier();
            collect(at, turn, &s);
        }
        var next = largest;
        for (var r = 0u; r < STEP; r++) {
            s[r] = select(NEVER, s[r], first + r < params.tokens);
            next = max(next, s[r]);
        }
        let shrink = exp(largest - next);
        largest = next;
        total *= shrink;
        for (var r = 0u; r < STEP; r++) {
            s[r] = exp(s[r] - next);
            total += s[r];
        }
        for (var d = 0u; d < PART; d++) {
            sums[d] *= shrink;
        }
        add_qkv(at, &sums, V, first, &s);
    }
    if at.token < params.tokens {
        for (var d = 0u; d < PART; d++) {
            y[in_y(at, at.token) + at.part * PART + d] = sums[d] / total;
        }
        if at.part == 0u {
            saved[in_rows(at, at.token)] = largest + log(total);
        }
    }
}
