//! Masked video distillation on any GPU that wgpu reaches.

pub mod bench;
pub mod claims;
pub mod cli;
pub mod config;
pub mod data;
pub mod demo;
mod digest;
pub mod eval;
pub mod gpu;
mod lock;
pub mod model;
pub mod op;
pub mod picture;
mod progress;
pub mod ranks;
pub mod recipes;
pub mod selftest;
pub mod study;
pub mod train;
pub mod weights;
