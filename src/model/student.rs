//! The student: an encoder that sees only visible tokens, and one decoder a teacher that predicts the teacher's
//! features at the masked ones.

use super::arch::{Grid, Vit};
use super::block::{Block, DropPaths, declare_blocks, forward_blocks};
use super::encoder::{Encoder, Family};
use super::params::{Params, QkvBias};
use super::step::Masking;
use crate::gpu::{Recorder, Tensor};
use crate::op::layer_norm;
use crate::op::layer_norm::Norm;
use crate::op::linear::{self, Linear};
use crate::op::rows::{self, Parts};
use crate::weights::{Init, Result};

/// One decoder: its teacher's short name and feature size, its own blocks.
#[derive(Debug, Clone, Copy)]
pub struct DecoderArch {
    /// `img` or `vid`, as in the parameters' names.
    pub name: &'static str,
    /// Blocks.
    pub vit: Vit,
    /// Channels of the teacher's features.
    pub target: usize,
}

struct Decoder {
    down: Linear,
    mask_token: Tensor,
    blocks: Vec<Block>,
    norm: Norm,
    head: Linear,
    vit: Vit,
    name: &'static str,
}

/// The student's parameters.
pub struct Student {
    encoder: Encoder,
    norm: Norm,
    decoders: Vec<Decoder>,
    grid: Grid,
    drop_path: f64,
}

/// What the student computes.
pub struct StudentOutput {
    /// Encoder output after its norm (B, V, C).
    pub encoder: Tensor,
    /// One prediction a decoder (B, M, D), in the order of declaration.
    pub predictions: Vec<Tensor>,
    /// Stochastic depth inputs, to be filled before each micro-batch.
    pub drops: DropPaths,
}

impl Student {
    /// Declares the parameters.
    pub fn declare(
        rec: &mut Recorder,
        params: &mut Params,
        vit: &Vit,
        grid: &Grid,
        decoders: &[DecoderArch],
        drop_path: f64,
    ) -> Self {
        let encoder = Encoder::declare(rec, params, "", Family::Mvd, vit, grid);
        let norm = params.norm(rec, "norm", vit.dim);
        let decoders = decoders.iter().map(|d| Decoder::declare(rec, params, vit.dim, d)).collect();
        Student { encoder, norm, decoders, grid: *grid, drop_path }
    }

    /// Encoder and decoders on the visible patches (B V, P).
    ///
    /// # Errors
    /// A width that the position table cannot be split for.
    pub fn forward(&self, rec: &mut Recorder, patches: Tensor, masking: &Masking) -> Result<StudentOutput> {
        let mut drops = DropPaths::default();
        let tokens = self.grid.len();
        let x = self.encoder.forward(rec, patches, masking.visible, self.drop_path, &mut drops)?;
        let encoder = layer_norm::forward(rec, x, &self.norm);
        let predictions = self.decoders.iter().map(|d| {
            let table = Family::Mvd.positions(&self.grid, d.vit.dim)?;
            let table = rec.constant_f32(format!("pos_embed_{}", d.name), &[tokens, d.vit.dim], &table);
            Ok(d.forward(rec, encoder, table, masking, self.drop_path, &mut drops))
        });
        let predictions = predictions.collect::<Result<Vec<_>>>()?;
        Ok(StudentOutput { encoder, predictions, drops })
    }
}

impl Decoder {
    fn declare(rec: &mut Recorder, params: &mut Params, from: usize, arch: &DecoderArch) -> Self {
        let (name, dim) = (arch.name, arch.vit.dim);
        let init = Init::TruncNormal { std: 0.02 };
        Decoder {
            mask_token: params.tensor(rec, &format!("mask_token_{name}"), &[1, 1, dim], init),
            down: params.linear(rec, &format!("down_{name}"), from, dim, true),
            blocks: declare_blocks(rec, params, &format!("decoder_{name}.blocks"), &arch.vit, QkvBias::QueryValue),
            norm: params.norm(rec, &format!("decoder_{name}.norm"), dim),
            head: params.linear(rec, &format!("decoder_{name}.head"), dim, arch.target, true),
            vit: arch.vit,
            name,
        }
    }

    fn forward(
        &self,
        rec: &mut Recorder,
        encoder: Tensor,
        table: Tensor,
        masking: &Masking,
        drop_path: f64,
        drops: &mut DropPaths,
    ) -> Tensor {
        let (visible, masked) = (rec.shape(masking.visible)[1], rec.shape(masking.masked)[1]);
        let x = linear::forward(rec, encoder, &self.down);
        let table = Some((table, masking.order));
        let parts = Parts { x, x_start: 0, token: self.mask_token, len: visible + masked, table };
        let x = rows::assemble(rec, parts);
        let x = forward_blocks(rec, &self.blocks, x, drop_path, drops);
        let x = rows::slice(rec, x, visible, masked);
        let x = layer_norm::forward(rec, x, &self.norm);
        linear::forward(rec, x, &self.head)
    }
}
