//! Dropout: `y = x * scale`, `dx = dy * scale`; scale, as large as x, is an input of 0 and 1 / (1 - rate).

use super::check::Case;
use super::expect_shape;
use crate::gpu::{Recorder, Tensor, grid};

fn product(rec: &mut Recorder, name: &'static str, x: Tensor, scale: Tensor) -> Tensor {
    let (shape, len) = (rec.shape(x).to_vec(), rec.len(x));
    expect_shape(rec, "dropout", scale, &shape);
    let y = rec.transient(format!("{} dropped", rec.name(x)), &shape);
    rec.node(name, &[x, scale], &[y], len as f64, |h| {
        h.outputs[0] = h.inputs[0].iter().zip(h.inputs[1]).map(|(x, s)| x * s).collect();
    });
    let dispatch = rec.dispatch("dropout", "forward").bind("x", x).bind("scale", scale).bind("y", y);
    dispatch.u32("len", len).groups(grid(len.div_ceil(64)));
    y
}

/// `x * scale`.
pub fn forward(rec: &mut Recorder, x: Tensor, scale: Tensor) -> Tensor {
    let y = product(rec, "dropout.forward", x, scale);
    rec.tape(&[x], y, move |rec, dy| {
        let dx = product(rec, "dropout.backward", dy, scale);
        rec.add_grad(x, dx);
    });
    y
}

/// Test cases.
pub fn cases() -> Vec<Case> {
    let case = |shape: [usize; 2]| {
        Case::new(format!("dropout {shape:?}"), move |rig| {
            let (x, scale) = (rig.leaf("x", &shape), rig.input("scale", &shape));
            forward(&mut rig.rec, x, scale)
        })
    };
    vec![case([1, 1]), case([7, 33])]
}
