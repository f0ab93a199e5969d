// Products by tiles of 64 x 64, 8 KiB of workgroup memory; see shared/matmul_tile.wgsl. The default of every adapter.
const TILE: u32 = 64u;
#import matmul_tile

// Adds what step k of the tiles gives to the sums of invocation (y, x).
fn multiply(k: u32, y: u32, x: u32, sums: ptr<function, Sums>) {
    let upper = tile_a[k * WIDTH + y];
    let lower = tile_a[k * WIDTH + 8u + y];
    let left = tile_b[k * WIDTH + x];
    let right = tile_b[k * WIDTH + 8u + x];
    (*sums).left[0] += upper.x * left;
    (*sums).right[0] += upper.x * right;
    (*sums).left[1] += upper.y * left;
    (*sums).right[1] += upper.y * right;
    (*sums).left[2] += upper.z * left;
    (*sums).right[2] += upper.z * right;
    (*sums).left[3] += upper.w * left;
    (*sums).right[3] += upper.w * right;
    (*sums).left[4] += lower.x * left;
    (*sums).right[4] += lower.x * right;
    (*sums).left[5] += lower.y * left;
    (*sums).right[5] += lower.y * right;
    (*sums).left[6] += lower.z * left;
    (*sums).right[6] += lower.z * right;
    (*sums).left[7] += lower.w * left;
    (*sums).right[7] += lower.w * right;
}
