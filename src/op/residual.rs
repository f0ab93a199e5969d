//! Residual sum with stochastic depth: `y = x + scale[b] * branch`; x, branch, y (B, N, C), scale (B).
//!
//! `dx = dy` and, without scale, `dbranch = dy` are the handle of dy itself; with one, `dbranch = scale[b] * dy`.

use super::check::Case;
use super::expect_shape;
use crate::gpu::{Recorder, Tensor, grid};

/// `x + branch`, each sample's branch scaled where `scale` (B) is given.
pub fn forward(rec: &mut Recorder, x: Tensor, branch: Tensor, scale: Option<Tensor>) -> Tensor {
    let (shape, len) = (rec.shape(x).to_vec(), rec.len(x));
    expect_shape(rec, "residual", branch, &shape);
    let y = rec.transient(format!("{} + branch", rec.name(x)), &shape);
    let groups = grid(len.div_ceil(64));
    let per_sample = len / shape[0];
    match scale {
        None => {
            rec.node("residual.forward", &[x, branch], &[y], len as f64, |h| {
                h.outputs[0] = h.inputs[0].iter().zip(h.inputs[1]).map(|(x, b)| x + b).collect();
            });
            rec.dispatch("add", "forward").bind("a", x).bind("b", branch).bind("y", y).u32("len", len).groups(groups);
        }
        Some(scale) => {
            expect_shape(rec, "residual", scale, &[shape[0]]);
            rec.node("residual.forward", &[x, branch, scale], &[y], 2.0 * len as f64, move |h| {
                let scaled = h.inputs[1].iter().enumerate().map(|(i, b)| h.inputs[2][i / per_sample] * b);
                h.outputs[0] = h.inputs[0].iter().zip(scaled).map(|(x, b)| x + b).collect();
            });
            let dispatch = rec.dispatch("residual", "forward").bind("x", x).bind("branch", branch).bind("y", y);
            dispatch.bind("scale", scale).u32("len", len).u32("per_sample", per_sample).groups(groups);
        }
    }
    rec.tape(&[x, branch], y, move |rec, dy| {
        rec.add_grad(x, dy);
        let Some(scale) = scale else { return rec.add_grad(branch, dy) };
        let dbranch = rec.transient("d branch", &shape);
        rec.node("residual.backward", &[dy, scale], &[dbranch], len as f64, move |h| {
            let scaled = h.inputs[0].iter().enumerate().map(|(i, dy)| h.inputs[1][i / per_sample] * dy);
            h.outputs[0] = scaled.collect();
        });
        let dispatch = rec.dispatch("residual", "backward").bind("dy", dy).bind("scale", scale);
        dispatch.bind("dbranch", dbranch).u32("len", len).u32("per_sample", per_sample).groups(groups);
        rec.add_grad(branch, dbranch);
    });
    y
}

/// Test cases.
pub fn cases() -> Vec<Case> {
    let case = |shape: [usize; 3], scaled: bool| {
        Case::new(format!("residual {shape:?}{}", if scaled { " scaled" } else { "" }), move |rig| {
            let (x, branch) = (rig.leaf("x", &shape), rig.leaf("branch", &shape));
            let scale = scaled.then(|| rig.input("scale", &shape[..1]));
            forward(&mut rig.rec, x, branch, scale)
        })
    };
    vec![case([1, 1, 1], false), case([3, 7, 33], true), case([2, 5, 16], false)]
}
