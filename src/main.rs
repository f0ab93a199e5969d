//! The `mvd` program.
use std::sync::Arc;
fn main() {
    let gpu = Arc::new(mvd::gpu::Gpu::open(&mvd::gpu::AdapterChoice::from_env()).unwrap());
    let r = mvd::selftest::check_reference(&gpu, std::path::Path::new(&std::env::args().nth(1).unwrap())).unwrap();
    println!("{r}");
}
