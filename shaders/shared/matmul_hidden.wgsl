// C beside a GELU is no other tensor than C, for `matmul_quads` and `matmul_singles`.
fn write_hidden(row: u32, quad: u32, x: vec4<f32>) {
    write_c(row, quad, x);
}
