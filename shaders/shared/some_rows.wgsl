// The rows that a column sum takes: of each of some samples of `len` rows, `head` at its start and `tail` from `tail_start` on.
struct Params {
    rows: u32, columns: u32, chunk: u32, base: u32, len: u32, head: u32, tail_start: u32, tail: u32, skip: u32, skip_end: u32, scale: f32,
}
@group(0) @binding(0) var<uniform> params: Params;

// The first sample of a matrix. Matrices have as many rows, one behind the other.
fn matrix_start(matrix: u32) -> u32 {
    return params.base + matrix * params.rows / (params.head + params.tail) * params.len;
}

// Where row r of those of a matrix lies behind its start.
fn row_of(r: u32) -> u32 {
    let each = params.head + params.tail;
    let k = r % each;
    return r / each * params.len + select(params.tail_start + k - params.head, k, k < params.head);
}

// Chunks of a matrix.
fn count() -> u32 {
    return (params.rows + params.chunk - 1u) / params.chunk;
}
