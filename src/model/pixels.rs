//! Stage one: masked autoencoders that reconstruct the pixels of masked patches, MAE on images, VideoMAE and ST-MAE on clips.
//!
//! Decoders see the visible tokens, then the masked ones. MAE's and ST-MAE's own programs put them back in place first, which
//! gives the same numbers: attention knows an order by the positions alone, and these go with the tokens.

use super::arch::{Grid, Vit};
use super::block::{Block, DropPaths, declare_blocks, forward_blocks};
use super::encoder::{Encoder, Family, every};
use super::params::Params;
use super::positions::Learned;
use super::step::{LossTerm, Masking, Pixels, Step, finish};
use crate::gpu::{Phase, Recorder, Tensor};
use crate::op::layer_norm::Norm;
use crate::op::linear::{self, Linear};
use crate::op::loss::{self, LossArgs, LossKind};
use crate::op::patch::{Cut, Pick};
use crate::op::patch_target::{self, Normalise};
use crate::op::rows::{self, Parts, Positions};
use crate::op::{layer_norm, scalars};
use crate::weights::{Init, Result};

/// Everything that fixes the shapes of a stage-one step.
#[derive(Debug, Clone)]
pub struct PixelArch {
    /// `Mae`, on single images (one frame, tubelet 1), `VideoMae` or `StMae`.
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
    /// Frames of a clip that are predicted, spread over it from the first to the last: all, or of ST-MAE one a tubelet.
    pub target_frames: usize,
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

/// Also ST-MAE's.
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
    /// ST-MAE's class token of the decoder, and the decoder's positions.
    own: Option<(Tensor, Learned)>,
    blocks: Vec<Block>,
    decoder_norm: Norm,
    head: Linear,
}

/// Which tokens' predictions are wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Masked,
    All,
}

impl Autoencoder {
    fn declare(rec: &mut Recorder, params: &mut Params, arch: &PixelArch) -> Self {
        let PixelArch { family, encoder, decoder, grid, .. } = arch;
        let mae = *family != Family::VideoMae;
        let names = if mae { MAE } else { VIDEO_MAE };
        let init = if mae { Init::Normal { std: 0.02 } } else { Init::TruncNormal { std: 0.02 } };
        Autoencoder {
            encoder: Encoder::declare(rec, params, names.encoder, *family, encoder, grid),
            norm: arch.encoder_norm.then(|| params.norm(rec, names.norm, encoder.dim)),
            embed: params.linear(rec, names.embed, encoder.dim, decoder.dim, mae),
            mask_token: params.tensor(rec, "mask_token", &[1, 1, decoder.dim], init),
            own: (*family == Family::StMae).then(|| {
                let token = params.tensor(rec, "decoder_cls_token", &[1, 1, decoder.dim], Init::Zeros);
                (token, Learned::declare(rec, params, "decoder_", grid, decoder.dim))
            }),
            blocks: declare_blocks(rec, params, names.blocks, decoder, family.bias()),
            decoder_norm: Norm { eps: arch.decoder_eps, ..params.norm(rec, names.decoder_norm, decoder.dim) },
            head: params.linear(rec, names.head, decoder.dim, arch.target().patch_len(), true),
        }
    }

    /// Predictions (B, M, P) from the visible patches (B V, P); of all tokens (B, V + M, P), in the masking's order.
    fn forward(
        &self,
        rec: &mut Recorder,
        patches: Tensor,
        masking: &Masking,
        arch: &PixelArch,
        wanted: Wanted,
    ) -> Result<Tensor> {
        let mut drops = DropPaths::default();
        let (visible, masked) = (rec.shape(masking.visible)[1], rec.shape(masking.masked)[1]);
        let x = self.encoder.forward(rec, patches, masking.seen(), 0.0, &mut drops)?;
        // ST-MAE's decoder has a class token of its own.
        let x = if self.own.is_some() { rows::slice(rec, x, 1, visible) } else { x };
        let x = self.norm.map_or(x, |norm| layer_norm::forward(rec, x, &norm));
        let x = linear::forward(rec, x, &self.embed);
        let x = self.sequence(rec, x, masking, arch)?;
        let x = forward_blocks(rec, &self.blocks, x, 0.0, &mut drops);
        let class = arch.family.class_tokens();
        let (first, count) = match wanted {
            Wanted::Masked => (class + visible, masked),
            Wanted::All => (class, visible + masked),
        };
        let x = rows::slice(rec, x, first, count);
        let x = layer_norm::forward(rec, x, &self.decoder_norm);
        Ok(linear::forward(rec, x, &self.head))
    }

