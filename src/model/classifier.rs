//! The classifier: the student's encoder without its final norm, mean over tokens, norm, dropout, head.

use super::arch::{Grid, Vit};
use super::block::{DropPath, DropPaths};
use super::encoder::{Encoder, Family, Seen};
use super::params::Params;
use super::step::{LossTerm, Pixels, Step, finish};
use crate::gpu::{Dtype, Phase, Recorder, Tensor};
use crate::op::layer_norm::Norm;
use crate::op::linear::{self, Linear};
use crate::op::patch::Cut;
use crate::op::{cross_entropy, dropout, layer_norm, pool, rows, scalars};
use crate::weights::{Init, Result};

/// How a clip's tokens become the one vector that the head reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// The mean over tokens, then `fc_norm`.
    Mean,
    /// The mean over tokens without the class token, then `norm`: ST-MAE's.
    MeanNorm,
    /// The first token after `norm`: `use_mean_pooling: false` of `transformers`.
    First,
}

impl Pooling {
    /// As a family's own program has it.
    pub fn of(family: Family) -> Pooling {
        if family == Family::StMae { Pooling::MeanNorm } else { Pooling::Mean }
    }

    /// The name of the norm before the head.
    pub fn norm(self) -> &'static str {
        if self == Pooling::Mean { "fc_norm" } else { "norm" }
    }

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Pooling::Mean => "mean over tokens, then fc_norm",
            Pooling::MeanNorm => "mean over tokens without the class token, then norm",
            Pooling::First => "first token after norm",
        }
    }
}

/// Everything that fixes a classifier's shapes.
#[derive(Debug, Clone)]
pub struct ClassifierArch {
    /// `Mvd`, or `VideoMae` or `StMae` for classifiers fine-tuned by their programs.
    pub family: Family,
    /// The encoder.
    pub encoder: Vit,
    /// How clips are cut.
    pub grid: Grid,
    /// Classes K.
    pub classes: usize,
    /// Samples B of a micro-batch.
    pub batch: usize,
    /// Micro-batches of a step.
    pub accumulate: usize,
    /// Stochastic depth of the last block.
    pub drop_path: f64,
    /// Share of pooled channels that training drops before the head.
    pub head_dropout: f64,
    /// Factor of the head's initial weights.
    pub init_scale: f64,
    /// Decay of an average of the weights over steps; 0: none is kept.
    pub ema: f64,
    /// What the head's norm adds to the variance: 1e-6, but 1e-5 in `transformers`.
    pub eps: f32,
    /// What the blocks' norms add.
    pub block_eps: f32,
    /// What the head reads.
    pub pooling: Pooling,
    /// How clips are given.
    pub pixels: Pixels,
}

struct Classifier {
    encoder: Encoder,
    /// `fc_norm`, or the encoder's own `norm`, see [`Pooling`].
    norm: Norm,
    head: Linear,
}

/// A recorded forward pass.
pub struct Forward {
    /// The parameters, frozen.
    pub params: Params,
    /// The clips, see [`Pixels`].
    pub frames: Tensor,
    /// Mean over tokens before norm and head, (B, C).
    pub pooled: Tensor,
    /// Class scores (B, K) before the softmax.
    pub logits: Tensor,
}

impl Classifier {
    fn declare(rec: &mut Recorder, params: &mut Params, arch: &ClassifierArch) -> Self {
        let dim = arch.encoder.dim;
        let init = Init::Normal { std: (0.02 * arch.init_scale) as f32 };
        Classifier {
            encoder: Encoder::declare(rec, params, "", arch.family, &arch.encoder, &arch.grid),
            norm: Norm { eps: arch.eps, ..params.norm(rec, arch.pooling.norm(), dim) },
            head: Linear::new(
                params.tensor(rec, "head.weight", &[arch.classes, dim], init),
                Some(params.tensor(rec, "head.bias", &[arch.classes], Init::Zeros)),
            ),
        }
    }

