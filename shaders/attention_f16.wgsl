// Forward of attention by cooperative matrices; see src/op/attention.rs and shared/attention_matrices.wgsl.
#shader attention_f16_lanes64_16 quarters=4 side=16 lanes=64 waves=4 mi=1 mis=one nj=2 njs=two ds=one cells=four kept=turned far=coopLoad turns=pair
#shader attention_f16_lanes64_32 quarters=8 side=16 lanes=64 waves=4 mi=1 mis=one nj=2 njs=two ds=two cells=four kept=turned far=coopLoad turns=pair
#shader attention_f16_lanes64_64 quarters=16 side=16 lanes=64 waves=4 mi=1 mis=one nj=2 njs=two ds=four cells=four kept=turned far=coopLoad turns=pair
#shader attention_f16_lanes64_80 quarters=20 side=16 lanes=64 waves=4 mi=1 mis=one nj=2 njs=two ds=five cells=four kept=turned far=coopLoad turns=pair
#shader attention_f16_lanes64_96 quarters=24 side=16 lanes=64 waves=4 mi=1 mis=one nj=2 njs=two ds=six cells=four kept=turned far=coopLoad turns=pair
#shader attention_f16_lanes64_128 quarters=32 side=16 lanes=64 waves=4 mi=1 mis=one nj=1 njs=one ds=eight cells=four kept=turned far=coopLoad turns=pair
#shader attention_f16_lanes32_16 quarters=4 side=16 lanes=32 waves=4 mi=1 mis=one nj=2 njs=two ds=one cells=four kept=near far=coopLoadT turns=none
#shader attention_f16_lanes32_32 quarters=8 side=16 lanes=32 waves=4 mi=1 mis=one nj=2 njs=two ds=two cells=four kept=near far=coopLoadT turns=none
#shader attention_f16_lanes32_64 quarters=16 side=16 lanes=32 waves=4 mi=1 mis=one nj=2 njs=two ds=four cells=four kept=near far=coopLoadT turns=none
#shader attention_f16_lanes32_80 quarters=20 side=16 lanes=32 waves=4 mi=1 mis=one nj=2 njs=two ds=five cells=four kept=near far=coopLoadT turns=none
#shader attention_f16_lanes32_96 quarters=24 side=16 lanes=32 waves=4 mi=1 mis=one nj=2 njs=two ds=six cells=four kept=near far=coopLoadT turns=none
#shader attention_f16_lanes32_128 quarters=32 side=16 lanes=32 waves=4 mi=1 mis=one nj=2 njs=two ds=eight cells=four kept=near far=coopLoadT turns=none
#shader attention_f16_lanes32_side8_16 quarters=4 side=8 lanes=32 waves=4 mi=2 mis=two nj=4 njs=four ds=two cells=single kept=near far=coopLoadT turns=none
#shader attention_f16_lanes32_side8_32 quarters=8 side=8 lanes=32 waves=4 mi=2 mis=two nj=4 njs=four ds=four cells=single kept=near far=coopLoadT turns=none
#shader attention_f16_lanes32_side8_64 quarters=16 side=8 lanes=32 waves=4 mi=2 mis=two nj=4 njs=four ds=eight cells=single kept=near far=coopLoadT turns=none
#shader attention_f16_lanes32_side8_80 quarters=20 side=8 lanes=32 waves=4 mi=2 mis=two nj=4 njs=four ds=ten cells=single kept=near far=coopLoadT turns=none
#shader attention_f16_lanes32_side8_96 quarters=24 side=8 lanes=32 waves=4 mi=2 mis=two nj=4 njs=four ds=twelve cells=single kept=near far=coopLoadT turns=none
#shader attention_f16_lanes32_side8_128 quarters=32 side=8 lanes=32 waves=4 mi=2 mis=two nj=2 njs=two ds=sixteen cells=single kept=near far=coopLoadT turns=none
#shader attention_f16_lanes8_side8_16 quarters=4 side=8 lanes=8 waves=8 mi=1 mis=one nj=2 njs=two ds=two cells=single kept=near far=coopLoadT turns=none
#shader attention_f16_lanes8_side8_64 quarters=16 side=8 lanes=8 waves=8 mi=1 mis=one nj=2 njs=two ds=eight cells=single kept=near far=coopLoadT turns=none
enable f16;
enable wgpu_cooperative_matrix;
#import attention_matrices
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>; // (B, N, H, D)
@group(0) @binding(4) var<storage, read_write> saved: array<f32>;   // (B, H, N) log of the sum of exponentials

