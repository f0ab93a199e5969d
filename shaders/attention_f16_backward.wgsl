// Backward of attention by cooperative matrices; see src/op/attention.rs and shared/attention_matrices.wgsl.
#shader attention_f16_backward_lanes64_16 quarters=4 side=16 lanes=64 waves=4 mi=1 mis=one nj=2 njs=two ds=one cells=four kept=turned far=coopLoad turns=pair
#shader attention_f16_backward_lanes64_32 quarters=8 side=16 lanes=64 waves=4 mi=1 mis=one nj=2 njs=two ds=two cells=four kept=turned far=coopLoad turns=pair
#shader attention_f16_backward_lanes64_64 quarters=16 side=16 lanes=64 waves=4 mi=1 mis=one nj=2 njs=two ds=four cells=four kept=turned far=coopLoad turns=pair
#shader attention_f16_backward_lanes64_80 quarters=20 side=16 lanes=64 waves=4 mi=1 mis=one nj=1 njs=one ds=five cells=four kept=near far=coopLoadT turns=none
#shader attention_f16_backward_lanes32_16 quarters=4 side=16 lanes=32 waves=4 mi=1 mis=one nj=2 njs=two ds=one cells=four kept=near far=coopLoadT turns=none
#shader attention_f16_backward_lanes32_32 quarters=8 side=16 lanes=32 waves=4 mi=1 mis=one nj=2 njs=two ds=two cells=four kept=near far=coopLoadT turns=none
#shader attention_f16_backward_lanes32_64 quarters=16 side=16 lanes=32 waves=4 mi=1 mis=one nj=2 njs=two ds=four cells=four kept=near far=coopLoadT turns=none
#shader attention_f16_backward_lanes32_80 quarters=20 side=16 lanes=32 waves=4 mi=1 mis=one nj=2 njs=two ds=five cells=four kept=near far=coopLoadT turns=none
#shader attention_f16_backward_lanes32_96 quarters=24 side=16 lanes=32 waves=4 mi=1 mis=one nj=2 njs=two ds=six cells=four kept=near far=coopLoadT turns=none
#shader attention_f16_backward_lanes32_128 quarters=32 side=16 lanes=32 waves=4 mi=1 mis=one nj=2 njs=two ds=eight cells=four kept=near far=coopLoadT turns=none
#shader attention_f16_backward_lanes32_side8_16 quarters=4 side=8 lanes=32 waves=4 mi=2 mis=two nj=4 njs=four ds=two cells=single kept=near far=coopLoadT turns=none
#shader attention_f16_backward_lanes32_side8_32 quarters=8 side=8 lanes=32 waves=4 mi=2 mis=two nj=4 njs=four ds=four cells=single kept=near far=coopLoadT turns=none
#shader attention_f16_backward_lanes32_side8_64 quarters=16 side=8 lanes=32 waves=4 mi=2 mis=two nj=4 njs=four ds=eight cells=single kept=near far=coopLoadT turns=none
#shader attention_f16_backward_lanes32_side8_80 quarters=20 side=8 lanes=32 waves=4 mi=2 mis=two nj=4 njs=four ds=ten cells=single kept=near far=coopLoadT turns=none
#shader attention_f16_backward_lanes32_side8_96 quarters=24 side=8 lanes=32 waves=4 mi=2 mis=two nj=4 njs=four ds=twelve cells=single kept=near far=coopLoadT turns=none
#shader attention_f16_backward_lanes32_side8_128 quarters=32 side=8 lanes=32 waves=4 mi=2 mis=two nj=2 njs=two ds=sixteen cells=single kept=near far=coopLoadT turns=none
#shader attention_f16_backward_lanes8_side8_16 quarters=4 side=8 lanes=8 waves=8 mi=1 mis=one nj=2 njs=two ds=two cells=single kept=near far=coopLoadT turns=none
#shader attention_f16_backward_lanes8_side8_64 quarters=16 side=8 lanes=8 waves=8 mi=1 mis=one nj=2 njs=two ds=eight cells=single kept=near far=coopLoadT turns=none
enable f16;
enable wgpu_cooperative_matrix;
#import attention_matrices
@group(0) @binding(5) var<storage, read> out: array<vec4<f32>>;              // (B, N, H, D) `y` of the forward
@group(0) @binding(6) var<storage, read> log_sum: array<f32>;                // (B, H, N) `saved` of the forward
@group(0) @binding(7) var<storage, read_write> dqkv: array<vec4<f32>>;       // (B, N, 3, H, D)
@group(0) @binding(8) var<storage, read_write> delta_out: array<vec2<f32>>;  // (B, H, N) exponent of dy; sum over D of scaled dy * out
@group(0) @binding(9) var<storage, read> delta: array<vec2<f32>>;            // (B, H, N) the same
@group(0) @binding(10) var<storage, read> dy_whole: array<vec4<f32>>;        // (B, N, H, D) dy
@group(0) @binding(11) var<storage, read_write> dy_out: array<vec4<f16>>;    // (B, N, H, D) `dy`, scaled

