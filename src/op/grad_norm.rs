//! The norm of all gradients of a set, always reported, and the factor that AdamW multiplies them by:
//! `min(1, clip / (norm + 1e-6))` where clipping is on, else 1, and without the losses' scale.

use super::scalars;
use crate::gpu::{ParamSet, Recorder, Tensor, grid};

/// Elements that one workgroup goes through, at least.
const CHUNK: usize = 2048;
/// Sums that the first pass leaves of a chunk of the arena, at most.
const SUMS: usize = 4096;

/// Writes norm and clip factor of the set's gradients to `scalars`.
pub fn record(rec: &mut Recorder, set: ParamSet, scalars: Tensor) {
    let grads: Vec<Tensor> = rec.chunks(set).iter().map(|c| c[1]).collect();
    let (lanes, list_lanes) = (rec.caps().row_lanes(), rec.caps().list_lanes());
    let sums_each = 64 / lanes as usize;
    let groups = |rec: &Recorder, grad| rec.len(grad).div_ceil(CHUNK).min(SUMS / sums_each);
    let total: usize = grads.iter().map(|&grad| groups(rec, grad) * sums_each).sum();
    let partial = rec.transient("squares of gradients", &[total]);
    let len: usize = grads.iter().map(|&g| rec.len(g)).sum();
    let unscale = 1.0 / rec.loss_scale();
    rec.node("grad_norm", &grads, &[scalars], 2.0 * len as f64, move |h| {
        let norm = unscale * h.inputs.iter().flat_map(|g| g.iter()).map(|g| g * g).sum::<f64>().sqrt();
        let clip = f64::from(h.step.clip);
        h.outputs[0][scalars::GRAD_NORM] = norm;
        let factor = if clip > 0.0 { (clip / (norm + 1e-6)).min(1.0) } else { 1.0 };
        h.outputs[0][scalars::CLIP_SCALE] = unscale * factor;
    });
    let mut first = 0;
    for &grad in &grads {
        // Arenas are padded to more than fours.
        let (len, groups) = (rec.len(grad) / 4, groups(rec, grad));
        let dispatch = rec.dispatch("grad_norm", "squares").bind("grad", grad).bind("partial", partial);
        let dispatch = dispatch.u32("len", len).u32("groups", groups).u32("first", first);
        dispatch.constant("LANES", lanes).groups(grid(groups));
        first += groups * sums_each;
    }
    rec.dispatch("grad_norm", "total")
        .bind("partial", partial)
        .bind("scalars", scalars)
        .u32("total", total)
        .f32("unscale", unscale as f32)
        .u32("norm_slot", scalars::GRAD_NORM)
        .u32("clip_slot", scalars::CLIP_SCALE)
        .constant("LANES", list_lanes)
        .groups([1; 3]);
}
