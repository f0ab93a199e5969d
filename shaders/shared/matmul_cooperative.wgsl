// C = A B by cooperative matrices: operands `$element`, sums f32. A workgroup is $wm x $wn subgroups of LANES; each computes `$mi` x `$nj`
// matrices of C. The next slab of K is on its way while this one is multiplied.
// What imports this enables the features that it needs.
#import matmul_quads
#import matmul_ends
#import matmul_source
#list one 0
#list two 0 1
#list four 0 1 2 3
#list eight 0 1 2 3 4 5 6 7
#list sixteen 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15

const SIDE: u32 = $sideu;
const LANES: u32 = $lanesu;
const THREADS: u32 = LANES * $wmu * $wnu;
const DEPTH: u32 = $depthu;
alias Left = coop_mat$sidex$side<$element, A>;
alias Right = coop_mat$sidex$side<$element, B>;
alias Sum = coop_mat$sidex$side<f32, C>;

// Rows and columns of a subgroup and of the tile.
const SUB_M: u32 = $miu * SIDE;
const SUB_N: u32 = $nju * SIDE;
const TILE_M: u32 = $wmu * SUB_M;
const TILE_N: u32 = $wnu * SUB_N;
// An operand whose rows run along K lies in workgroup memory as (side, K), another as (K, side). Its rows are apart by more than a power of two, so that columns do not fall into one bank.
const PAD: u32 = 8u;
const ALONG: u32 = DEPTH + PAD;
// Slabs in workgroup memory: with two, one is written while the other is read, and one barrier a slab is enough.
const SLABS: u32 = $slabsu;
const SLAB_A: u32 = TILE_M * ALONG;
const SLAB_B: u32 = TILE_N * ALONG;
#import matmul_cells_$cells
var<workgroup> patches: array<f32, $wmu * $wnu * SIDE * SIDE>;

struct Sums {
#each i $mis
#each j $njs
    s$i_$j: Sum,
#end
#end
}

// Where a group of a slab goes.
fn place(e: u32, along_k: bool, tile: u32) -> u32 {
    let across = e / (tile / GROUP) * (tile + PAD) + e % (tile / GROUP) * GROUP;
    return select(across, e / (DEPTH / GROUP) * ALONG + e % (DEPTH / GROUP) * GROUP, along_k);
}

fn product(group: vec3<u32>, local: u32, subgroup: u32, sums: ptr<function, Sums>) {
    take(group.z);
    let step_a = slab_step(LAYOUT != 2u, params.m);
    let step_b = slab_step(LAYOUT == 1u, params.n);
#each r $ra
    var from_a$r = source(local + $ru * THREADS, LAYOUT != 2u, TILE_M, group.x * TILE_M, params.m);
    let to_a$r = place(local + $ru * THREADS, LAYOUT != 2u, TILE_M);
    keep_a(to_a$r, fetch_a(from_a$r));
#end
#each r $rb
    var from_b$r = source(local + $ru * THREADS, LAYOUT == 1u, TILE_N, group.y * TILE_N, params.n);
    let to_b$r = place(local + $ru * THREADS, LAYOUT == 1u, TILE_N);
    keep_b(to_b$r, fetch_b(from_b$r));
#end
    workgroupBarrier();
    let row = subgroup / $wnu * SUB_M;
    let col = subgroup % $wnu * SUB_N;
    var other = false;
    for (var first = k_first; first < k_end; first += DEPTH) {
        let slab_a = select(0u, SLAB_A, other);
        let slab_b = select(0u, SLAB_B, other);
        // The last turn reads its own slab again, for nobody.
        let more = first + DEPTH < k_end;
        let ahead_a = select(0u, step_a, more);
        let ahead_b = select(0u, step_b, more);
        let ahead_k = select(0u, DEPTH, more);
#each r $ra
        from_a$r.at += ahead_a;
        from_a$r.k += ahead_k;
        let next_a$r = fetch_a(from_a$r);
#end
#each r $rb
        from_b$r.at += ahead_b;
        from_b$r.k += ahead_k;
        let next_b$r = fetch_b(from_b$r);
#end
#each u $steps
        {
            let k = $uu * SIDE;
#each i $mis
            var a$i: Left;
            if LAYOUT == 2u {
                a$i = coopLoad<Left>(&tile_a[(slab_a + k * (TILE_M + PAD) + row + $iu * SIDE) / CELL], (TILE_M + PAD) / CELL);
            } else {
                a$i = coopLoadT<Left>(&tile_a[(slab_a + (row + $iu * SIDE) * ALONG + k) / CELL], ALONG / CELL);
            }
#end
#each j $njs
            var b$j: Right;
            if LAYOUT == 1u {
                b$j = coopLoad<Right>(&tile_b[(slab_b + (col + $ju * SIDE) * ALONG + k) / CELL], ALONG / CELL);
            } else {
                b$j = coopLoadT<Right>(&tile_b[(slab_b + k * (TILE_N + PAD) + col + $ju * SIDE) / CELL], (TILE_N + PAD) / CELL);
            }
#each i $mis
            (*sums).s$i_$j = coopMultiplyAdd(a$i, b$j, (*sums).s$i_$j);
#end
#end
        }
#end
        if SLABS == 1u {
            workgroupBarrier();
        } else {
            other = !other;
        }
        let next_slab_a = select(0u, SLAB_A, other);
        let next_slab_b = select(0u, SLAB_B, other);
#each r $ra
        keep_a(next_slab_a + to_a$r, next_a$r);
#end
#each r $rb
        keep_b(next_slab_b + to_b$r, next_b$r);
#end
        workgroupBarrier();
    }
}

