//! The frozen teachers; both give the tokens of their last block, before any final norm, as (B, N, D).

use super::arch::{Grid, Vit};
use super::block::DropPaths;
use super::encoder::{Encoder, Family, Seen};
use super::params::Params;
use crate::gpu::{Recorder, Tensor};
use crate::op::rows;
use crate::weights::Result;

/// VideoMAE's or ST-MAE's encoder over all tokens of a clip, under the names of their pre-training.
pub struct VideoTeacher {
    encoder: Encoder,
    family: Family,
    grid: Grid,
}

impl VideoTeacher {
    /// Declares the parameters.
    pub fn declare(rec: &mut Recorder, params: &mut Params, family: Family, vit: &Vit, grid: &Grid) -> Self {
        let encoder = Encoder::declare(rec, params, family.prefix(), family, vit, grid);
        VideoTeacher { encoder, family, grid: *grid }
    }

    /// Features (B, N, D) of all patches (B N, P).
    ///
    /// # Errors
    /// A width that the position table cannot be split for.
    pub fn forward(&self, rec: &mut Recorder, patches: Tensor) -> Result<Tensor> {
        let tokens = self.grid.len();
        let seen = Seen::all(rec, rec.rows(patches) / tokens, tokens);
        let x = self.encoder.forward(rec, patches, seen, 0.0, &mut DropPaths::default())?;
        let class = self.family.class_tokens();
        Ok(if class > 0 { rows::slice(rec, x, class, tokens) } else { x })
    }
}

/// MAE's encoder over single frames, with a class token.
pub struct ImageTeacher {
    encoder: Encoder,
    grid: Grid,
}

impl ImageTeacher {
    /// Declares the parameters; `grid` has tubelet 1 and one frame a tubelet of the student.
    pub fn declare(rec: &mut Recorder, params: &mut Params, vit: &Vit, grid: &Grid) -> Self {
        let encoder = Encoder::declare(rec, params, "", Family::Mae, vit, grid);
        ImageTeacher { encoder, grid: *grid }
    }

    /// Features (B, T h w, D) of all patches (B T h w, P); each frame is an image of its own.
    ///
    /// # Errors
    /// A width that the position table cannot be split for.
    pub fn forward(&self, rec: &mut Recorder, patches: Tensor) -> Result<Tensor> {
        let [frames, height, width] = self.grid.tokens();
        let tokens = height * width;
        let images = rec.rows(patches) / tokens;
        let seen = Seen::all(rec, images, tokens);
        let x = self.encoder.forward(rec, patches, seen, 0.0, &mut DropPaths::default())?;
        let x = rows::slice(rec, x, 1, tokens);
        let dim = rec.width(x);
        Ok(rec.reshape(x, &[images / frames, frames * tokens, dim]))
    }
}
