//! Training: optimiser groups, schedules, distillation, checkpoints, logs.

pub mod checkpoint;
pub mod distill;
pub mod groups;
pub mod log;
pub mod schedule;
