//! Training: the loop, optimiser groups, schedules, checkpoints, logs; and the three stages.

pub mod checkpoint;
pub mod curves;
mod disk;
pub mod distill;
mod error;
pub mod finetune;
pub mod fit;
pub mod groups;
pub mod log;
pub mod pretrain;
mod run;
pub mod schedule;
pub mod session;

pub use error::Error;
pub use run::{Outcome, Reporter};
