//! Targets of pixel reconstruction: a patch's pixels, normalised over the patch, in the order (t, y, x, colour).
//!
//! From patches x (R, 3 n), n pixels a colour, as `op::patch` cuts them: channel first, normalised. Unbiased variance.
//! No gradient: targets are inputs.
//! - Per colour (VideoMAE): of pixels in [0, 1], which ImageNet's colours normalised,
//!   `(x - mean) / (sqrt(var) + 1e-6)` over the n values of one colour.
//! - Whole (MAE, ST-MAE): of the normalised pixels, `(x - mean) / sqrt(var + 1e-6)` over all 3 n values.

use super::by_fours;
use super::check::Case;
use super::patch::Colours;
use crate::gpu::{Recorder, Tensor, grid};

/// What a patch is normalised over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Normalise {
    /// Each colour for itself, as VideoMAE.
    PerColour,
    /// All values of the patch, as MAE.
    Whole,
}

const EPS: f64 = 1e-6;
/// Pixels a colour that a workgroup of `patch_target_wide.wgsl` keeps in registers: `256 MOST` there.
const MOST_WIDE: usize = 1024;

fn moments(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let n = values.clone().count() as f64;
    let mean = values.clone().sum::<f64>() / n;
    (mean, values.map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0))
}

fn twin(x: &[f64], y: &mut [f64], pixels: usize, normalise: Normalise) {
    for (x, y) in x.chunks_exact(3 * pixels).zip(y.chunks_exact_mut(3 * pixels)) {
        let of_patch = moments(x.iter().copied());
        for (c, plane) in x.chunks_exact(pixels).enumerate() {
            let pixel = |v: f64| v * Colours::IMAGENET.deviation[c] + Colours::IMAGENET.mean[c];
            let (mean, variance) = moments(plane.iter().map(|v| pixel(*v)));
            for (k, v) in plane.iter().enumerate() {
                y[3 * k + c] = match normalise {
                    Normalise::PerColour => (pixel(*v) - mean) / (variance.sqrt() + EPS),
                    Normalise::Whole => (v - of_patch.0) / (of_patch.1 + EPS).sqrt(),
                };
            }
        }
    }
}

/// The targets of patches x (R, 3 n), on the host.
pub fn of(x: &[f64], pixels: usize, normalise: Normalise) -> Vec<f64> {
    let mut y = vec![0.0; x.len()];
    twin(x, &mut y, pixels, normalise);
    y
}

/// `y (R, 3 n)` of patches x (R, 3 n), n at least 2.
pub fn forward(rec: &mut Recorder, x: Tensor, normalise: Normalise) -> Tensor {
    let (rows, pixels) = (rec.rows(x), rec.width(x) / 3);
    assert!(pixels > 1, "patch_target: a patch of {pixels} pixels has no variance");
    let y = rec.transient("pixel targets", &[rows, 3 * pixels]);
    rec.node("patch_target", &[x], &[y], 6.0 * (rows * 3 * pixels) as f64, move |h| {
        twin(h.inputs[0], &mut h.outputs[0], pixels, normalise);
    });
    if by_fours(rec, pixels) && pixels <= MOST_WIDE {
        let dispatch = rec.dispatch("patch_target_wide", "targets").bind("x", x).bind("y", y);
        let dispatch = dispatch.u32("rows", rows).u32("pixels", pixels);
        let dispatch = dispatch.constant("WHOLE", u32::from(normalise == Normalise::Whole));
        dispatch.constant("PARTS", pixels.div_ceil(256) as u32).groups(grid(rows));
        return y;
    }
    let (entry, invocations) = match normalise {
        Normalise::PerColour => ("per_colour", 3 * rows),
        Normalise::Whole => ("whole", rows),
    };
    let dispatch = rec.dispatch("patch_target", entry).bind("x", x).bind("y", y);
    dispatch.u32("rows", rows).u32("pixels", pixels).groups(grid(invocations.div_ceil(64)));
    y
}

/// Test cases.
pub fn cases() -> Vec<Case> {
    let case = |rows: usize, pixels: usize, normalise: Normalise| {
        Case::new(format!("patch_target {rows} rows of {pixels} pixels, {normalise:?}"), move |rig| {
            let x = rig.input("x", &[rows, 3 * pixels]);
            forward(&mut rig.rec, x, normalise)
        })
    };
    vec![
        case(7, 128, Normalise::PerColour),
        case(197, 7, Normalise::PerColour),
        case(7, 64, Normalise::Whole),
        case(70, 33, Normalise::Whole),
        case(3, 512, Normalise::PerColour),
        case(3, 512, Normalise::Whole),
        case(2, 1024, Normalise::PerColour),
        case(2, 1028, Normalise::Whole),
    ]
}
