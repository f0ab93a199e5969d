//! The student: an encoder that sees only visible tokens, and one decoder a teacher that predicts the teacher's
//! features at the masked ones. Blocks of decoders of one shape are computed together.

use super::arch::{Grid, Vit};
use super::block::{Block, DropPaths, declare_blocks, forward_blocks};
use super::encoder::{Encoder, Family};
use super::params::{Params, QkvBias};
use super::step::Masking;
use crate::gpu::{Recorder, Tensor};
use crate::op::layer_norm;
use crate::op::layer_norm::Norm;
use crate::op::linear::{self, Linear};
use crate::op::rows::{self, Parts, Positions};
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

/// A decoder but for its blocks.
struct Decoder {
    down: Linear,
    mask_token: Tensor,
    norm: Norm,
    head: Linear,
    vit: Vit,
    name: &'static str,
}

/// Decoders of one shape, and the blocks of all of them.
struct Stack {
    decoders: Vec<Decoder>,
    blocks: Vec<Block>,
}

/// The student's parameters.
pub struct Student {
    encoder: Encoder,
    norm: Norm,
    stacks: Vec<Stack>,
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
        let stacks = decoders.chunk_by(|a, b| a.vit == b.vit).map(|alike| {
            let names: Vec<&str> = alike.iter().map(|d| d.name).collect();
            let (blocks, bias) = ("decoder_{}.blocks", QkvBias::QueryValue);
            Stack {
                blocks: params.stacked(&names, |params| declare_blocks(rec, params, blocks, &alike[0].vit, bias)),
                decoders: alike.iter().map(|d| Decoder::declare(rec, params, vit.dim, d)).collect(),
            }
        });
        Student { encoder, norm, stacks: stacks.collect(), grid: *grid, drop_path }
    }

    /// Encoder and decoders on the visible patches (B V, P).
    ///
    /// # Errors
    /// A width that the position table cannot be split for.
    pub fn forward(&self, rec: &mut Recorder, patches: Tensor, masking: &Masking) -> Result<StudentOutput> {
        let mut drops = DropPaths::default();
        let tokens = self.grid.len();
        let x = self.encoder.forward(rec, patches, masking.seen(), self.drop_path, &mut drops)?;
        let encoder = layer_norm::forward(rec, x, &self.norm);
        let (visible, masked) = (rec.shape(masking.visible)[1], rec.shape(masking.masked)[1]);
        let mut predictions = Vec::new();
        for Stack { decoders, blocks } in &self.stacks {
            let Decoder { vit: Vit { dim, .. }, name, .. } = decoders[0];
            let table = Family::Mvd.positions(&self.grid, dim)?.unwrap_or_default();
            let table = rec.constant_f32(format!("pos_embed_{name}"), &[tokens, dim], &table);
            let positions = Positions { table, index: masking.order, place: None };
            let parts: Vec<Parts> = decoders.iter().map(|d| d.parts(rec, encoder, positions, tokens)).collect();
            let x = rows::assemble(rec, &parts);
            let x = forward_blocks(rec, blocks, x, self.drop_path, &mut drops);
            let decoded = rows::unstack(rec, x, decoders.len(), visible, masked);
            predictions.extend(decoders.iter().zip(decoded).map(|(d, x)| d.predict(rec, x)));
        }
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
            norm: params.norm(rec, &format!("decoder_{name}.norm"), dim),
            head: params.linear(rec, &format!("decoder_{name}.head"), dim, arch.target, true),
            vit: arch.vit,
            name,
        }
    }

    /// What its sequence of `len` tokens is assembled from.
    fn parts(&self, rec: &mut Recorder, encoder: Tensor, positions: Positions, len: usize) -> Parts {
        let x = linear::forward(rec, encoder, &self.down);
        Parts { x, x_start: 0, token: self.mask_token, shift: None, len, positions: Some(positions) }
    }

    /// The teacher's features from the masked tokens after the blocks.
    fn predict(&self, rec: &mut Recorder, x: Tensor) -> Tensor {
        let x = layer_norm::forward(rec, x, &self.norm);
        linear::forward(rec, x, &self.head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::Caps;

    #[test]
    fn checkpoints_do_not_see_which_decoders_are_computed_together() {
        let specs = |depths: [usize; 2]| {
            let vit = |depth| Vit { dim: 16, depth, heads: 2, mlp_ratio: 4 };
            let decoders = ["img", "vid"].into_iter().zip(depths);
            let decoders: Vec<_> =
                decoders.map(|(name, depth)| DecoderArch { name, vit: vit(depth), target: 32 }).collect();
            let grid = Grid { frames: 4, size: 16, tubelet: 2, patch: 8 };
            let mut rec = Recorder::new(Caps::webgpu_default());
            let mut params = Params::new(&mut rec, "student", true);
            let student = Student::declare(&mut rec, &mut params, &vit(1), &grid, &decoders, 0.0);
            let mut specs: Vec<_> = params.specs.iter().map(|spec| (spec.name.clone(), spec.shape.clone())).collect();
            specs.sort();
            (student.stacks.len(), specs)
        };
        let (together, alike) = specs([2, 2]);
        let (apart, mut unlike) = specs([2, 3]);
        assert_eq!((together, apart), (1, 2));
        unlike.retain(|(name, _)| !name.contains("decoder_vid.blocks.2."));
        assert_eq!(alike, unlike);
        assert!(alike.contains(&("decoder_img.blocks.1.attn.q_bias".to_owned(), vec![16])), "{alike:?}");
    }
}
