// Forward of attention by tiles of queries and keys; see src/op/attention.rs.
#shader attention_tile_16 quarters=4 lanes=64 own=2 other=2 width=4
#shader attention_tile_32 quarters=8 lanes=64 own=2 other=2 width=4
#shader attention_tile_64 quarters=16 lanes=64 own=2 other=2 width=4
#shader attention_tile_80 quarters=20 lanes=64 own=2 other=2 width=4
#shader attention_tile_96 quarters=24 lanes=64 own=2 other=2 width=4
#shader attention_tile_128 quarters=32 lanes=128 own=2 other=1 width=4
#import attention_tile

// The sum over lanes that share own rows, of what is in `rows`.
fn total_of(slot: u32) -> vec4<f32> {
    var sum = vec4<f32>();
    for (var x = 0u; x < XS; x++) {
        sum += rows[x * SLOTS + slot];
    }
    return sum;
}

@compute @workgroup_size(LANES)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let at = place(group, local);
    var sums: Sums;
    var total: Own;
    // Of the slot of this index, in the first lanes.
    var largest = vec4(NEVER);
    for (var base = 0u; base < params.tokens; base += SIDE) {
        var s: Tile;
        scores(at, Q, K, base, &s);
        for (var o = 0u; o < OWN; o++) {
            var most = vec4(NEVER);
            for (var c = 0u; c < MINE; c++) {
                s[c * OWN + o] = select(vec4(NEVER), s[c * OWN + o] * params.scale, base + at.x + XS * c < params.tokens);
                most = max(most, s[c * OWN + o]);
            }
            rows[at.x * SLOTS + at.y + YS * o] = most;
        }
        workgroupBarrier();
        if local < SLOTS {
            var next = largest;
            for (var x = 0u; x < XS; x++) {
                next = max(next, rows[x * SLOTS + local]);
            }
            columns[local] = next;
            columns[SLOTS + local] = exp(largest - next);
            largest = next;
        }
        workgroupBarrier();
        for (var o = 0u; o < OWN; o++) {
            let next = columns[at.y + YS * o];
            var sum = total[o] * columns[SLOTS + at.y + YS * o];
            for (var c = 0u; c < MINE; c++) {
                s[c * OWN + o] = exp(s[c * OWN + o] - next);
                sum += s[c * OWN + o];
            }
            total[o] = sum;
        }
        let shrink = columns[SLOTS + at.slot];
        for (var p = 0u; p < SHARE; p++) {
            sums[4u * p] *= shrink.x;
            sums[4u * p + 1u] *= shrink.y;
            sums[4u * p + 2u] *= shrink.z;
            sums[4u * p + 3u] *= shrink.w;
        }
        add_rows_qkv(at, V, base, &s, &sums);
    }
    for (var o = 0u; o < OWN; o++) {
        rows[at.x * SLOTS + at.y + YS * o] = total[o];
    }
    workgroupBarrier();
    let all = total_of(at.slot);
    for (var i = 0u; i < 4u; i++) {
        let token = at.first + 4u * at.slot + i;
        if token < params.tokens {
            for (var p = 0u; p < SHARE; p++) {
                y[in_y(at, token) * (4u / WIDTH) + at.column + ACROSS * p] = sums[4u * p + i] / all[i];
            }
        }
    }
    if local < SLOTS {
        let logs = largest + log(total_of(local));
        for (var i = 0u; i < 4u; i++) {
            let token = at.first + 4u * local + i;
            if token < params.tokens {
                saved[in_rows(at, token)] = logs[i];
            }
        }
    }
}
