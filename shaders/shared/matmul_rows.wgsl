// What an epilogue needs beside the tensors of `matmul_quads` or `matmul_singles`.
fn row_scale(row: u32) -> f32 {
    return scale[(part * params.m + min(row, params.m - 1u)) / params.per_sample];
}

fn write_hidden(row: u32, quad: u32, x: vec4<f32>) {
    write_c(row, quad, x);
}
