//! Binary cross entropy of logits against soft labels, one class beside the other:
//! `loss = scale sum_r row[r] mean_k class[k] (max(z, 0) - z t + log(1 + exp(-|z|)))`,
//! `dlogits = scale row[r] class[k] / K (sigmoid(z) - t)`; logits z, labels t (R, K), weights of rows (R) and of classes (K).
//!
//! A row of weight 0 is ignored, whatever it holds: boxes that only fill a batch. The loss is the root of the tape.

use super::check::Case;
use super::expect_shape;
use crate::gpu::{Dtype, Recorder, Tensor, grid};

/// Where the loss goes, and what rows and classes weigh in it.
#[derive(Debug, Clone, Copy)]
pub struct Weights {
    /// Of each row (R).
    pub rows: Tensor,
    /// Of each class (K).
    pub classes: Tensor,
    /// Of all.
    pub scale: f32,
    /// Tensor that the loss is added to (`+=`).
    pub scalars: Tensor,
    /// Element of `scalars`.
    pub slot: usize,
}

/// Adds the loss to its slot and gives `logits` its gradient.
pub fn forward(rec: &mut Recorder, logits: Tensor, labels: Tensor, weights: Weights) {
    let [samples, classes] = *rec.shape(logits) else { panic!("binary_cross_entropy: logits must be (R, K)") };
    let Weights { rows, classes: of_classes, scale, scalars, slot } = weights;
    expect_shape(rec, "binary_cross_entropy", labels, &[samples, classes]);
    expect_shape(rec, "binary_cross_entropy", rows, &[samples]);
    expect_shape(rec, "binary_cross_entropy", of_classes, &[classes]);
    let dlogits = rec.transient("d logits", &[samples, classes]);
    let partial = rec.transient("loss sums", &[samples]);
    let share = f64::from(scale) / classes as f64;
    let gradient = rec.scaled_gradient(share);
    let flops = 12.0 * (samples * classes) as f64;
    let inputs = [logits, labels, rows, of_classes];
    rec.node("binary_cross_entropy", &inputs, &[dlogits, scalars], flops, move |h| {
        for (i, (z, t)) in h.inputs[0].iter().zip(h.inputs[1]).enumerate() {
            let weight = h.inputs[2][i / classes] * h.inputs[3][i % classes];
            let ignored = h.inputs[2][i / classes] == 0.0;
            h.outputs[0][i] = if ignored { 0.0 } else { gradient * weight * (1.0 / (1.0 + (-z).exp()) - t) };
            let entropy = z.max(0.0) - z * t + (-z.abs()).exp().ln_1p();
            h.outputs[1][slot] += if ignored { 0.0 } else { share * weight * entropy };
        }
    });
    let dispatch = rec.dispatch("binary_cross_entropy", "rows").bind("logits", logits).bind("labels", labels);
    dispatch
        .bind("row_weights", rows)
        .bind("class_weights", of_classes)
        .bind("dlogits", dlogits)
        .bind("partial", partial)
        .u32("samples", samples)
        .u32("classes", classes)
        .f32("gradient", gradient as f32)
        .groups(grid(samples.div_ceil(64)));
    let lanes = rec.caps().list_lanes();
    let dispatch = rec.dispatch("binary_cross_entropy", "total").bind("partial", partial).bind("scalars", scalars);
    let dispatch = dispatch.u32("samples", samples).u32("slot", slot).f32("scale", share as f32);
    dispatch.constant("LANES", lanes).groups([1; 3]);
    rec.add_grad(logits, dlogits);
}

/// Test cases: every third row is ignored, logits also where an exponential would overflow.
pub fn cases() -> Vec<Case> {
    let case = |samples: usize, classes: usize, steep: f64| {
        Case::root(format!("binary_cross_entropy {samples}x{classes}, logits x {steep}"), move |rig| {
            let values = |shift: usize| move |i: usize| f64::from(((i * 7 + shift) % 11) as f32 / 11.0);
            let logits: Vec<f64> = (0..samples * classes).map(|i| steep * (values(3)(i) - 0.5)).collect();
            let logits = logits.iter().map(|v| f64::from(*v as f32)).collect();
            let logits = rig.input_with("logits", &[samples, classes], logits);
            rig.rec.require_grad(logits);
            let labels = rig.input_with("labels", &[samples, classes], (0..samples * classes).map(values(0)).collect());
            let ignored = |row: usize| if row % 3 == 2 { 0.0 } else { 1.0 };
            let rows = rig.input_with("rows", &[samples], (0..samples).map(ignored).collect());
            let of_classes = rig.input_with("classes", &[classes], (0..classes).map(|k| 0.5 + k as f64).collect());
            let scalars = rig.rec.input("scalars", &[1], Dtype::F32);
            let weights = Weights { rows, classes: of_classes, scale: 1.0, scalars, slot: 0 };
            forward(&mut rig.rec, logits, labels, weights);
            scalars
        })
    };
    vec![case(1, 1, 2.0), case(7, 5, 4.0), case(70, 80, 6.0), case(5, 3, 300.0)]
}
