//! AdamW with decoupled weight decay, one dispatch an arena chunk.
//!
//! With `g` the clipped gradient: `m = b1 m + (1 - b1) g`, `v = b2 v + (1 - b2) g^2`,
//! `p = p (1 - lr wd) - lr (m / c1) / (sqrt(v / c2) + eps)`, `c = 1 - b^t`. Learning rate and decay are scaled a
//! parameter by a table with an entry for every 64 words, to which parameters are aligned.

use super::check::Case;
use super::scalars;
use crate::gpu::{ALIGN_WORDS, HostNode, ParamSet, Phase, Recorder, Tensor, grid};

/// Records the update of a set; `rule` gives a parameter's (name, shape) its lr scale and
/// whether it decays.
pub fn record(rec: &mut Recorder, set: ParamSet, scalars: Tensor, rule: impl Fn(&str, &[usize]) -> (f32, bool)) {
    let chunks = rec.chunks(set);
    let mut tables: Vec<Vec<f32>> = chunks.iter().map(|c| vec![0.0; rec.len(c[0]) / ALIGN_WORDS * 2]).collect();
    for param in rec.params(set) {
        let (chunk, offset) = rec.placement(param);
        let Some((name, shape, _)) = param.parts.first() else { continue };
        let (lr, decays) = rule(name, shape);
        let first = offset / ALIGN_WORDS;
        let blocks = rec.len(param.weight).div_ceil(ALIGN_WORDS);
        for entry in tables[chunk][2 * first..2 * (first + blocks)].as_chunks_mut::<2>().0 {
            *entry = [lr, f32::from(u8::from(decays))];
        }
    }
    for ([weight, grad, moment1, moment2], table) in chunks.into_iter().zip(tables) {
        let len = rec.len(weight);
        let table = rec.constant_f32("adamw groups", &[table.len() / 2, 2], &table);
        let inputs = [grad, table, scalars];
        rec.node("adamw", &inputs, &[weight, moment1, moment2], 14.0 * len as f64, twin);
        rec.dispatch("adamw", "update")
            .bind("weight", weight)
            .bind("grad", grad)
            .bind("moment1", moment1)
            .bind("moment2", moment2)
            .bind("groups_of", table)
            .bind("scalars", scalars)
            .u32("len", len)
            .u32("clip_slot", scalars::CLIP_SCALE)
            .groups(grid(len.div_ceil(4 * 64)));
    }
}

/// Records the step's canary, to be its last dispatch.
pub fn canary(rec: &mut Recorder, scalars: Tensor) {
    rec.node("canary", &[], &[scalars], 0.0, |h| h.outputs[0][scalars::CANARY] = f64::from(h.step.step));
    rec.dispatch("adamw", "canary").bind("written", scalars).u32("canary_slot", scalars::CANARY).groups([1; 3]);
}

fn twin(h: &mut HostNode<'_>) {
    let s = h.step;
    let [lr, decay, b1, b2, eps, c1, c2] =
        [s.lr, s.weight_decay, s.beta1, s.beta2, s.eps, s.correction1, s.correction2].map(f64::from);
    let clip = h.inputs[2][scalars::CLIP_SCALE];
    for i in 0..h.inputs[0].len() {
        let g = h.inputs[0][i] * clip;
        let block = i / ALIGN_WORDS;
        let (lr, decays) = (lr * h.inputs[1][2 * block], h.inputs[1][2 * block + 1]);
        let m = b1 * h.outputs[1][i] + (1.0 - b1) * g;
        let v = b2 * h.outputs[2][i] + (1.0 - b2) * g * g;
        h.outputs[1][i] = m;
        h.outputs[2][i] = v;
        h.outputs[0][i] = h.outputs[0][i] * (1.0 - lr * decay * decays) - lr * (m / c1) / ((v / c2).sqrt() + eps);
    }
}

/// Test cases: norm, clipping and update over parameters of odd sizes, with two groups; and the norm of more than a workgroup sums.
pub fn cases() -> Vec<Case> {
    let case = |name: &str, first: [usize; 2]| {
        Case::new(format!("grad_norm and adamw over {name}, 1, 197"), move |rig| {
            rig.param("a", &first);
            rig.param("b", &[1]);
            rig.param("c", &[197]);
            let scalars = scalars::declare(&mut rig.rec);
            rig.rec.keep(scalars);
            rig.rec.set_phase(Phase::Update);
            let set = rig.set();
            super::grad_norm::record(&mut rig.rec, set, scalars);
            record(&mut rig.rec, set, scalars, |name, shape| (if name == "c" { 0.5 } else { 1.0 }, shape.len() > 1));
            canary(&mut rig.rec, scalars);
            scalars
        })
    };
    vec![case("7x33", [7, 33]), case("33x197", [33, 197])]
}
