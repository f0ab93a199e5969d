//! The exact GELU: `y = x Phi(x)`, `dx = dy (Phi(x) + x phi(x))`, Phi and phi the normal distribution and density.

use super::check::Case;
use crate::gpu::{Recorder, Tensor, grid};

fn cdf(x: f64) -> f64 {
    0.5 * (1.0 + libm::erf(x * std::f64::consts::FRAC_1_SQRT_2))
}

/// `x Phi(x)` in f64.
pub fn reference(x: f64) -> f64 {
    x * cdf(x)
}

/// `Phi(x) + x phi(x)` in f64.
pub fn derivative(x: f64) -> f64 {
    cdf(x) + x * (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

/// `y`: GELU of every element.
pub fn forward(rec: &mut Recorder, x: Tensor) -> Tensor {
    let (shape, len) = (rec.shape(x).to_vec(), rec.len(x));
    let y = rec.transient(format!("gelu({})", rec.name(x)), &shape);
    rec.node("gelu.forward", &[x], &[y], 20.0 * len as f64, |h| {
        h.outputs[0] = h.inputs[0].iter().map(|&x| reference(x)).collect();
    });
    let groups = grid(len.div_ceil(64));
    rec.dispatch("gelu", "forward").bind("x", x).bind("y", y).u32("len", len).groups(groups);
    rec.tape(&[x], y, move |rec, dy| {
        let dx = rec.transient(format!("d {}", rec.name(x)), &shape);
        rec.node("gelu.backward", &[dy, x], &[dx], 20.0 * len as f64, |h| {
            h.outputs[0] = h.inputs[0].iter().zip(h.inputs[1]).map(|(dy, &x)| dy * derivative(x)).collect();
        });
        let dispatch = rec.dispatch("gelu", "backward").bind("x", x).bind("dy", dy).bind("dx", dx);
        dispatch.u32("len", len).groups(groups);
        rec.add_grad(x, dx);
    });
    y
}

/// Test cases; the last is a dense grid over [-8, 8].
pub fn cases() -> Vec<Case> {
    let case = |rows: usize, columns: usize| {
        Case::new(format!("gelu {rows}x{columns}"), move |rig| {
            let x = rig.leaf("x", &[rows, columns]);
            forward(&mut rig.rec, x)
        })
    };
    let dense = Case::new("gelu over [-8, 8]", |rig| {
        let values = (0..4001).map(|i| f64::from(-8.0 + i as f32 * 0.004)).collect();
        let x = rig.input_with("x", &[4001], values);
        rig.rec.require_grad(x);
        forward(&mut rig.rec, x)
    });
    vec![case(1, 1), case(33, 7), dense.tolerance(1e-6)]
}
