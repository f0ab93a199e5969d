//! Training: optimiser groups, schedules, distillation, checkpoints, logs.

pub mod checkpoint;
mod disk;
pub mod distill;
pub mod groups;
pub mod log;
pub mod schedule;
