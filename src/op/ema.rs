//! Averaged weights, as timm's `ModelEma`: `average = decay average + (1 - decay) weight` once a step, in place, one
//! dispatch an arena chunk; nothing is differentiated.

use super::check::Case;
use crate::gpu::{Dtype, Engine, ParamSet, Phase, Recorder, Region, Result, Tensor, grid};

/// The averages of a set's parameters.
#[derive(Debug, Clone)]
pub struct Average {
    /// One tensor a chunk of the set's weights.
    chunks: Vec<Tensor>,
    /// `(checkpoint name, shape, chunk, first element)` of every part of every parameter.
    parts: Vec<(String, Vec<usize>, usize, usize)>,
}

/// Records the update of a set's averages after that of its weights; closes the set.
pub fn record(rec: &mut Recorder, set: ParamSet, decay: f64) -> Average {
    let share = (1.0 - decay) as f32;
    let weights: Vec<Tensor> = rec.chunks(set).iter().map(|c| c[0]).collect();
    let average = |(index, &weight): (usize, &Tensor)| {
        let len = rec.len(weight);
        let average = rec.input(format!("average[{index}]"), &[len], Dtype::F32);
        rec.node("ema", &[weight], &[average], 2.0 * len as f64, move |h| {
            for (average, weight) in h.outputs[0].iter_mut().zip(h.inputs[0]) {
                *average += f64::from(share) * (weight - *average);
            }
        });
        let dispatch = rec.dispatch("ema", "update").bind("weight", weight).bind("average", average);
        // Arenas are padded to more than fours.
        dispatch.u32("len", len / 4).f32("share", share).groups(grid((len / 4).div_ceil(64)));
        average
    };
    let chunks = weights.iter().enumerate().map(average).collect();
    let mut parts = Vec::new();
    for param in rec.params(set) {
        let (chunk, offset) = rec.placement(param);
        parts.extend(
            param.parts.iter().map(|(name, shape, first)| (name.clone(), shape.clone(), chunk, offset + first)),
        );
    }
    Average { chunks, parts }
}

impl Average {
    /// The average of every part of every parameter.
    ///
    /// # Errors
    /// The averages have no memory.
    pub fn regions(&self, engine: &Engine) -> Result<Vec<Region>> {
        let region = |(name, shape, chunk, first): &(String, Vec<usize>, usize, usize)| {
            engine.region(self.chunks[*chunk], name, shape, *first)
        };
        self.parts.iter().map(region).collect()
    }
}

/// Test cases: averages that start at some values of their own.
pub fn cases() -> Vec<Case> {
    vec![Case::new("ema of 7x33, 1, 197", |rig| {
        rig.param("a", &[7, 33]);
        rig.param("b", &[1]);
        rig.param("c", &[197]);
        rig.rec.set_phase(Phase::Update);
        let set = rig.set();
        record(&mut rig.rec, set, 0.9).chunks[0]
    })]
}
