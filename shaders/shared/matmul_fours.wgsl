// Rows of C and of what stands beside it, four numbers at a time, guarded at the edges. What imports this brings `index`, the place of four
// neighbours, and the tensors `bias` and `c`.

fn inside(row: u32, quad: u32) -> bool {
    return row < params.m && quad < params.n / 4u;
}

// The place of a read: past the edges that of the last row and column.
fn clamped(row: u32, quad: u32) -> u32 {
    return index(min(row, params.m - 1u), min(quad, params.n / 4u - 1u));
}

fn read_bias(quad: u32) -> vec4<f32> {
    return bias[part * (params.n / 4u) + min(quad, params.n / 4u - 1u)];
}

fn read_c(row: u32, quad: u32) -> vec4<f32> {
    return c[clamped(row, quad)];
}

fn write_c(row: u32, quad: u32, x: vec4<f32>) {
    if inside(row, quad) {
        c[index(row, quad)] = x;
    }
}
