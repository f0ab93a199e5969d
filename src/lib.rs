//! Masked video distillation on any GPU that wgpu reaches.
