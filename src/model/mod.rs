//! Models, as recordings of operations: student, teachers, and the distillation step that joins them.

mod arch;
mod block;
pub mod distill;
mod params;
pub mod student;
pub mod teacher;

pub use arch::{Grid, Vit};
pub use block::Block;
pub use params::Params;