    /// The decoder's sequence of embedded tokens x (B, V, D), MAE's class token first: all tokens, with positions, behind a
    /// class token where the family has one.
    fn sequence(&self, rec: &mut Recorder, x: Tensor, masking: &Masking, arch: &PixelArch) -> Result<Tensor> {
        let (visible, masked) = (rec.shape(masking.visible)[1], rec.shape(masking.masked)[1]);
        let (tokens, index) = (visible + masked, masking.order);
        // MAE's class token has a position of zeros: it joins after the positions.
        let cls = (arch.family == Family::Mae).then(|| rows::slice(rec, x, 0, 1));
        let x = if cls.is_some() { rows::slice(rec, x, 1, visible) } else { x };
        let positions = match &self.own {
            Some((_, learned)) => Positions { table: learned.table(rec), index, place: masking.place },
            None => {
                let table = arch.family.positions(&arch.grid, arch.decoder.dim)?.unwrap_or_default();
                let table = rec.constant_f32("decoder positions", &[tokens, arch.decoder.dim], &table);
                Positions { table, index, place: None }
            }
        };
        let (token, positions) = (self.mask_token, Some(positions));
        let x = rows::assemble(rec, &[Parts { x, x_start: 0, token, shift: None, len: tokens, positions }]);
        Ok(match (cls, self.own) {
            (Some(cls), _) => rows::concat(rec, cls, x),
            (None, Some((token, learned))) => {
                let shift = Some(learned.class);
                rows::assemble(rec, &[Parts { x, x_start: 1, token, shift, len: 1 + tokens, positions: None }])
            }
            (None, None) => x,
        })
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
    /// What is made of the others, (B, M, P), or of all, (B, V + M, P).
    pub prediction: Tensor,
}

impl PixelArch {
    fn forward(&self, rec: &mut Recorder, trainable: bool, wanted: Wanted) -> Result<PixelForward> {
        rec.set_phase(Phase::Micro);
        rec.set_micro_batches(self.accumulate);
        let frames = self.pixels.input(rec, self.batch, &self.grid);
        let masking = Masking::declare(rec, self.batch, self.grid.len(), self.masked);
        let learns = trainable && self.family == Family::StMae;
        let masking = if learns { masking.with_places(rec) } else { masking };
        let mut params = Params::new(rec, "autoencoder", trainable);
        let net = Autoencoder::declare(rec, &mut params, self);
        let cut = Cut { colours: self.family.colours(), ..self.grid.cut() };
        let patches = self.pixels.cut(rec, frames, Some(masking.visible), cut);
        let prediction = net.forward(rec, patches, &masking, self, wanted)?;
        Ok(PixelForward { params, frames, masking, prediction })
    }

    /// How the frames that are predicted are cut.
    fn target(&self) -> Grid {
        Grid { frames: self.target_frames, tubelet: self.target_frames / self.grid.tokens()[0], ..self.grid }
    }

    /// The frame of a clip that the k-th predicted one is.
    pub fn target_pick(&self) -> Pick {
        Pick::spread(self.target_frames, self.grid.frames)
    }

    /// Pixels of a token that are predicted, in the order (t, y, x, colour).
    pub fn target_len(&self) -> usize {
        self.target().patch_len()
    }

    /// Records the forward pass alone.
    ///
    /// # Errors
    /// A width that a position table cannot be split for.
    pub fn record_forward(&self, rec: &mut Recorder) -> Result<PixelForward> {
        self.recorded(rec, Wanted::Masked)
    }

    /// Records the forward pass alone, with predictions of all tokens, in the order of [`Masking::order`].
    ///
    /// # Errors
    /// A width that a position table cannot be split for.
    pub fn record_whole(&self, rec: &mut Recorder) -> Result<PixelForward> {
        self.recorded(rec, Wanted::All)
    }

    fn recorded(&self, rec: &mut Recorder, wanted: Wanted) -> Result<PixelForward> {
        let forward = self.forward(rec, false, wanted)?;
        rec.keep(forward.prediction);
        Ok(forward)
    }

    /// Records forward and backward of a micro-batch and the update; `group` as for [`finish`].
    ///
    /// # Errors
    /// A width that a position table cannot be split for.
    pub fn record(&self, rec: &mut Recorder, group: impl Fn(&str, &[usize]) -> (f32, bool)) -> Result<Step> {
        let PixelForward { params, frames, masking, prediction } = self.forward(rec, true, Wanted::Masked)?;
        let scalars = scalars::declare(rec);
        let (pick, colours) = (self.target_pick(), self.family.colours());
        let cut = Cut { pick, colours, ..self.target().cut() };
        let hidden = self.pixels.cut(rec, frames, Some(masking.masked), cut);
        let normalise = if self.family == Family::VideoMae { Normalise::PerColour } else { Normalise::Whole };
        let target = patch_target::forward(rec, hidden, normalise);
        let target = rec.reshape(target, &[self.batch, self.masked, self.target_len()]);
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
