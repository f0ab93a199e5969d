//! What every recorded training step has in common, whatever it learns.

use super::arch::Grid;
use super::block::DropPath;
use super::encoder::Seen;
use super::params::Params;
use crate::gpu::{self, Dtype, Engine, Phase, Recorder, Tensor};
use crate::op::ema::{self, Average};
use crate::op::patch::{self, Cut};
use crate::op::{adamw, grad_norm};

/// How clips reach the GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pixels {
    /// `frames (B, T, H, W, 3)` in bytes, normalised on the GPU by the colours of a cut.
    Bytes,
    /// `frames (B, 3, T, H, W)` in f32, normalised already.
    Normalized,
}

impl Pixels {
    /// The input of a batch of clips.
    pub fn input(self, rec: &mut Recorder, batch: usize, grid: &Grid) -> Tensor {
        let Grid { frames, size, .. } = *grid;
        match self {
            Pixels::Bytes => rec.input("frames", &[batch, frames, size, size, 3], Dtype::U8),
            Pixels::Normalized => rec.input("frames", &[batch, 3, frames, size, size], Dtype::F32),
        }
    }

    /// Patches (B V, P) of the tokens that `index` (B, V) picks, or of all.
    pub fn cut(self, rec: &mut Recorder, frames: Tensor, index: Option<Tensor>, cut: Cut) -> Tensor {
        match self {
            Pixels::Bytes => patch::from_bytes(rec, frames, index, cut),
            Pixels::Normalized => patch::from_normalized(rec, frames, index, cut),
        }
    }
}

/// Which tokens are visible and which are masked, both in (t, h, w) order.
#[derive(Debug, Clone, Copy)]
pub struct Masking {
    /// Samples B.
    samples: usize,
    /// (B, V) token indices.
    pub visible: Tensor,
    /// (B, M) token indices.
    pub masked: Tensor,
    /// (B, V + M): the visible indices, then the masked ones.
    pub order: Tensor,
    /// (B, N): where each token is in that order; of models that learn their positions.
    pub place: Option<Tensor>,
}

impl Masking {
    /// The inputs of a batch.
    pub fn declare(rec: &mut Recorder, batch: usize, tokens: usize, masked: usize) -> Masking {
        Masking {
            samples: batch,
            visible: rec.input("visible", &[batch, tokens - masked], Dtype::U32),
            masked: rec.input("masked", &[batch, masked], Dtype::U32),
            order: rec.input("token order", &[batch, tokens], Dtype::U32),
            place: None,
        }
    }

    /// The same with the inverse of the order as a further input.
    pub fn with_places(self, rec: &mut Recorder) -> Masking {
        let shape = rec.shape(self.order).to_vec();
        Masking { place: Some(rec.input("token places", &shape, Dtype::U32)), ..self }
    }

    /// What an encoder of the visible tokens sees.
    pub fn seen(&self) -> Seen {
        Seen { index: self.visible, place: self.place }
    }

    /// Writes a batch's visible (B, V) and masked (B, M) tokens, and the order of both.
    ///
    /// # Errors
    /// Lists of another length than was declared.
    pub fn write(&self, engine: &Engine, visible: &[u32], masked: &[u32]) -> gpu::Result<()> {
        let Masking { samples, .. } = *self;
        let rows = visible.chunks(visible.len() / samples).zip(masked.chunks(masked.len() / samples));
        let order: Vec<u32> = rows.flat_map(|(v, m)| v.iter().chain(m).copied()).collect();
        engine.write(self.visible, visible)?;
        engine.write(self.masked, masked)?;
        if let Some(place) = self.place {
            let mut places = vec![0; order.len()];
            let tokens = order.len() / samples;
            for (order, places) in order.chunks(tokens).zip(places.chunks_mut(tokens)) {
                order.iter().enumerate().for_each(|(row, token)| places[*token as usize] = row as u32);
            }
            engine.write(place, &places)?;
        }
        engine.write(self.order, &order)
    }
}

/// One term of the loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossTerm {
    /// Its name in logs.
    pub name: &'static str,
    /// Its element of the scalars.
    pub slot: usize,
    /// Its weight in the sum.
    pub weight: f32,
}

/// A frozen model inside a step.
pub struct Frozen {
    /// `image_teacher` or `video_teacher`.
    pub name: &'static str,
    /// Its parameters.
    pub params: Params,
}

/// Handles of a recorded step: what to feed, what to read back.
pub struct Step {
    /// The parameters that learn.
    pub params: Params,
    /// Models that do not.
    pub frozen: Vec<Frozen>,
    /// Averages of the parameters that learn, where they are kept.
    pub average: Option<Average>,
    /// The clips, see [`Pixels`].
    pub frames: Tensor,
    /// An image teacher's own frames `(B, T / tubelet, h, w, 3)`, where it takes another size.
    pub image_frames: Option<Tensor>,
    /// Token indices, where tokens are masked.
    pub masking: Option<Masking>,
    /// Soft labels (B, K), where classes are learned.
    pub labels: Option<Tensor>,
    /// Stochastic depth and dropout.
    pub drops: Vec<DropPath>,
    /// Losses, gradient norm and canary, see `op::scalars`.
    pub scalars: Tensor,
    /// The terms of the loss.
    pub losses: Vec<LossTerm>,
    /// Named intermediate results, for checks.
    pub outputs: Vec<(&'static str, Tensor)>,
}

/// Ends a recording: the backward pass, the clearing of what micro-batches accumulate, gradient norm, AdamW, and, over a
/// `decay` of 0, averages of the weights.
///
/// `group` gives a parameter's (name, shape) factor of the learning rate and whether weight decay applies.
pub fn finish(
    rec: &mut Recorder,
    params: &Params,
    scalars: Tensor,
    decay: f64,
    group: impl Fn(&str, &[usize]) -> (f32, bool),
) -> Option<Average> {
    rec.backward();
    rec.set_phase(Phase::Begin);
    rec.clear(scalars);
    for [_, grad, _, _] in rec.chunks(params.set) {
        rec.clear(grad);
    }
    rec.set_phase(Phase::Update);
    grad_norm::record(rec, params.set, scalars);
    adamw::record(rec, params.set, scalars, group);
    let average = (decay > 0.0).then(|| ema::record(rec, params.set, decay));
    adamw::canary(rec, scalars);
    rec.keep(scalars);
    average
}
