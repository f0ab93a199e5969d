// Epilogues of matrix products. An end takes four neighbours of a row of C at a time, in two steps, so that a kernel can read for many
// before it stores any: `beside_END` reads, `combine_END` computes, `put_END` stores. `add` is `add_END` of the columns, read once for many rows.
// What imports this brings `row` and `quad` (four columns) of C to its tensors: `read_c`, `read_skip`, `read_before`, `write_c`,
// `write_hidden` (C beside a GELU) and `write_saved`, all of which guard the edges.
#import gelu
#list ends plain accumulate biased activated activated_saved skipped skipped_scaled activation_gradient

fn row_scale(row: u32) -> f32 {
    return scale[(part * params.m + min(row, params.m - 1u)) / params.per_sample];
}

fn add_plain(quad: u32) -> vec4<f32> {
    return vec4(0.0);
}

fn add_accumulate(quad: u32) -> vec4<f32> {
    return vec4(0.0);
}

fn add_biased(quad: u32) -> vec4<f32> {
    return read_bias(quad);
}

fn add_activated(quad: u32) -> vec4<f32> {
    return read_bias(quad);
}

fn add_activated_saved(quad: u32) -> vec4<f32> {
    return read_bias(quad);
}

fn add_skipped(quad: u32) -> vec4<f32> {
    return read_bias(quad);
}

fn add_skipped_scaled(quad: u32) -> vec4<f32> {
    return read_bias(quad);
}

fn add_activation_gradient(quad: u32) -> vec4<f32> {
    return vec4(0.0);
}

fn beside_plain(row: u32, quad: u32) -> vec4<f32> {
    return vec4(0.0);
}

fn beside_accumulate(row: u32, quad: u32) -> vec4<f32> {
    return read_c(row, quad);
}

fn beside_biased(row: u32, quad: u32) -> vec4<f32> {
    return vec4(0.0);
}

fn beside_activated(row: u32, quad: u32) -> vec4<f32> {
    return vec4(0.0);
}

fn beside_activated_saved(row: u32, quad: u32) -> vec4<f32> {
    return vec4(0.0);
}

fn beside_skipped(row: u32, quad: u32) -> vec4<f32> {
    return read_skip(row, quad);
}

fn beside_skipped_scaled(row: u32, quad: u32) -> vec4<f32> {
    return read_skip(row, quad);
}

fn beside_activation_gradient(row: u32, quad: u32) -> vec4<f32> {
    return read_before(row, quad);
}

fn combine_plain(row: u32, sum: vec4<f32>, add: vec4<f32>, beside: vec4<f32>) -> vec4<f32> {
    return sum;
}

fn combine_accumulate(row: u32, sum: vec4<f32>, add: vec4<f32>, beside: vec4<f32>) -> vec4<f32> {
    return beside + sum;
}

fn combine_biased(row: u32, sum: vec4<f32>, add: vec4<f32>, beside: vec4<f32>) -> vec4<f32> {
    return sum + add;
}

fn combine_activated(row: u32, sum: vec4<f32>, add: vec4<f32>, beside: vec4<f32>) -> vec4<f32> {
    return sum + add;
}

fn combine_activated_saved(row: u32, sum: vec4<f32>, add: vec4<f32>, beside: vec4<f32>) -> vec4<f32> {
    return sum + add;
}

fn combine_skipped(row: u32, sum: vec4<f32>, add: vec4<f32>, beside: vec4<f32>) -> vec4<f32> {
    return beside + (sum + add);
}

fn combine_skipped_scaled(row: u32, sum: vec4<f32>, add: vec4<f32>, beside: vec4<f32>) -> vec4<f32> {
    return fma(vec4(row_scale(row)), sum + add, beside);
}

fn combine_activation_gradient(row: u32, sum: vec4<f32>, add: vec4<f32>, beside: vec4<f32>) -> vec4<f32> {
    return sum * gelu_derivative(beside);
}

fn put_plain(row: u32, quad: u32, x: vec4<f32>) {
    write_c(row, quad, x);
}

fn put_accumulate(row: u32, quad: u32, x: vec4<f32>) {
    write_c(row, quad, x);
}

fn put_biased(row: u32, quad: u32, x: vec4<f32>) {
    write_c(row, quad, x);
}

fn put_activated(row: u32, quad: u32, x: vec4<f32>) {
    write_hidden(row, quad, gelu(x));
}

fn put_activated_saved(row: u32, quad: u32, x: vec4<f32>) {
    write_saved(row, quad, x);
    write_hidden(row, quad, gelu(x));
}

fn put_skipped(row: u32, quad: u32, x: vec4<f32>) {
    write_c(row, quad, x);
}

fn put_skipped_scaled(row: u32, quad: u32, x: vec4<f32>) {
    write_c(row, quad, x);
}

fn put_activation_gradient(row: u32, quad: u32, x: vec4<f32>) {
    write_hidden(row, quad, x);
}
