//! The encoder that all models share: patches to tokens, positions, an optional class token, blocks.

use super::arch::{Grid, Vit};
use super::block::{Block, DropPaths, declare_blocks, forward_blocks};
use super::params::{Params, QkvBias};
use super::positions::Learned;
use crate::gpu::{Recorder, Tensor};
use crate::op::linear::{self, Linear};
use crate::op::patch::Colours;
use crate::op::rows::{self, Parts, Positions};
use crate::weights::{Init, Result, position};

/// Whose encoder it is: position table, biases of qkv, class token, initial values, colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// MVD's student and classifier: 3-D sin-cos table.
    Mvd,
    /// VideoMAE: interleaved sinusoids over the flat token index.
    VideoMae,
    /// MAE: 2-D sin-cos table, class token, full qkv bias.
    Mae,
    /// ST-MAE: learned separable table, class token with a position of its own, separate queries, keys and values.
    StMae,
}

impl Family {
    /// How its qkv layers are biased.
    pub fn bias(self) -> QkvBias {
        match self {
            Family::Mvd | Family::VideoMae => QkvBias::QueryValue,
            Family::Mae => QkvBias::Full,
            Family::StMae => QkvBias::Separate,
        }
    }

    /// Class tokens before the clip's own.
    pub fn class_tokens(self) -> usize {
        usize::from(matches!(self, Family::Mae | Family::StMae))
    }

    /// What stands before the encoder's names where its own program pre-trains it.
    pub fn prefix(self) -> &'static str {
        if self == Family::VideoMae { "encoder." } else { "" }
    }

    /// Its name for people and for `--model`.
    pub fn name(self) -> &'static str {
        match self {
            Family::Mvd => "mvd",
            Family::VideoMae => "videomae",
            Family::Mae => "mae",
            Family::StMae => "st-mae",
        }
    }

    /// The name of its position table, for people.
    pub fn table_name(self) -> &'static str {
        match self {
            Family::Mvd => "3-D sin-cos",
            Family::VideoMae => "interleaved sinusoids",
            Family::Mae => "2-D sin-cos",
            Family::StMae => "learned, separable",
        }
    }

    /// What clips are normalised by.
    pub fn colours(self) -> Colours {
        if self == Family::StMae { Colours::KINETICS } else { Colours::IMAGENET }
    }

    /// The fixed position table (N, `dim`) of a grid, without the class token's row; none where it is learned.
    ///
    /// # Errors
    /// A width that the table cannot be split for.
    pub fn positions(self, grid: &Grid, dim: usize) -> Result<Option<Vec<f32>>> {
        let [t, h, w] = grid.tokens();
        match self {
            Family::Mvd => position::sincos_3d([t, h, w], dim).map(Some),
            Family::VideoMae => position::sinusoid(grid.len(), dim).map(Some),
            Family::Mae => position::sincos_2d(h, w, dim, false).map(Some),
            Family::StMae => Ok(None),
        }
    }
}

/// Which tokens of a clip an encoder sees.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// The tokens (B, V).
    pub index: Tensor,
    /// For every token, which of those it is, or V or more (B, N); only learned tables that train look at it.
    pub place: Option<Tensor>,
}

impl Seen {
    /// All `n` tokens of every sample, in their order.
    pub fn all(rec: &mut Recorder, samples: usize, n: usize) -> Seen {
        let index = every(rec, samples, n);
        Seen { index, place: Some(index) }
    }
}

/// An encoder's parameters.
pub struct Encoder {
    family: Family,
    patch_embed: Linear,
    cls_token: Option<Tensor>,
    /// The learned position table, of the family that has one.
    learned: Option<Learned>,
    blocks: Vec<Block>,
    grid: Grid,
    dim: usize,
    /// A stored position table in place of the computed one.
    positions: Option<Vec<f32>>,
}

impl Encoder {
    /// Declares `{prefix}patch_embed`, `{prefix}blocks` and, where the family has them, `cls_token` and `pos_embed_*`.
    pub fn declare(
        rec: &mut Recorder,
        params: &mut Params,
        prefix: &str,
        family: Family,
        vit: &Vit,
        grid: &Grid,
    ) -> Self {
        let init = Init::Normal { std: 0.02 };
        let class = family.class_tokens() > 0;
        let kernel = [grid.tubelet, grid.patch, grid.patch];
        let cls_token = class.then(|| params.tensor(rec, &format!("{prefix}cls_token"), &[1, 1, vit.dim], init));
        let learned = (family == Family::StMae).then(|| Learned::declare(rec, params, prefix, grid, vit.dim));
        let kernel = if family == Family::Mae { &kernel[1..] } else { &kernel[..] };
        let patch_embed = params.patch_embed(rec, &format!("{prefix}patch_embed.proj"), vit.dim, kernel, class);
        let blocks = declare_blocks(rec, params, &format!("{prefix}blocks"), vit, family.bias());
        Encoder { family, patch_embed, cls_token, learned, blocks, grid: *grid, dim: vit.dim, positions: None }
    }

    /// The same with a stored position table (N, C) in place of the computed one.
    pub fn with_positions(self, table: Vec<f32>) -> Self {
        Encoder { positions: Some(table), ..self }
    }

    /// Tokens of the last block, (B, V, C) or, with a class token first, (B, 1 + V, C), of patches (B V, P).
    ///
    /// # Errors
    /// A width that the position table cannot be split for.
    pub fn forward(
        &self,
        rec: &mut Recorder,
        patches: Tensor,
        seen: Seen,
        drop_path: f64,
        drops: &mut DropPaths,
    ) -> Result<Tensor> {
        let Seen { index, place } = seen;
        let [samples, visible] = *rec.shape(index) else { panic!("encoder: index must be (B, V)") };
        let x = linear::forward(rec, patches, &self.patch_embed);
        let x = rec.reshape(x, &[samples, visible, self.dim]);
        let positions = match &self.learned {
            Some(learned) => Positions { table: learned.table(rec), index, place },
            None => Positions { table: self.fixed(rec)?, index, place: None },
        };
        let x = rows::add_position(rec, x, positions);
        let x = match self.cls_token {
            Some(token) => {
                let shift = self.learned.map(|learned| learned.class);
                rows::assemble(rec, &[Parts { x, x_start: 1, token, shift, len: 1 + visible, positions: None }])
            }
            None => x,
        };
        Ok(forward_blocks(rec, &self.blocks, x, drop_path, drops))
    }

    /// The position table of a family whose is fixed.
    fn fixed(&self, rec: &mut Recorder) -> Result<Tensor> {
        let table = match &self.positions {
            Some(table) => table.clone(),
            None => self.family.positions(&self.grid, self.dim)?.unwrap_or_default(),
        };
        let rows = table.len() / self.dim;
        Ok(rec.constant_f32("pos_embed", &[rows, self.dim], &table))
    }
}

/// Indices 0..n for every sample, (B, N).
pub fn every(rec: &mut Recorder, samples: usize, n: usize) -> Tensor {
    let values: Vec<u32> = (0..samples).flat_map(|_| 0..n as u32).collect();
    rec.constant_u32("every token", &[samples, n], &values)
}
