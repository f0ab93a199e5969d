// Products over rows read the turned copies.
const FAR: u32 = TURNED;

// Where a matrix begins, by its places among those of rows and of D.
fn far_at(j: u32, d: u32) -> u32 {
    return d * SIDE * TURNED + j * SPAN;
}
