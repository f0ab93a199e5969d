//! Models, as recordings of operations: the shared encoder, student, teachers, pixel models, classifier, and the steps
//! that train them.

mod arch;
mod beside;
mod block;
pub mod classifier;
pub mod distill;
pub mod encoder;
mod hf_config;
mod known;
pub mod load;
pub mod look;
pub mod opened;
pub mod params;
pub mod pixels;
mod positions;
mod shown;
pub mod step;
pub mod student;
pub mod teacher;

pub use arch::{Grid, Vit};
pub use block::Block;
pub use params::Params;
