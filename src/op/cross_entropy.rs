//! Cross entropy against soft labels: `loss = mean_b sum_k -labels[b, k] log softmax(logits[b])[k]`,
//! `dlogits = (softmax(logits) sum_k labels - labels) / B`; logits, labels (B, K).
//!
//! Labels are a distribution over classes: one-hot, smoothed, or mixed. The loss is the root of the tape.

use super::check::Case;
use super::expect_shape;
use crate::gpu::{Dtype, Recorder, Tensor, grid};

/// Adds `scale` times the loss to element `slot` of `scalars` and gives `logits` its gradient.
pub fn forward(rec: &mut Recorder, logits: Tensor, labels: Tensor, scale: f32, scalars: Tensor, slot: usize) {
    let [samples, classes] = *rec.shape(logits) else { panic!("cross_entropy: logits must be (B, K)") };
    expect_shape(rec, "cross_entropy", labels, &[samples, classes]);
    let dlogits = rec.transient("d logits", &[samples, classes]);
    let partial = rec.transient("loss sums", &[samples]);
    let share = f64::from(scale) / samples as f64;
    let gradient = rec.scaled_gradient(share);
    let flops = 8.0 * (samples * classes) as f64;
    rec.node("cross_entropy", &[logits, labels], &[dlogits, scalars], flops, move |h| {
        for row in 0..samples {
            let range = row * classes..(row + 1) * classes;
            let (z, t) = (&h.inputs[0][range.clone()], &h.inputs[1][range.clone()]);
            let most = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let shift = most + z.iter().map(|z| (z - most).exp()).sum::<f64>().ln();
            let mass: f64 = t.iter().sum();
            for (k, at) in range.enumerate() {
                h.outputs[0][at] = gradient * (mass * (z[k] - shift).exp() - t[k]);
                h.outputs[1][slot] -= share * t[k] * (z[k] - shift);
            }
        }
    });
    let (lanes, list_lanes) = (rec.caps().row_lanes(), rec.caps().list_lanes());
    let dispatch = rec.dispatch("cross_entropy", "rows").bind("logits", logits).bind("labels", labels);
    dispatch
        .bind("dlogits", dlogits)
        .bind("partial", partial)
        .u32("samples", samples)
        .u32("classes", classes)
        .f32("gradient", gradient as f32)
        .constant("LANES", lanes)
        .groups(grid((samples * lanes as usize).div_ceil(64)));
    let dispatch = rec.dispatch("cross_entropy", "total").bind("partial", partial).bind("scalars", scalars);
    let dispatch = dispatch.u32("samples", samples).u32("slot", slot).f32("scale", share as f32);
    dispatch.constant("LANES", list_lanes).groups([1; 3]);
    rec.add_grad(logits, dlogits);
}

/// Test cases.
pub fn cases() -> Vec<Case> {
    let case = |samples: usize, classes: usize| {
        Case::root(format!("cross_entropy {samples}x{classes}"), move |rig| {
            let logits = rig.leaf("logits", &[samples, classes]);
            let values = (0..samples * classes).map(|i| f64::from(((i * 7 % 11) as f32) / 11.0)).collect();
            let labels = rig.input_with("labels", &[samples, classes], values);
            let scalars = rig.rec.input("scalars", &[1], Dtype::F32);
            forward(&mut rig.rec, logits, labels, 1.0, scalars, 0);
            scalars
        })
    };
    vec![case(1, 2), case(7, 33), case(70, 400)]
}