// Weights are exponentials times 2 to the power of this: at 1568 tokens of equal weight their gradients are then near 1, amid what f16 holds.
const LIFT: f32 = 6.0;
const LOWER: f32 = 1.0 / 64.0;

fn write(at: Place, third: u32, token: u32, quad: u32, x: vec4<f32>) {
    dqkv[in_qkv(at, third, token) + quad] = x;
}

// 2 to the power of a whole number, exactly.
fn power(exponent: f32) -> f32 {
    return bitcast<f32>(u32(i32(exponent) + 127) << 23u);
}

const DELTA_ROWS: u32 = 64u;
const SHARERS: u32 = 4u;
var<workgroup> shares: array<f32, DELTA_ROWS * SHARERS>;

// Scales each row of dy so that its largest number is in 1 to 2: rounded to f16 it is as exact as it can be, however small.
@compute @workgroup_size(DELTA_ROWS * SHARERS)
fn backward_delta(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let at = Place(group.z, group.y, 0u, local, 0u, 0u);
    let token = group.x * DELTA_ROWS + local / SHARERS;
    let start = in_y(at, token);
    let part = local / SHARERS * SHARERS;
    var most = 0.0;
    for (var d = local % SHARERS; d < QUARTERS; d += SHARERS) {
        let four = abs(dy_whole[start + d]);
        most = max(most, max(max(four.x, four.y), max(four.z, four.w)));
    }
    shares[local] = most;
    workgroupBarrier();
    most = max(max(shares[part], shares[part + 1u]), max(shares[part + 2u], shares[part + 3u]));
    workgroupBarrier();
    // The exponent of the number's own bits: log2 is not exact. A row of zeros gets the least.
    let exponent = clamp(f32(bitcast<u32>(most) >> 23u) - 127.0, -100.0, 100.0);
    let scale = power(-exponent);
    var sum = 0.0;
    for (var d = local % SHARERS; d < QUARTERS; d += SHARERS) {
        let four = dy_whole[start + d] * scale;
        sum += dot(four, out[start + d]);
        if token < params.tokens {
            dy_out[start + d] = vec4<f16>(four);
        }
    }
    shares[local] = sum;
    workgroupBarrier();
    if local % SHARERS == 0u && token < params.tokens {
        sum = (shares[part] + shares[part + 1u]) + (shares[part + 2u] + shares[part + 3u]);
        delta_out[in_rows(at, token)] = vec2(exponent, sum);
    }
}

// dQ = dS K, dS = P * (dP - delta) * scale, dP = dY Vᵀ.
@compute @workgroup_size(THREADS)
fn backward_q(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32, @builtin(subgroup_id) subgroup: u32, @builtin(subgroup_invocation_id) lane: u32) {
    let at = place(group, local, subgroup, lane);
    let factor = params.scale * LOG2_E;
    var query: Own;
    var dout: Own;
    own_qkv(at, Q, &query);
    own_dy(at, Q, &dout);
    var dquery: Sums;
    let row = in_rows(at, at.first + row_of(at));
    let shift = LIFT - log_sum[row] * LOG2_E;
    let mean = delta[row].y;
    let scale = params.scale * power(delta[row].x) * LOWER;
    var rows: Walk;
    walk(at, &rows);
    var ahead_a: Ahead;
    var ahead_b: Ahead;
    fetch_qkv(at, K, 0u, &rows, &ahead_a);
    fetch_qkv(at, V, 0u, &rows, &ahead_b);
    keep_near_a(at, &ahead_a);
    keep_near_b(at, &ahead_b);
#each turn $turns_a
    keep_turned_$turn(at, &ahead_$turn);
#end
    workgroupBarrier();
    for (var base = 0u; base < params.tokens; base += OTHERS) {
        fetch_qkv(at, K, base + OTHERS, &rows, &ahead_a);
        fetch_qkv(at, V, base + OTHERS, &rows, &ahead_b);
        multiply_a(at, &query);
        var s: Scores;
        take(at, &s);
        multiply_b(at, &dout);
        var dp: Scores;
        take(at, &dp);
        for (var u = 0u; u < MINE; u++) {
            let p = exp2(fma(s[u], vec4(factor), vec4(shift)));
            s[u] = select(vec4<f32>(), p * (dp[u] - mean), inside(at, base, u));
        }
        give(at, &s);
        add_a(at, &dquery);
        workgroupBarrier();
        keep_near_a(at, &ahead_a);
        keep_near_b(at, &ahead_b);
#each turn $turns_a
        keep_turned_$turn(at, &ahead_$turn);
#end
        workgroupBarrier();
    }
    put_sums(at, Q, &dquery, scale);
}

