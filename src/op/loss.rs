//! The masked loss: mean over all masked tokens and channels of a distance between prediction and target.
//!
//! SmoothL1 (beta 1): `d^2 / 2` where `|d| < 1`, else `|d| - 1/2`, gradient `clamp(d, -1, 1)`; L1: `|d|`, `sign(d)`;
//! L2: `d^2`, `2 d`. The target's masked rows are gathered inside. The loss is the root of the tape: its gradient is
//! written with it.

use super::check::Case;
use super::{by_fours, expect_shape};
use crate::gpu::{Dtype, Recorder, Tensor, grid};

/// Kind of distance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum)]
pub enum LossKind {
    /// Huber's loss with beta 1.
    #[value(name = "smooth-l1")]
    SmoothL1,
    /// Absolute difference.
    #[value(name = "l1")]
    L1,
    /// Squared difference.
    #[value(name = "l2")]
    L2,
}

impl LossKind {
    fn value(self, d: f64) -> f64 {
        match self {
            LossKind::SmoothL1 if d.abs() < 1.0 => 0.5 * d * d,
            LossKind::SmoothL1 => d.abs() - 0.5,
            LossKind::L1 => d.abs(),
            LossKind::L2 => d * d,
        }
    }

    fn slope(self, d: f64) -> f64 {
        match self {
            LossKind::SmoothL1 => d.clamp(-1.0, 1.0),
            LossKind::L1 if d == 0.0 => 0.0,
            LossKind::L1 => d.signum(),
            LossKind::L2 => 2.0 * d,
        }
    }
}

/// Where the loss goes and what it weighs.
#[derive(Debug, Clone, Copy)]
pub struct LossArgs {
    /// Kind of distance.
    pub kind: LossKind,
    /// Factor of the gradient alone; the loss is reported without it.
    pub weight: f32,
    /// Factor of both: 1 over the number of micro-batches.
    pub scale: f32,
    /// Tensor that the loss is added to (`+=`).
    pub scalars: Tensor,
    /// Element of `scalars`.
    pub slot: usize,
}

/// Elements that an invocation goes through, at least, or a workgroup of those that take four at a time.
const CHUNK: [usize; 2] = [256, 1024];

/// Adds the loss to its slot and gives `prediction (B, M, D)` its gradient; `target (B, N, D)`, `masked (B, M)`.
pub fn forward(rec: &mut Recorder, prediction: Tensor, target: Tensor, masked: Tensor, args: LossArgs) {
    let [samples, count, channels] = *rec.shape(prediction) else { panic!("loss: prediction must be (B, M, D)") };
    let [_, tokens, _] = *rec.shape(target) else { panic!("loss: target must be (B, N, D)") };
    expect_shape(rec, "loss", target, &[samples, tokens, channels]);
    expect_shape(rec, "loss", masked, &[samples, count]);
    let len = samples * count * channels;
    let wide = by_fours(rec, channels);
    let chunks = len.div_ceil(CHUNK[usize::from(wide)]).min(4096);
    let LossArgs { kind, weight, scale, scalars, slot } = args;
    let mean = f64::from(scale) / len as f64;
    let gradient = rec.scaled_gradient(mean * f64::from(weight));
    let dprediction = rec.transient("d prediction", &[samples, count, channels]);
    let partial = rec.transient("loss sums", &[chunks]);
    let nodes = [prediction, target, masked];
    rec.node("loss", &nodes, &[dprediction, scalars], 4.0 * len as f64, move |h| {
        for (i, p) in h.inputs[0].iter().enumerate() {
            let row = i / channels;
            let token = row / count * tokens + h.inputs[2][row] as usize;
            let d = p - h.inputs[1][token * channels + i % channels];
            h.outputs[0][i] = gradient * kind.slope(d);
            h.outputs[1][slot] += mean * kind.value(d);
        }
    });
    let ([entry, prediction_name, expected_name, dprediction_name], each, groups) = if wide {
        (["chunks_wide", "prediction_wide", "expected_wide", "dprediction_wide"], 4, chunks)
    } else {
        (["chunks", "prediction", "expected", "dprediction"], 1, chunks.div_ceil(64))
    };
    let dispatch = rec.dispatch("loss", entry).bind(prediction_name, prediction).bind(expected_name, target);
    dispatch
        .bind("index", masked)
        .bind(dprediction_name, dprediction)
        .bind("partial", partial)
        .u32("samples", samples)
        .u32("masked", count)
        .u32("tokens", tokens)
        .u32("channels", channels / each)
        .u32("chunks", chunks)
        .u32("kind", kind as usize)
        .f32("gradient", gradient as f32)
        .groups(grid(groups));
    let lanes = rec.caps().list_lanes();
    let dispatch = rec.dispatch("loss", "total").bind("partial", partial).bind("scalars", scalars);
    let dispatch = dispatch.u32("chunks", chunks).u32("slot", slot).f32("scale", mean as f32);
    dispatch.constant("LANES", lanes).groups([1; 3]);
    rec.add_grad(prediction, dprediction);
}

/// Test cases; the seed of the check is 1 at the loss's slot, so weight and scale stay 1 where differences are taken.
pub fn cases() -> Vec<Case> {
    let case = |kind: LossKind, shape: [usize; 3], tokens: usize| {
        Case::root(format!("loss {kind:?} {shape:?} of {tokens} tokens"), move |rig| {
            let prediction = rig.leaf("prediction", &shape);
            let values: Vec<f64> = (0..shape[0] * tokens * shape[2]).map(|i| (i as f64 * 0.7).sin() * 2.0).collect();
            let values = values.iter().map(|&v| f64::from(v as f32)).collect();
            let target = rig.input_with("target", &[shape[0], tokens, shape[2]], values);
            let picks: Vec<u32> = (0..shape[0] * shape[1]).map(|i| (i * 3 % tokens) as u32).collect();
            let masked = rig.index("masked", &shape[..2], &picks);
            let scalars = rig.rec.input("scalars", &[1], Dtype::F32);
            let args = LossArgs { kind, weight: 1.0, scale: 1.0, scalars, slot: 0 };
            forward(&mut rig.rec, prediction, target, masked, args);
            scalars
        })
    };
    vec![
        case(LossKind::SmoothL1, [2, 7, 33], 9),
        case(LossKind::L1, [1, 1, 1], 1),
        case(LossKind::L2, [3, 5, 64], 197),
        case(LossKind::SmoothL1, [1, 33, 48], 33),
        case(LossKind::L1, [2, 9, 260], 11),
        case(LossKind::L2, [1, 3, 4], 3),
    ]
}
