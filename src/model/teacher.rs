//! The frozen teachers; both give the tokens of their last block, before any final norm, as (B, N, D).

use super::arch::{Grid, Vit};
use super::block::{Block, DropPaths, declare_blocks, forward_blocks};
use super::params::{Params, QkvBias};
use crate::gpu::{Recorder, Tensor};
use crate::op::linear::{self, Linear};
use crate::op::rows::{self, Parts};
use crate::weights::{Init, Result, position};

/// VideoMAE's encoder over all tokens of a clip; names begin with `encoder.`.
pub struct VideoTeacher {
    patch_embed: Linear,
    blocks: Vec<Block>,
    grid: Grid,
    dim: usize,
}

impl VideoTeacher {
    /// Declares the parameters.
    pub fn declare(rec: &mut Recorder, params: &mut Params, vit: &Vit, grid: &Grid) -> Self {
        let kernel = [grid.tubelet, grid.patch, grid.patch];
        VideoTeacher {
            patch_embed: params.patch_embed(rec, "encoder.patch_embed.proj", vit.dim, &kernel, false),
            blocks: declare_blocks(rec, params, "encoder.blocks", vit, QkvBias::QueryValue),
            grid: *grid,
            dim: vit.dim,
        }
    }

    /// Features (B, N, D) of all patches (B N, P).
    ///
    /// # Errors
    /// A width that the position table cannot be split for.
    pub fn forward(&self, rec: &mut Recorder, patches: Tensor) -> Result<Tensor> {
        let tokens = self.grid.len();
        let samples = rec.rows(patches) / tokens;
        let x = embed(rec, patches, &self.patch_embed, samples, tokens);
        let table = position::sinusoid(tokens, self.dim)?;
        let table = rec.constant_f32("encoder.pos_embed", &[tokens, self.dim], &table);
        let index = every(rec, samples, tokens);
        let x = rows::add_position(rec, x, table, index);
        Ok(forward_blocks(rec, &self.blocks, x, 0.0, &mut DropPaths::default()))
    }
}

/// MAE's encoder over single frames, with a class token.
pub struct ImageTeacher {
    patch_embed: Linear,
    cls_token: Tensor,
    blocks: Vec<Block>,
    grid: Grid,
    dim: usize,
}

impl ImageTeacher {
    /// Declares the parameters; `grid` has tubelet 1 and one frame a tubelet of the student.
    pub fn declare(rec: &mut Recorder, params: &mut Params, vit: &Vit, grid: &Grid) -> Self {
        let init = Init::Normal { std: 0.02 };
        ImageTeacher {
            cls_token: params.tensor(rec, "cls_token", &[1, 1, vit.dim], init),
            patch_embed: params.patch_embed(rec, "patch_embed.proj", vit.dim, &[grid.patch, grid.patch], true),
            blocks: declare_blocks(rec, params, "blocks", vit, QkvBias::Full),
            grid: *grid,
            dim: vit.dim,
        }
    }

    /// Features (B, T h w, D) of all patches (B T h w, P); each frame is an image of its own.
    ///
    /// # Errors
    /// A width that the position table cannot be split for.
    pub fn forward(&self, rec: &mut Recorder, patches: Tensor) -> Result<Tensor> {
        let [frames, height, width] = self.grid.tokens();
        let tokens = height * width;
        let images = rec.rows(patches) / tokens;
        let x = embed(rec, patches, &self.patch_embed, images, tokens);
        let table = position::sincos_2d(height, width, self.dim, true)?;
        let table = rec.constant_f32("pos_embed", &[1 + tokens, self.dim], &table);
        let position = every(rec, images, 1 + tokens);
        let parts = Parts { x, x_start: 1, token: self.cls_token, len: 1 + tokens, table: Some((table, position)) };
        let x = rows::assemble(rec, parts);
        let x = forward_blocks(rec, &self.blocks, x, 0.0, &mut DropPaths::default());
        let x = rows::slice(rec, x, 1, tokens);
        Ok(rec.reshape(x, &[images / frames, frames * tokens, self.dim]))
    }
}

/// Patches (B N, P) to tokens (B, N, C).
pub(super) fn embed(rec: &mut Recorder, patches: Tensor, layer: &Linear, samples: usize, tokens: usize) -> Tensor {
    let x = linear::forward(rec, patches, layer);
    let dim = rec.width(x);
    rec.reshape(x, &[samples, tokens, dim])
}

/// Indices 0..n for every sample, (B, N).
pub(super) fn every(rec: &mut Recorder, samples: usize, n: usize) -> Tensor {
    let values: Vec<u32> = (0..samples).flat_map(|_| 0..n as u32).collect();
    rec.constant_u32("every token", &[samples, n], &values)
}
