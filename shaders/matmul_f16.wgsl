// Matrix products of operands rounded to f16, by cooperative matrices, for subgroups of `lanes`; see shared/matmul_cooperative.wgsl.
// `mi` x `nj` matrices a subgroup, `wm` x `wn` subgroups; `ra` and `rb`: reads that an invocation makes for a slab.
#shader matmul_f16_256x128_32 element=f16 operand=f16 unit=4 cells=four slabs=1 side=16 lanes=32 depth=32 steps=two mi=4 mis=four nj=4 njs=four wm=4 wn=2 ra=eight rb=four
#shader matmul_f16_128x256_32 element=f16 operand=f16 unit=4 cells=eight slabs=1 side=16 lanes=32 depth=32 steps=two mi=4 mis=four nj=4 njs=four wm=2 wn=4 ra=two rb=four
#shader matmul_f16_128x128_32 element=f16 operand=f16 unit=4 cells=eight slabs=1 side=16 lanes=32 depth=32 steps=two mi=4 mis=four nj=4 njs=four wm=2 wn=2 ra=four rb=four
#shader matmul_f16_128x128_deep_32 element=f16 operand=f16 unit=4 cells=eight slabs=1 side=16 lanes=32 depth=64 steps=four mi=4 mis=four nj=2 njs=two wm=2 wn=4 ra=four rb=four
#shader matmul_f16_64x64_32 element=f16 operand=f16 unit=4 cells=eight slabs=2 side=16 lanes=32 depth=32 steps=two mi=2 mis=two nj=2 njs=two wm=2 wn=2 ra=two rb=two
#shader matmul_f16_128x128_64 element=f16 operand=f16 unit=4 cells=eight slabs=2 side=16 lanes=64 depth=32 steps=two mi=4 mis=four nj=4 njs=four wm=2 wn=2 ra=two rb=two
#shader matmul_f16_128x64_64 element=f16 operand=f16 unit=4 cells=eight slabs=2 side=16 lanes=64 depth=32 steps=two mi=4 mis=four nj=2 njs=two wm=2 wn=2 ra=two rb=one
#shader matmul_f16_64x64_64 element=f16 operand=f16 unit=4 cells=eight slabs=2 side=16 lanes=64 depth=32 steps=two mi=2 mis=two nj=2 njs=two wm=2 wn=2 ra=one rb=one
#shader matmul_f16_64x64_8 element=f16 operand=f16 unit=4 cells=eight slabs=2 side=16 lanes=8 depth=32 steps=two mi=2 mis=two nj=2 njs=two wm=2 wn=2 ra=eight rb=eight
#shader matmul_f16_128x64_side8_32 element=f16 operand=f16 unit=4 cells=single slabs=2 side=8 lanes=32 depth=16 steps=two mi=8 mis=eight nj=4 njs=four wm=2 wn=2 ra=four rb=two
#shader matmul_f16_64x64_side8_32 element=f16 operand=f16 unit=4 cells=single slabs=2 side=8 lanes=32 depth=16 steps=two mi=4 mis=four nj=4 njs=four wm=2 wn=2 ra=two rb=two
#shader matmul_f16_64x64_side8_8 element=f16 operand=f16 unit=4 cells=single slabs=2 side=8 lanes=8 depth=16 steps=two mi=4 mis=four nj=4 njs=four wm=2 wn=2 ra=eight rb=eight
enable f16;
enable wgpu_cooperative_matrix;
#import matmul_cooperative
