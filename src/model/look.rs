//! Encoders recorded to be looked at: the tokens of a whole clip, and the last block's queries and keys.

use super::arch::{Grid, Vit};
use super::block::DropPaths;
use super::encoder::{Encoder, Family, Seen};
use super::params::Params;
use super::step::Pixels;
use crate::gpu::{Phase, Recorder, Tensor};
use crate::op::patch::{Cut, Pick};
use crate::op::{layer_norm, linear, rows};
use crate::weights::Result;

/// An encoder and the clip it looks at.
#[derive(Debug, Clone, PartialEq)]
pub struct LookArch {
    /// Whose encoder it is; MAE's takes every `tubelet`-th frame as an image of its own.
    pub family: Family,
    /// Before its parameters' names.
    pub prefix: String,
    /// The encoder.
    pub encoder: Vit,
    /// How the clip is cut.
    pub grid: Grid,
    /// What norms add to the variance.
    pub eps: f32,
}

/// A recorded look at one clip.
pub struct Look {
    /// The parameters, frozen.
    pub params: Params,
    /// The clip, bytes (1, T, H, W, 3).
    pub frames: Tensor,
    /// What is read.
    pub seen: Tensor,
}

impl LookArch {
    /// The grid of what the encoder takes at once, and how many such things a clip is.
    fn own_grid(&self) -> (Grid, usize) {
        let [times, ..] = self.grid.tokens();
        match self.family {
            Family::Mae => (Grid { frames: 1, tubelet: 1, ..self.grid }, times),
            Family::Mvd | Family::VideoMae | Family::StMae => (self.grid, 1),
        }
    }

    /// Tokens after `depth` blocks, with a class token first where there is one: (images or 1, tokens, C).
    fn tokens(&self, rec: &mut Recorder, params: &mut Params, depth: usize) -> Result<(Tensor, Tensor)> {
        rec.set_phase(Phase::Micro);
        let (grid, count) = self.own_grid();
        let vit = Vit { depth, ..self.encoder };
        let encoder = Encoder::declare(rec, params, &self.prefix, self.family, &vit, &grid);
        let frames = Pixels::Bytes.input(rec, 1, &self.grid);
        let pick = if count == 1 { Pick::ALL } else { Pick::every(self.grid.tubelet) };
        let cut = Cut { pick, colours: self.family.colours(), ..grid.cut() };
        let patches = Pixels::Bytes.cut(rec, frames, None, cut);
        let seen = Seen::all(rec, count, grid.len());
        let x = encoder.forward(rec, patches, seen, 0.0, &mut DropPaths::default())?;
        Ok((frames, x))
    }

    /// Records the tokens of the last block, (1, N, C), without a class token.
    ///
    /// # Errors
    /// A width that the position table cannot be split for.
    pub fn record_tokens(&self, rec: &mut Recorder) -> Result<Look> {
        let mut params = Params::new(rec, "encoder", false).with_eps(self.eps);
        let (frames, x) = self.tokens(rec, &mut params, self.encoder.depth)?;
        let (grid, _) = self.own_grid();
        let class = self.family.class_tokens();
        let x = if class > 0 { rows::slice(rec, x, class, grid.len()) } else { x };
        let seen = rec.reshape(x, &[1, self.grid.len(), self.encoder.dim]);
        rec.keep(seen);
        Ok(Look { params, frames, seen })
    }

    /// Records the last block's packed queries, keys and values, (images or 1, tokens, 3 H D), a class token first.
    ///
    /// # Errors
    /// A width that the position table cannot be split for.
    pub fn record_attention(&self, rec: &mut Recorder) -> Result<Look> {
        let mut params = Params::new(rec, "encoder", false).with_eps(self.eps);
        let last = self.encoder.depth.saturating_sub(1);
        let (frames, x) = self.tokens(rec, &mut params, last)?;
        let name = format!("{}blocks.{last}", self.prefix);
        let norm = params.norm(rec, &format!("{name}.norm1"), self.encoder.dim);
        let qkv = params.qkv(rec, &format!("{name}.attn"), self.encoder.dim, self.family.bias());
        let x = layer_norm::forward(rec, x, &norm);
        let seen = linear::forward(rec, x, &qkv);
        rec.keep(seen);
        Ok(Look { params, frames, seen })
    }
}
