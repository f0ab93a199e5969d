// Products over rows read what products over D read.
const FAR: u32 = NEAR;

// Where a matrix begins, by its places among those of rows and of D.
fn far_at(j: u32, d: u32) -> u32 {
    return j * SIDE * NEAR + d * SPAN;
}
