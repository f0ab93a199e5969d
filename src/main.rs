//! The `mvd` program.
fn main() {}
