//! Stage one: masked autoencoders that reconstruct the pixels of masked patches, MAE on images and VideoMAE on clips.

use super::arch::{Grid, Vit};
use super::block::{Block, DropPaths, declare_blocks, forward_blocks};
use super::encoder::{Encoder, Family, every};
use super::params::Params;
use super::step::{LossTerm, Masking, Pixels, Step, finish};
use crate::gpu::{Phase, Recorder, Tensor};
use crate::op::layer_norm::Norm;
use crate::op::linear::{self, Linear};
use crate::op::loss::{self, LossArgs, LossKind};
use crate::op::patch::Cut;
use crate::op::patch_target::{self, Normalise};
use crate::op::rows::{self, Parts};
use crate::op::{layer_norm, scalars};
use crate::weights::{Init, Result};

/// Everything that fixes the shapes of a stage-one step.
#[derive(Debug, Clone)]
pub struct PixelArch {
    /// `Mae`, on single images (one frame, tubelet 1), or `VideoMae`.
    pub family: Family,
    /// The encoder, which becomes a teacher.
    pub encoder: Vit,
    /// The decoder, which is thrown away.
    pub decoder: Vit,
    /// How clips are cut.
    pub grid: Grid,
    /// Samples B of a micro-batch.
    pub batch: usize,
    /// Masked tokens M of a sample.
    pub masked: usize,
    /// Micro-batches of a step.
    pub accumulate: usize,
    /// How clips are given.
    pub pixels: Pixels,
    /// Whether the encoder ends on a norm: false for `transformers` models with mean pooling.
    pub encoder_norm: bool,
    /// What the decoder's last norm adds to the variance: 1e-6, but 1e-5 in `transformers`.
    pub decoder_eps: f32,
}

/// The parameters' names.
struct Names {
    encoder: &'static str,
    norm: &'static str,
    embed: &'static str,
    blocks: &'static str,
    decoder_norm: &'static str,
    head: &'static str,
}

const MAE: Names = Names {
    encoder: "",
    norm: "norm",
    embed: "decoder_embed",
    blocks: "decoder_blocks",
    decoder_norm: "decoder_norm",
    head: "decoder_pred",
};

const VIDEO_MAE: Names = Names {
    encoder: "encoder.",
    norm: "encoder.norm",
    embed: "encoder_to_decoder",
    blocks: "decoder.blocks",
    decoder_norm: "decoder.norm",
    head: "decoder.head",
};

struct Autoencoder {
    encoder: Encoder,
    norm: Option<Norm>,
    embed: Linear,
    mask_token: Tensor,
    blocks: Vec<Block>,
    decoder_norm: Norm,
    head: Linear,
}

impl Autoencoder {
    fn declare(rec: &mut Recorder, params: &mut Params, arch: &PixelArch) -> Self {
        let PixelArch { family, encoder, decoder, grid, .. } = arch;
        let mae = *family == Family::Mae;
        let names = if mae { MAE } else { VIDEO_MAE };
        let init = if mae { Init::Normal { std: 0.02 } } else { Init::TruncNormal { std: 0.02 } };
        Autoencoder {
            encoder: Encoder::declare(rec, params, names.encoder, *family, encoder, grid),
            norm: arch.encoder_norm.then(|| params.norm(rec, names.norm, encoder.dim)),
            embed: params.linear(rec, names.embed, encoder.dim, decoder.dim, mae),
            mask_token: params.tensor(rec, "mask_token", &[1, 1, decoder.dim], init),
            blocks: declare_blocks(rec, params, names.blocks, decoder, family.bias()),
            decoder_norm: Norm { eps: arch.decoder_eps, ..params.norm(rec, names.decoder_norm, decoder.dim) },
            head: params.linear(rec, names.head, decoder.dim, grid.patch_len(), true),
        }
    }