    /// `(pooled (B, C), logits (B, K))`; the head's dropout, if any, joins `drops`.
    fn forward(
        &self,
        rec: &mut Recorder,
        frames: Tensor,
        arch: &ClassifierArch,
        rates: (f64, f64),
        drops: &mut DropPaths,
    ) -> Result<(Tensor, Tensor)> {
        let (drop_path, head_dropout) = rates;
        let cut = Cut { colours: arch.family.colours(), ..arch.grid.cut() };
        let patches = arch.pixels.cut(rec, frames, None, cut);
        let tokens = arch.grid.len();
        let seen = Seen::all(rec, arch.batch, tokens);
        let x = self.encoder.forward(rec, patches, seen, drop_path, drops)?;
        let class = arch.family.class_tokens();
        let x = if class > 0 { rows::slice(rec, x, class, tokens) } else { x };
        let pooled = pool::forward(rec, x);
        let read = match arch.pooling {
            Pooling::Mean | Pooling::MeanNorm => pooled,
            Pooling::First => {
                let first = rows::slice(rec, x, 0, 1);
                rec.reshape(first, &[arch.batch, arch.encoder.dim])
            }
        };
        let x = layer_norm::forward(rec, read, &self.norm);
        let x = if head_dropout > 0.0 {
            let scale = rec.input("head dropout", &[arch.batch, arch.encoder.dim], Dtype::F32);
            drops.0.push(DropPath { rate: head_dropout, scale });
            dropout::forward(rec, x, scale)
        } else {
            x
        };
        Ok((pooled, linear::forward(rec, x, &self.head)))
    }
}

impl ClassifierArch {
    /// A classifier of which nothing is dropped, averaged or accumulated, of clips given as bytes.
    pub fn plain(family: Family, encoder: Vit, grid: Grid, classes: usize, batch: usize) -> Self {
        ClassifierArch {
            family,
            encoder,
            grid,
            classes,
            batch,
            accumulate: 1,
            drop_path: 0.0,
            head_dropout: 0.0,
            init_scale: 1.0,
            ema: 0.0,
            eps: layer_norm::EPS,
            block_eps: layer_norm::EPS,
            pooling: Pooling::of(family),
            pixels: Pixels::Bytes,
        }
    }

    fn params(&self, rec: &mut Recorder, trainable: bool) -> Params {
        let params = Params::new(rec, "classifier", trainable);
        params.with_linear(Init::Normal { std: 0.02 }).with_eps(self.block_eps)
    }

    /// Records forward and backward of a micro-batch and the update; `group` as for [`finish`].
    ///
    /// # Errors
    /// A width that the position table cannot be split for.
    pub fn record(&self, rec: &mut Recorder, group: impl Fn(&str, &[usize]) -> (f32, bool)) -> Result<Step> {
        rec.set_phase(Phase::Micro);
        rec.set_micro_batches(self.accumulate);
        let frames = self.pixels.input(rec, self.batch, &self.grid);
        let labels = rec.input("labels", &[self.batch, self.classes], Dtype::F32);
        let scalars = scalars::declare(rec);
        let mut params = self.params(rec, true);
        let net = Classifier::declare(rec, &mut params, self);
        let mut drops = DropPaths::default();
        let (_, logits) = net.forward(rec, frames, self, (self.drop_path, self.head_dropout), &mut drops)?;
        cross_entropy::forward(rec, logits, labels, 1.0 / self.accumulate as f32, scalars, scalars::LOSS);
        let average = finish(rec, &params, scalars, self.ema, group);
        Ok(Step {
            params,
            frozen: Vec::new(),
            average,
            frames,
            image_frames: None,
            masking: None,
            labels: Some(labels),
            drops: drops.0,
            scalars,
            losses: vec![LossTerm { name: "class", slot: scalars::LOSS, weight: 1.0 }],
            outputs: vec![("logits", logits)],
        })
    }

    /// Records the forward pass alone, without dropout.
    ///
    /// # Errors
    /// A width that the position table cannot be split for.
    pub fn record_forward(&self, rec: &mut Recorder) -> Result<Forward> {
        rec.set_phase(Phase::Micro);
        let frames = self.pixels.input(rec, self.batch, &self.grid);
        let mut params = self.params(rec, false);
        let net = Classifier::declare(rec, &mut params, self);
        let (pooled, logits) = net.forward(rec, frames, self, (0.0, 0.0), &mut DropPaths::default())?;
        rec.keep(pooled);
        rec.keep(logits);
        Ok(Forward { params, frames, pooled, logits })
    }
}
