//! Residual sum with stochastic depth, `y = x + scale[b] * branch`, which products compute as they store; x, branch,
//! y (B, N, C), scale (B).
//!
//! `dx = dy` and, without scale, `dbranch = dy` are the handle of dy itself; with one, `dbranch = scale[b] * dy`.

use super::check::Case;
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
    let (entry, dy_name, dbranch_name, each) = if per_sample.is_multiple_of(4) {
        ("backward_wide", "dy_wide", "dbranch_wide", 4)
    } else {
        ("backward", "dy", "dbranch", 1)
    };
    let dispatch = rec.dispatch("residual", entry).bind(dy_name, dy).bind("scale", scale).bind(dbranch_name, dbranch);
    let dispatch = dispatch.u32("len", len / each).u32("per_sample", per_sample / each);
    dispatch.groups(grid((len / each).div_ceil(64)));
    dbranch
}

/// Test cases: the gradient of a scaled branch.
pub fn cases() -> Vec<Case> {
    let case = |shape: [usize; 3]| {
        Case::new(format!("residual.backward {shape:?}"), move |rig| {
            let (x, dy) = (rig.input("x", &shape), rig.input("dy", &shape));
            let scale = Some(rig.input("scale", &shape[..1]));
            backward(&mut rig.rec, dy, Skip { x, scale })
        })
    };
    vec![case([3, 7, 33]), case([3, 7, 12])]
}
