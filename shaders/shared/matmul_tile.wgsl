// C = A B by tiles in workgroup memory, no optional feature. An invocation computes blocks of 4 x 4: one or two of rows (`$a`) by one
// or two of columns (`$b`), half a tile apart. The next slab of K is on its way while this one is multiplied.
// What imports this brings A, B and C (`matmul_quads` or `matmul_singles`).
#import matmul_ends
#import matmul_source
#list one 0
#list two 0 1
#list four 0 1 2 3
#list eight 0 1 2 3 4 5 6 7
#list sixteen 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15

const TILE_M: u32 = $m;
const TILE_N: u32 = $n;
const LANES: u32 = $lanes;
// Numbers that are read at a time.
const GROUP: u32 = 4u;
const DEPTH: u32 = $depthu;
// vec4 of a step of k.
const QUADS_A: u32 = TILE_M / 4u;
const QUADS_B: u32 = TILE_N / 4u;
// Invocations down and across the tile.
const DOWN: u32 = LANES / ACROSS;
const ACROSS: u32 = $across;

// Two slabs of each operand: one is written while the other is read, so that one barrier a slab is enough.
const SLAB_A: u32 = DEPTH * QUADS_A;
const SLAB_B: u32 = DEPTH * QUADS_B;
var<workgroup> tile_a: array<vec4<f32>, 2u * SLAB_A>; // four rows of A at one k
var<workgroup> tile_b: array<vec4<f32>, 2u * SLAB_B>; // four columns of B at one k

struct Sums {
#each i $a
#each j $b
    s$i$j: array<vec4<f32>, 4>, // four rows of four columns
#end
#end
}

// Place of four rows (or columns) at k. Swizzled by k, so that what is stored along k falls into different banks.
fn place(k: u32, quad: u32, quads: u32) -> u32 {
    return k * quads + (quad ^ (k / 4u % (DEPTH / 4u) * (32u / DEPTH)));
}

// Invocations in blocks of 8 x 8, so that those of a subgroup share rows and columns.
fn down(local: u32) -> u32 {
    return local / 8u % 8u + local / (8u * ACROSS) * 8u;
}

fn across(local: u32) -> u32 {
    return local % 8u + local / 64u % (ACROSS / 8u) * 8u;
}

// Brings four numbers to workgroup memory: to four steps, if they were read along k.
fn keep_a(at: u32, lane: u32, x: vec4<f32>) {
    if LAYOUT != 2u {
#each j four
        tile_a[at + $ju * QUADS_A][lane] = x[$j];
#end
    } else {
        tile_a[at] = x;
    }
}

fn keep_b(at: u32, lane: u32, x: vec4<f32>) {
    if LAYOUT == 1u {
#each j four
        tile_b[at + $ju * QUADS_B][lane] = x[$j];
#end
    } else {
        tile_b[at] = x;
    }
}

fn product(group: vec3<u32>, local: u32, sums: ptr<function, Sums>) {
    take(group.z);
    let y = down(local);
    let x = across(local);
    let lane = local / (DEPTH / 4u) % 4u;
    let step_a = slab_step(LAYOUT != 2u, params.m);
    let step_b = slab_step(LAYOUT == 1u, params.n);
#each r $ra
    var from_a$r = source(local + $ru * LANES, LAYOUT != 2u, TILE_M, group.x * TILE_M, params.m);
    let e_a$r = local + $ru * LANES;
    let to_a$r = select(place(e_a$r / QUADS_A, e_a$r % QUADS_A, QUADS_A), place(e_a$r % (DEPTH / 4u) * 4u, e_a$r / DEPTH, QUADS_A), LAYOUT != 2u);
    keep_a(to_a$r, lane, load_a(from_a$r.at, from_a$r.k));
#end
#each r $rb
    var from_b$r = source(local + $ru * LANES, LAYOUT == 1u, TILE_N, group.y * TILE_N, params.n);
    let e_b$r = local + $ru * LANES;
    let to_b$r = select(place(e_b$r / QUADS_B, e_b$r % QUADS_B, QUADS_B), place(e_b$r % (DEPTH / 4u) * 4u, e_b$r / DEPTH, QUADS_B), LAYOUT == 1u);
    keep_b(to_b$r, lane, load_b(from_b$r.at, from_b$r.k));
#end
    workgroupBarrier();
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
        let next_a$r = load_a(from_a$r.at, from_a$r.k);
#end
#each r $rb
        from_b$r.at += ahead_b;
        from_b$r.k += ahead_k;
        let next_b$r = load_b(from_b$r.at, from_b$r.k);
#end
        // Unrolled: in a loop of their own, NVIDIA's compiler copies all sums in every turn.
#each k $steps
        {
#each i $a
            let a$i = tile_a[slab_a + place($ku, $iu * DOWN + y, QUADS_A)];
#end
#each j $b
            let b$j = tile_b[slab_b + place($ku, $ju * ACROSS + x, QUADS_B)];
#end
#each i $a
#each j $b
#each r four
            (*sums).s$i$j[$r] = fma(vec4(a$i[$r]), b$j, (*sums).s$i$j[$r]);
#end
#end
#end
        }
#end
        other = !other;
        let next_slab_a = select(0u, SLAB_A, other);
        let next_slab_b = select(0u, SLAB_B, other);
#each r $ra
        keep_a(next_slab_a + to_a$r, lane, next_a$r);
#end
#each r $rb
        keep_b(next_slab_b + to_b$r, lane, next_b$r);
#end
        workgroupBarrier();
    }
}

#each end ends
@compute @workgroup_size(LANES)
fn $end(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    var sums: Sums;
    product(group, local, &sums);
    let row = group.x * TILE_M + down(local) * 4u;
    let quad = group.y * QUADS_B + across(local);
#each j $b
    let add$j = add_$end(quad + $ju * ACROSS);
#end
#each i $a
#each j $b
#each r four
    let x$i$j$r = combine_$end(row + $iu * DOWN * 4u + $ru, sums.s$i$j[$r], add$j, beside_$end(row + $iu * DOWN * 4u + $ru, quad + $ju * ACROSS));
#end
#end
#each j $b
#each r four
    put_$end(row + $iu * DOWN * 4u + $ru, quad + $ju * ACROSS, x$i$j$r);
#end
#end
#end
}
#end
