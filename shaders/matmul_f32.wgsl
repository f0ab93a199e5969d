// Matrix products of f32 by cooperative matrices of f32, which Metal has; see shared/matmul_cooperative.wgsl.
#shader matmul_f32_64x64_side8_32 element=f32 operand=f32 unit=4 cells=single slabs=2 side=8 lanes=32 depth=16 steps=two mi=4 mis=four nj=4 njs=four wm=2 wn=2 ra=two rb=two
#shader matmul_f32_64x32_side8_32 element=f32 operand=f32 unit=4 cells=single slabs=2 side=8 lanes=32 depth=16 steps=two mi=4 mis=four nj=2 njs=two wm=2 wn=2 ra=two rb=one
enable wgpu_cooperative_matrix;
#import matmul_cooperative
