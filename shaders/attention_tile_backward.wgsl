// Backward of attention by tiles of queries and keys; see src/op/attention.rs.
#shader attention_tile_backward_16 quarters=4 lanes=128 own=2 other=1 width=2
#shader attention_tile_backward_32 quarters=8 lanes=128 own=2 other=1 width=4
#shader attention_tile_backward_64 quarters=16 lanes=128 own=2 other=1 width=4
#shader attention_tile_backward_80 quarters=20 lanes=128 own=2 other=1 width=2
#shader attention_tile_backward_96 quarters=24 lanes=128 own=2 other=1 width=4
#shader attention_tile_backward_128 quarters=32 lanes=256 own=1 other=1 width=4
#import attention_tile
#import attention_delta

// Products of dy and values: the other kind of score; own rows are of dy.
fn dy_values(at: Place, base: u32, tile: ptr<function, Tile>) {
    let behind = other_rows(at, base);
    for (var slab = 0u; slab < QUARTERS / 4u; slab++) {
        stage_own_dy(at, Q, slab);
        stage_other_qkv(at, V, behind, slab);
        workgroupBarrier();
        add_products(at, tile);
        workgroupBarrier();
    }
}

// The same; own rows are values.
fn values_dy(at: Place, base: u32, tile: ptr<function, Tile>) {
    let behind = other_rows(at, base);
    for (var slab = 0u; slab < QUARTERS / 4u; slab++) {
        stage_own_qkv(at, V, slab);
        stage_other_dy(at, Q, behind, slab);
        workgroupBarrier();
        add_products(at, tile);
        workgroupBarrier();
    }
}

// Writes sums to a third of dqkv.
fn put_sums(at: Place, third: u32, sums: ptr<function, Sums>) {
    for (var i = 0u; i < 4u; i++) {
        let token = at.first + 4u * at.slot + i;
        if token < params.tokens {
            for (var p = 0u; p < SHARE; p++) {
                dqkv[in_qkv(at, third, token) * (4u / WIDTH) + at.column + ACROSS * p] = (*sums)[4u * p + i];
            }
        }
    }
}

// dQ = dS K, dS = P * (dP - delta) * scale, dP = dY Vᵀ.
@compute @workgroup_size(LANES)
fn backward_q(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let at = place(group, local);
    var dquery: Sums;
    var lse: Own;
    var mean: Own;
    for (var o = 0u; o < OWN; o++) {
        for (var i = 0u; i < 4u; i++) {
            let row = in_rows(at, at.first + 4u * (at.y + YS * o) + i);
            lse[o][i] = log_sum[row];
            mean[o][i] = delta[row];
        }
    }
    for (var base = 0u; base < params.tokens; base += SIDE) {
        var s: Tile;
        var dp: Tile;
        scores(at, Q, K, base, &s);
        dy_values(at, base, &dp);
        for (var c = 0u; c < MINE; c++) {
            let inside = base + at.x + XS * c < params.tokens;
            for (var o = 0u; o < OWN; o++) {
                let p = select(vec4<f32>(), exp(s[c * OWN + o] * params.scale - lse[o]), inside);
                s[c * OWN + o] = p * (dp[c * OWN + o] - mean[o]) * params.scale;
            }
        }
        add_rows_qkv(at, K, base, &s, &dquery);
    }
    put_sums(at, Q, &dquery);
}

// dV = Pᵀ dY, dK = dSᵀ Q: own rows are keys.
@compute @workgroup_size(LANES)
fn backward_kv(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let at = place(group, local);
    var dkey: Sums;
    var dvalue: Sums;
    for (var base = 0u; base < params.tokens; base += SIDE) {
        var s: Tile;
        scores(at, K, Q, base, &s);
        for (var c = 0u; c < MINE; c++) {
            let query = base + at.x + XS * c;
            let lse = log_sum[in_rows(at, query)];
            for (var o = 0u; o < OWN; o++) {
                s[c * OWN + o] = select(vec4<f32>(), exp(s[c * OWN + o] * params.scale - lse), query < params.tokens);
            }
        }
        add_rows_dy(at, Q, base, &s, &dvalue);
        var dp: Tile;
        values_dy(at, base, &dp);
        for (var c = 0u; c < MINE; c++) {
            let mean = delta[in_rows(at, base + at.x + XS * c)];
            for (var o = 0u; o < OWN; o++) {
                s[c * OWN + o] *= (dp[c * OWN + o] - mean) * params.scale;
            }
        }
        add_rows_qkv(at, Q, base, &s, &dkey);
    }
    put_sums(at, K, &dkey);
    put_sums(at, V, &dvalue);
}
