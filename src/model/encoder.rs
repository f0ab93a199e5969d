//! The encoder that all models share: patches to tokens, positions, an optional class token, blocks.

use super::arch::{Grid, Vit};
use super::block::{Block, DropPaths, declare_blocks, forward_blocks};
use super::params::{Params, QkvBias};
use crate::gpu::{Recorder, Tensor};
use crate::op::linear::{self, Linear};
use crate::op::rows::{self, Parts};
use crate::weights::{Init, Result, position};

/// Whose encoder it is: position table, biases of qkv, class token, initial values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// MVD's student and classifier: 3-D sin-cos table.
    Mvd,
    /// VideoMAE: interleaved sinusoids over the flat token index.
    VideoMae,
    /// MAE: 2-D sin-cos table, class token, full qkv bias.
    Mae,
}

impl Family {
    /// How its qkv layers are biased.
    pub fn bias(self) -> QkvBias {
        if self == Family::Mae { QkvBias::Full } else { QkvBias::QueryValue }
    }

    /// The position table (N, `dim`) of a grid, without the class token's row.
    ///
    /// # Errors
    /// A width that the table cannot be split for.
    pub fn positions(self, grid: &Grid, dim: usize) -> Result<Vec<f32>> {
        let [t, h, w] = grid.tokens();
        match self {
            Family::Mvd => position::sincos_3d([t, h, w], dim),
            Family::VideoMae => position::sinusoid(grid.len(), dim),
            Family::Mae => position::sincos_2d(h, w, dim, false),
        }
    }
}

/// An encoder's parameters.
pub struct Encoder {
    family: Family,
    patch_embed: Linear,
    cls_token: Option<Tensor>,
    blocks: Vec<Block>,
    grid: Grid,
    dim: usize,
    /// A stored position table in place of the computed one.
    positions: Option<Vec<f32>>,
}

impl Encoder {
    /// Declares `{prefix}patch_embed`, `{prefix}blocks` and, for MAE, `cls_token`.
    pub fn declare(
        rec: &mut Recorder,
        params: &mut Params,
        prefix: &str,
        family: Family,
        vit: &Vit,
        grid: &Grid,
    ) -> Self {
        let mae = family == Family::Mae;
        let init = Init::Normal { std: 0.02 };
        let kernel = [grid.tubelet, grid.patch, grid.patch];
        let cls_token = mae.then(|| params.tensor(rec, &format!("{prefix}cls_token"), &[1, 1, vit.dim], init));
        let kernel = if mae { &kernel[1..] } else { &kernel[..] };
        let patch_embed = params.patch_embed(rec, &format!("{prefix}patch_embed.proj"), vit.dim, kernel, mae);
        let blocks = declare_blocks(rec, params, &format!("{prefix}blocks"), vit, family.bias());
        Encoder { family, patch_embed, cls_token, blocks, grid: *grid, dim: vit.dim, positions: None }
    }

    /// The same with a stored position table (N, C) in place of the computed one.
    pub fn with_positions(self, table: Vec<f32>) -> Self {
        Encoder { positions: Some(table), ..self }
    }

    /// Tokens of the last block, (B, V, C) or, with a class token first, (B, 1 + V, C), of patches (B V, P); `index`
    /// (B, V) says which tokens they are.
    ///
    /// # Errors
    /// A width that the position table cannot be split for.
    pub fn forward(
        &self,
        rec: &mut Recorder,
        patches: Tensor,
        index: Tensor,
        drop_path: f64,
        drops: &mut DropPaths,
    ) -> Result<Tensor> {
        let [samples, visible] = *rec.shape(index) else { panic!("encoder: index must be (B, V)") };
        let x = linear::forward(rec, patches, &self.patch_embed);
        let x = rec.reshape(x, &[samples, visible, self.dim]);
        let table = match &self.positions {
            Some(table) => table.clone(),
            None => self.family.positions(&self.grid, self.dim)?,
        };
        let rows = table.len() / self.dim;
        let table = rec.constant_f32("pos_embed", &[rows, self.dim], &table);
        let x = rows::add_position(rec, x, table, index);
        let x = match self.cls_token {
            Some(token) => rows::assemble(rec, &[Parts { x, x_start: 1, token, len: 1 + visible, table: None }]),
            None => x,
        };
        Ok(forward_blocks(rec, &self.blocks, x, drop_path, drops))
    }
}

/// Indices 0..n for every sample, (B, N).
pub fn every(rec: &mut Recorder, samples: usize, n: usize) -> Tensor {
    let values: Vec<u32> = (0..samples).flat_map(|_| 0..n as u32).collect();
    rec.constant_u32("every token", &[samples, n], &values)
}