// Quads of a matrix, those that a lane stores, and the row and quad of one. Of small matrices not every lane has one.
const QUADS: u32 = SIDE * SIDE / 4u;
const SHARES: u32 = max(QUADS / LANES, 1u);

fn share(lane: u32, index: u32) -> vec2<u32> {
    let e = (lane + index * LANES) % QUADS;
    return vec2(e / (SIDE / 4u), e % (SIDE / 4u));
}

#each end ends
@compute @workgroup_size(THREADS)
fn $end(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32, @builtin(subgroup_id) subgroup: u32, @builtin(subgroup_invocation_id) lane: u32) {
    var sums: Sums;
    product(group, local, subgroup, &sums);
    let first_row = group.x * TILE_M + subgroup / $wnu * SUB_M;
    let first_quad = (group.y * TILE_N + subgroup % $wnu * SUB_N) / 4u;
    let patch_at = subgroup * SIDE * SIDE;
#each j $njs
    var add$j: array<vec4<f32>, SHARES>;
    for (var r = 0u; r < SHARES; r++) {
        add$j[r] = add_$end(first_quad + $ju * SIDE / 4u + share(lane, r).y);
    }
#end
#each i $mis
    {
        // A row of matrices is read and combined before the first of them is written: loads then wait together.
#each j $njs
        var beside$j: array<vec4<f32>, SHARES>;
        for (var r = 0u; r < SHARES; r++) {
            let at = share(lane, r);
            beside$j[r] = beside_$end(first_row + $iu * SIDE + at.x, first_quad + $ju * SIDE / 4u + at.y);
        }
#end
#each j $njs
        var x$j: array<vec4<f32>, SHARES>;
        coopStoreT(sums.s$i_$j, &patches[patch_at], SIDE);
        subgroupBarrier();
        for (var r = 0u; r < SHARES; r++) {
            let at = share(lane, r);
            let start = patch_at + at.x * SIDE + at.y * 4u;
            let sum = vec4(patches[start], patches[start + 1u], patches[start + 2u], patches[start + 3u]);
            x$j[r] = combine_$end(first_row + $iu * SIDE + at.x, sum, add$j[r], beside$j[r]);
        }
        subgroupBarrier();
#end
#each j $njs
        for (var r = 0u; r < SHARES; r++) {
            let at = share(lane, r);
            if LANES <= QUADS || lane < QUADS {
                put_$end(first_row + $iu * SIDE + at.x, first_quad + $ju * SIDE / 4u + at.y, x$j[r]);
            }
        }
#end
    }
#end
}
#end
