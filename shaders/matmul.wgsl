// Matrix products by tiles in workgroup memory, at most 16 KiB of it; see shared/matmul_tile.wgsl. `ra` and `rb`: reads of four numbers that an
// invocation makes for a slab of A and B.
#shader matmul_128x128 access=quads operand=f32 unit=4 depth=8 steps=eight m=128 n=128 lanes=256 across=16 a=two b=two ra=one rb=one
#shader matmul_128x64 access=quads operand=f32 unit=4 depth=8 steps=eight m=128 n=64 lanes=128 across=8 a=two b=two ra=two rb=one
#shader matmul_64x128 access=quads operand=f32 unit=4 depth=8 steps=eight m=64 n=128 lanes=128 across=16 a=two b=two ra=one rb=two
#shader matmul_64x64 access=quads operand=f32 unit=4 depth=8 steps=eight m=64 n=64 lanes=64 across=8 a=two b=two ra=two rb=two
#shader matmul_64x32 access=quads operand=f32 unit=4 depth=16 steps=sixteen m=64 n=32 lanes=64 across=8 a=two b=one ra=four rb=two
#shader matmul_32x32 access=quads operand=f32 unit=4 depth=16 steps=sixteen m=32 n=32 lanes=64 across=8 a=one b=one ra=two rb=two
#shader matmul_any_64x64 access=singles depth=8 steps=eight m=64 n=64 lanes=64 across=8 a=two b=two ra=two rb=two
#shader matmul_any_32x32 access=singles depth=8 steps=eight m=32 n=32 lanes=64 across=8 a=one b=one ra=one rb=one
#import matmul_$access
#import matmul_tile