// Of each row of the other side, what goes into its exponents, and delta.
var<workgroup> shifts: array<f32, OTHERS>;
var<workgroup> means: array<f32, OTHERS>;
var<workgroup> exponents: array<f32, WAVES>;

// The largest exponent of the head's rows of dy.
fn head_exponent(at: Place) -> f32 {
    var most = -100.0;
    for (var token = at.local; token < params.tokens; token += THREADS) {
        most = max(most, delta[in_rows(at, token)].x);
    }
    exponents[at.subgroup] = subgroupMax(most);
    workgroupBarrier();
    for (var wave = 0u; wave < WAVES; wave++) {
        most = max(most, exponents[wave]);
    }
    return most;
}

// `shifts` and `means` of an invocation's row.
fn fetch_row(at: Place, base: u32, head: f32) -> vec2<f32> {
    let token = base + at.local % OTHERS;
    let row = in_rows(at, token);
    let shift = LIFT - log_sum[row] * LOG2_E + delta[row].x - head;
    return vec2(select(NEVER, shift, token < params.tokens), delta[row].y);
}

fn keep_row(at: Place, row: vec2<f32>) {
    if at.local < OTHERS {
        shifts[at.local] = row.x;
        means[at.local] = row.y;
    }
}

fn four_shifts(at: Place, mine: u32) -> vec4<f32> {
    let i = 4u * quad_of(at, mine);
    return vec4(shifts[i], shifts[i + 1u], shifts[i + 2u], shifts[i + 3u]);
}

fn four_means(at: Place, mine: u32) -> vec4<f32> {
    let i = 4u * quad_of(at, mine);
    return vec4(means[i], means[i + 1u], means[i + 2u], means[i + 3u]);
}

// dV = Pᵀ dY, dK = dSᵀ Q: own rows are keys, and P and dY of each query are scaled by what makes its dY again of the head's.
@compute @workgroup_size(THREADS)
fn backward_kv(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32, @builtin(subgroup_id) subgroup: u32, @builtin(subgroup_invocation_id) lane: u32) {
    let at = place(group, local, subgroup, lane);
    let factor = params.scale * LOG2_E;
    let head = head_exponent(at);
    var key: Own;
    var value: Own;
    own_qkv(at, K, &key);
    own_qkv(at, V, &value);
    var dkey: Sums;
    var dvalue: Sums;
    var rows: Walk;
    walk(at, &rows);
    var ahead_a: Ahead;
    var ahead_b: Ahead;
    fetch_qkv(at, Q, 0u, &rows, &ahead_a);
    fetch_dy(at, Q, 0u, &rows, &ahead_b);
    keep_near_a(at, &ahead_a);
    keep_near_b(at, &ahead_b);
#each turn $turns
    keep_turned_$turn(at, &ahead_$turn);
#end
    keep_row(at, fetch_row(at, 0u, head));
    workgroupBarrier();
    for (var base = 0u; base < params.tokens; base += OTHERS) {
        multiply_a(at, &key);
        var s: Scores;
        take(at, &s);
        for (var u = 0u; u < MINE; u++) {
            s[u] = exp2(fma(s[u], vec4(factor), four_shifts(at, u)));
        }
        give(at, &s);
        add_b(at, &dvalue);
        multiply_b(at, &value);
        var dp: Scores;
        take(at, &dp);
        fetch_qkv(at, Q, base + OTHERS, &rows, &ahead_a);
        fetch_dy(at, Q, base + OTHERS, &rows, &ahead_b);
        let row = fetch_row(at, base + OTHERS, head);
        for (var u = 0u; u < MINE; u++) {
            s[u] *= dp[u] - four_means(at, u);
        }
        give(at, &s);
        add_a(at, &dkey);
        workgroupBarrier();
        keep_near_a(at, &ahead_a);
        keep_near_b(at, &ahead_b);
#each turn $turns
        keep_turned_$turn(at, &ahead_$turn);
#end
        keep_row(at, row);
        workgroupBarrier();
    }
    put_sums(at, V, &dvalue, LOWER * power(head));
    put_sums(at, K, &dkey, params.scale * LOWER * power(head));
}
