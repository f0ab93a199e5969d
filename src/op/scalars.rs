//! The few numbers of a step that the host reads back, in one kept tensor.

use crate::gpu::{Dtype, Recorder, Tensor};

/// The first loss, before its weight; a second one follows it.
pub const LOSS: usize = 0;
/// Norm of all gradients before clipping.
pub const GRAD_NORM: usize = 2;
/// What clipping multiplies gradients by.
pub const CLIP_SCALE: usize = 3;
/// The step's number, written after everything else: shows that the step ran to its end.
pub const CANARY: usize = 4;
/// Elements of the tensor.
pub const LEN: usize = 8;

/// The tensor, cleared by the caller at the start of each step.
pub fn declare(rec: &mut Recorder) -> Tensor {
    rec.input("scalars", &[LEN], Dtype::F32)
}
