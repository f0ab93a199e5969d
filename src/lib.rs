//! Masked video distillation on any GPU that wgpu reaches.

pub mod gpu;
pub mod op;