// Weights are exponentials of a score less `largest` of its row, the largest score seen when sums were scaled last. Only where a score
// is above it by more than this, as a power of two, are sums scaled again: f16 holds weights up to 65504.
const SLACK: f32 = 8.0;
// Subgroups that have such a score. All scale then: lavapipe waits for all at a barrier of a subgroup.
var<workgroup> grown: array<u32, WAVES>;

fn write(at: Place, third: u32, token: u32, quad: u32, x: vec4<f32>) {
    y[in_y(at, token) + quad] = x;
}

// The largest of the lanes that share a row.
fn row_max(x: f32) -> f32 {
    var most = x;
    if PER_ROW > 1u {
        most = max(most, subgroupShuffleXor(most, 1u));
    }
    if PER_ROW > 2u {
        most = max(most, subgroupShuffleXor(most, 2u));
    }
    return most;
}

fn row_sum(x: f32) -> f32 {
    var sum = x;
    if PER_ROW > 1u {
        sum += subgroupShuffleXor(sum, 1u);
    }
    if PER_ROW > 2u {
        sum += subgroupShuffleXor(sum, 2u);
    }
    return sum;
}

// Scales sums, by the factor of each lane's row.
fn scale_sums(at: Place, sums: ptr<function, Sums>, factor: f32) {
#each d $ds
#each i $mis
    coopStoreT((*sums).s$i_$d, &scores[score_row(at, $iu * SIDE)], SCORES);
#end
    subgroupBarrier();
    for (var u = 0u; u < PARTS; u++) {
        let x = score_row(at, row_of(at)) + quad_of(at, u) * QUAD;
        if EVEN || quad_of(at, u) < SIDE / 4u {
            put_score(x, score(x) * factor);
        }
    }
    subgroupBarrier();
#each i $mis
    (*sums).s$i_$d = coopLoadT<Sum>(&scores[score_row(at, $iu * SIDE)], SCORES);
#end
    subgroupBarrier();
#end
}

@compute @workgroup_size(THREADS)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32, @builtin(subgroup_id) subgroup: u32, @builtin(subgroup_invocation_id) lane: u32) {
    let at = place(group, local, subgroup, lane);
    // To powers of two.
    let factor = params.scale * LOG2_E;
    var query: Own;
    own_qkv(at, Q, &query);
    var sums: Sums;
    var largest = NEVER;
    var total = 0.0;
    var rows: Walk;
    walk(at, &rows);
    var ahead_a: Ahead;
    var ahead_b: Ahead;
    fetch_qkv(at, K, 0u, &rows, &ahead_a);
    fetch_qkv(at, V, 0u, &rows, &ahead_b);
    keep_near_a(at, &ahead_a);
    keep_$kept_b(at, &ahead_b);
    workgroupBarrier();
    // Keys of the next tile follow when all are past the scores, values when all are past the sums: a barrier each.
    for (var base = 0u; base < params.tokens; base += OTHERS) {
        fetch_qkv(at, K, base + OTHERS, &rows, &ahead_a);
        fetch_qkv(at, V, base + OTHERS, &rows, &ahead_b);
        multiply_a(at, &query);
        var s: Scores;
        take(at, &s);
        if base + OTHERS > params.tokens {
            for (var u = 0u; u < MINE; u++) {
                s[u] = select(vec4(NEVER), s[u], inside(at, base, u));
            }
        }
        var four = s[0];
        for (var u = 1u; u < MINE; u++) {
            four = max(four, s[u]);
        }
        let most = max(max(four.x, four.y), max(four.z, four.w)) * factor;
        let above = subgroupAny(most > largest + SLACK);
        if lane == 0u {
            grown[subgroup] = u32(above);
        }
        workgroupBarrier();
        keep_near_a(at, &ahead_a);
        var any = 0u;
        for (var wave = 0u; wave < WAVES; wave++) {
            any |= grown[wave];
        }
        if any > 0u {
            let next = max(largest, row_max(most));
            let shrink = exp2(largest - next);
            total *= shrink;
            largest = next;
            scale_sums(at, &sums, shrink);
        }
        var part = vec4<f32>();
        for (var u = 0u; u < MINE; u++) {
            s[u] = exp2(fma(s[u], vec4(factor), vec4(-largest)));
            part += s[u];
        }
        total += (part.x + part.y) + (part.z + part.w);
        give(at, &s);
        add_b(at, &sums);
        workgroupBarrier();
        keep_$kept_b(at, &ahead_b);
    }
    let all = row_sum(total);
    let token = at.first + row_of(at);
    if token < params.tokens && lane % PER_ROW == 0u {
        saved[in_rows(at, token)] = (largest + log2(all)) / LOG2_E;
    }
    put_sums(at, Q, &sums, 1.0 / all);
}