    /// Predictions (B, M, P) from the visible patches (B V, P).
    fn forward(&self, rec: &mut Recorder, patches: Tensor, masking: &Masking, arch: &PixelArch) -> Result<Tensor> {
        let mut drops = DropPaths::default();
        let dim = arch.decoder.dim;
        let class = usize::from(arch.family == Family::Mae);
        let (visible, masked) = (rec.shape(masking.visible)[1], rec.shape(masking.masked)[1]);
        let x = self.encoder.forward(rec, patches, masking.visible, 0.0, &mut drops)?;
        let x = self.norm.map_or(x, |norm| layer_norm::forward(rec, x, &norm));
        let x = linear::forward(rec, x, &self.embed);
        let table = arch.family.positions(&arch.grid, dim)?;
        let table = rec.constant_f32("decoder positions", &[arch.grid.len(), dim], &table);
        // The class token's row of the table is zero: it joins after the positions.
        let cls = (class == 1).then(|| rows::slice(rec, x, 0, 1));
        let x = if class == 1 { rows::slice(rec, x, 1, visible) } else { x };
        let table = Some((table, masking.order));
        let parts = Parts { x, x_start: 0, token: self.mask_token, len: visible + masked, table };
        let x = rows::assemble(rec, &[parts]);
        let x = cls.map_or(x, |cls| rows::concat(rec, cls, x));
        let x = forward_blocks(rec, &self.blocks, x, 0.0, &mut drops);
        let x = rows::slice(rec, x, class + visible, masked);
        let x = layer_norm::forward(rec, x, &self.decoder_norm);
        Ok(linear::forward(rec, x, &self.head))
    }
}

/// A recorded forward pass.
pub struct PixelForward {
    /// The parameters, frozen.
    pub params: Params,
    /// The clips, see [`Pixels`].
    pub frames: Tensor,
    /// Which tokens are seen.
    pub masking: Masking,
    /// What is made of the others, (B, M, P).
    pub prediction: Tensor,
}

impl PixelArch {
    fn forward(&self, rec: &mut Recorder, trainable: bool) -> Result<PixelForward> {
        rec.set_phase(Phase::Micro);
        rec.set_micro_batches(self.accumulate);
        let frames = self.pixels.input(rec, self.batch, &self.grid);
        let masking = Masking::declare(rec, self.batch, self.grid.len(), self.masked);
        let mut params = Params::new(rec, "autoencoder", trainable);
        let net = Autoencoder::declare(rec, &mut params, self);
        let patches = self.pixels.cut(rec, frames, Some(masking.visible), self.cut());
        let prediction = net.forward(rec, patches, &masking, self)?;
        Ok(PixelForward { params, frames, masking, prediction })
    }

    fn cut(&self) -> Cut {
        Cut { tubelet: self.grid.tubelet, patch: self.grid.patch, frame_step: 1 }
    }

    /// Records the forward pass alone.
    ///
    /// # Errors
    /// A width that a position table cannot be split for.
    pub fn record_forward(&self, rec: &mut Recorder) -> Result<PixelForward> {
        let forward = self.forward(rec, false)?;
        rec.keep(forward.prediction);
        Ok(forward)
    }

    /// Records forward and backward of a micro-batch and the update; `group` as for [`finish`].
    ///
    /// # Errors
    /// A width that a position table cannot be split for.
    pub fn record(&self, rec: &mut Recorder, group: impl Fn(&str, &[usize]) -> (f32, bool)) -> Result<Step> {
        let PixelForward { params, frames, masking, prediction } = self.forward(rec, true)?;
        let scalars = scalars::declare(rec);
        let hidden = self.pixels.cut(rec, frames, Some(masking.masked), self.cut());
        let normalise = if self.family == Family::Mae { Normalise::Whole } else { Normalise::PerColour };
        let target = patch_target::forward(rec, hidden, normalise);
        let target = rec.reshape(target, &[self.batch, self.masked, self.grid.patch_len()]);
        let index = every(rec, self.batch, self.masked);
        let scale = 1.0 / self.accumulate as f32;
        let args = LossArgs { kind: LossKind::L2, weight: 1.0, scale, scalars, slot: scalars::LOSS };
        loss::forward(rec, prediction, target, index, args);
        let average = finish(rec, &params, scalars, 0.0, group);
        Ok(Step {
            params,
            frozen: Vec::new(),
            average,
            frames,
            image_frames: None,
            masking: Some(masking),
            labels: None,
            drops: Vec::new(),
            scalars,
            losses: vec![LossTerm { name: "pixels", slot: scalars::LOSS, weight: 1.0 }],
            outputs: vec![("prediction", prediction), ("target", target)],
        })
    }
}
