// Products by tiles of 32 x 32, 4 KiB of workgroup memory; see shared/matmul_tile.wgsl. Four times the workgroups: for matrices
// too small to fill the adapter with tiles of 64.
const TILE: u32 = 32u;
#import matmul_tile

// Adds what step k of the tiles gives to the sums of invocation (y, x).
fn multiply(k: u32, y: u32, x: u32, sums: ptr<function, Sums>) {
    let upper = tile_a[k * WIDTH + y];
    let left = tile_b[k * WIDTH + x];
    (*sums).left[0] += upper.x * left;
    (*sums).left[1] += upper.y * left;
    (*sums).left[2] += upper.z * left;
    (*sums).left[3] += upper.w * left;
}
