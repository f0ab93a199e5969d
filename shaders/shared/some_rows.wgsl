// The rows that a column sum takes: of each of some samples of `len` rows, `head` at its start and `tail` from `tail_start` on.
struct Params {
    rows: u32, columns: u32, chunk: u32, base: u32, len: u32, head: u32, tail_start: u32, tail: u32, skip: u32, skip_end: u32, scale: f32,
}
@group(0) @binding(0) var<uniform> params: Params;

// Where row r of those of a matrix lies. Matrices have as many rows, one behind the other.
fn row_of(matrix: u32, r: u32) -> u32 {
    let each = params.head + params.tail;
    let k = r % each;
    let row = select(params.tail_start + k - params.head, k, k < params.head);
    return params.base + matrix * params.rows / each * params.len + r / each * params.len + row;
}

// Chunks of a matrix.
fn count() -> u32 {
    return (params.rows + params.chunk - 1u) / params.chunk;
}
