//! Training: optimiser groups, schedules, distillation, checkpoints, logs.

pub mod groups;
