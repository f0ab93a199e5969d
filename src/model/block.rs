//! The pre-norm transformer block: `x + s a(norm1(x))`, then `x + s mlp(norm2(x))`, s the stochastic depth's scale.

use rand::{Rng, RngExt};

use super::arch::Vit;
use super::params::{Params, QkvBias};
use crate::gpu::{Dtype, Recorder, Tensor};
use crate::op::layer_norm::Norm;
use crate::op::linear::{self, Linear};
use crate::op::residual::Skip;
use crate::op::{attention, layer_norm};

/// One block's parameters.
#[derive(Debug, Clone, Copy)]
pub struct Block {
    norm1: Norm,
    qkv: Linear,
    proj: Linear,
    norm2: Norm,
    fc1: Linear,
    fc2: Linear,
    heads: usize,
}

/// Stochastic depth of one residual branch: its scales (B) are an input, 0 or 1 / (1 - rate).
#[derive(Debug, Clone, Copy)]
pub struct DropPath {
    /// Share of samples whose branch is dropped.
    pub rate: f64,
    /// The scales of this step.
    pub scale: Tensor,
}

impl DropPath {
    /// Draws the scales of so many samples, 1 on average.
    pub fn draw(&self, samples: usize, rng: &mut impl Rng) -> Vec<f32> {
        let keep = 1.0 / (1.0 - self.rate) as f32;
        (0..samples).map(|_| if rng.random_bool(self.rate) { 0.0 } else { keep }).collect()
    }
}

/// The stochastic depth inputs of a whole model, in the order of recording.
#[derive(Debug, Clone, Default)]
pub struct DropPaths(pub Vec<DropPath>);

impl DropPaths {
    /// The scale of a further branch; none where the rate is 0.
    fn branch(&mut self, rec: &mut Recorder, samples: usize, rate: f64) -> Option<Tensor> {
        (rate > 0.0).then(|| {
            let scale = rec.input(format!("drop_path {}", self.0.len()), &[samples], Dtype::F32);
            self.0.push(DropPath { rate, scale });
            scale
        })
    }
}

impl Block {
    /// Declares `{prefix}.norm1`, `.attn`, `.norm2`, `.mlp`.
    pub fn declare(rec: &mut Recorder, params: &mut Params, prefix: &str, vit: &Vit, bias: QkvBias) -> Self {
        let (dim, hidden) = (vit.dim, vit.dim * vit.mlp_ratio);
        Block {
            norm1: params.norm(rec, &format!("{prefix}.norm1"), dim),
            qkv: params.qkv(rec, &format!("{prefix}.attn"), dim, bias),
            proj: params.linear(rec, &format!("{prefix}.attn.proj"), dim, dim, true),
            norm2: params.norm(rec, &format!("{prefix}.norm2"), dim),
            fc1: params.linear(rec, &format!("{prefix}.mlp.fc1"), dim, hidden, true),
            fc2: params.linear(rec, &format!("{prefix}.mlp.fc2"), hidden, dim, true),
            heads: vit.heads,
        }
    }

    /// `x (B, N, C)` to `(B, N, C)`; `rate` is the block's stochastic depth.
    pub fn forward(&self, rec: &mut Recorder, x: Tensor, rate: f64, drops: &mut DropPaths) -> Tensor {
        let samples = rec.shape(x)[0];
        let scales = [(); 2].map(|()| drops.branch(rec, samples, rate));
        let learns = rec.needs_grad(x) || rec.needs_grad(self.qkv.weight);
        let block = *self;
        rec.checkpoint(x, learns, move |rec, x| block.branches(rec, x, scales))
    }

    fn branches(&self, rec: &mut Recorder, x: Tensor, scales: [Option<Tensor>; 2]) -> Tensor {
        let h = layer_norm::forward_operand(rec, x, &self.norm1, &self.qkv);
        let qkv = linear::forward(rec, h, &self.qkv);
        let h = attention::forward(rec, qkv, self.heads);
        let x = linear::forward_skip(rec, h, &self.proj, Skip { x, scale: scales[0] });
        let h = layer_norm::forward_operand(rec, x, &self.norm2, &self.fc1);
        linear::mlp(rec, h, [&self.fc1, &self.fc2], Skip { x, scale: scales[1] })
    }
}

/// Declares `{prefix}.0`, `{prefix}.1`, ...
pub fn declare_blocks(rec: &mut Recorder, params: &mut Params, prefix: &str, vit: &Vit, bias: QkvBias) -> Vec<Block> {
    (0..vit.depth).map(|i| Block::declare(rec, params, &format!("{prefix}.{i}"), vit, bias)).collect()
}

/// Runs the blocks; stochastic depth rises linearly from 0 at the first to `most` at the last.
pub fn forward_blocks(rec: &mut Recorder, blocks: &[Block], x: Tensor, most: f64, drops: &mut DropPaths) -> Tensor {
    let last = blocks.len().saturating_sub(1).max(1) as f64;
    blocks.iter().enumerate().fold(x, |x, (i, block)| block.forward(rec, x, most * i as f64 / last, drops))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::gpu::Caps;

    #[test]
    fn what_is_kept_makes_up_for_what_is_dropped() {
        let scale = Recorder::new(Caps::webgpu_default()).input("drop_path", &[1000], Dtype::F32);
        let scales = DropPath { rate: 0.2, scale }.draw(1000, &mut ChaCha8Rng::seed_from_u64(0));
        let dropped = scales.iter().filter(|scale| **scale == 0.0).count();
        let kept = scales.iter().filter(|scale| **scale == 1.25).count();
        assert!((160..240).contains(&dropped) && dropped + kept == 1000, "{dropped} dropped, {kept} kept");
    }
}
