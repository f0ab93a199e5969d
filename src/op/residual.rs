//! Residual sum with stochastic depth, `y = x + scale[b] * branch`, which products compute as they store; x, branch,
//! y (B, N, C), scale (B).
//!
//! `dx = dy` and, without scale, `dbranch = dy` are the handle of dy itself; with one, `dbranch = scale[b] * dy`.

use super::expect_shape;
use crate::gpu::{Recorder, Tensor, grid};

/// What a branch's end is added to.
#[derive(Debug, Clone, Copy)]
pub struct Skip {
    /// (B, N, C)
    pub x: Tensor,
    /// (B): the factor of each sample's branch.
    pub scale: Option<Tensor>,
}

/// Gives `skip.x` its gradient and returns the branch's.
pub fn backward(rec: &mut Recorder, dy: Tensor, skip: Skip) -> Tensor {
    rec.add_grad(skip.x, dy);
    let Some(scale) = skip.scale else { return dy };
    let (shape, len) = (rec.shape(dy).to_vec(), rec.len(dy));
    expect_shape(rec, "residual", scale, &shape[..1]);
    let per_sample = len / shape[0];
    let dbranch = rec.transient("d branch", &shape);
    rec.node("residual.backward", &[dy, scale], &[dbranch], len as f64, move |h| {
        let scaled = h.inputs[0].iter().enumerate().map(|(i, dy)| h.inputs[1][i / per_sample] * dy);
        h.outputs[0] = scaled.collect();
    });
    let dispatch = rec.dispatch("residual", "backward").bind("dy", dy).bind("scale", scale);
    dispatch.bind("dbranch", dbranch).u32("len", len).u32("per_sample", per_sample).groups(grid(len.div_ceil(64)));
    dbranch
}
