//! Multi-head self-attention over packed qkv, without ever storing N x N.
//!
//! `s = q kᵀ / sqrt(D)`, `p = softmax(s)`, `y = p v`, per sample and head. The forward keeps the log of each row's sum of
//! exponentials; the backward recomputes p from it: `dv = pᵀ dy`, `ds = p * (dy vᵀ - sum_D(dy * y))`,
//! `dq = ds k / sqrt(D)`, `dk = dsᵀ q / sqrt(D)`. Shapes: qkv, dqkv (B, N, 3, H, D), y, dy (B, N, H D).

use super::check::Case;
use super::expect_shape;
use crate::gpu::{Caps, DispatchBuilder, HostNode, Recorder, Tensor, grid};

/// Largest head size the kernels take.
pub const MAX_HEAD_SIZE: usize = 128;

#[derive(Clone, Copy)]
struct Sizes {
    samples: usize,
    tokens: usize,
    heads: usize,
    size: usize,
}

impl Sizes {
    fn scale(&self) -> f64 {
        1.0 / (self.size as f64).sqrt()
    }

    /// First element of the q (0), k (1) or v (2) of a token.
    fn at(&self, sample: usize, token: usize, part: usize, head: usize) -> usize {
        (((sample * self.tokens + token) * 3 + part) * self.heads + head) * self.size
    }

    /// Ends a dispatch with its sizes and grid: 8 tokens a workgroup of the subgroup kernels, 64 of the others.
    fn finish(&self, dispatch: DispatchBuilder<'_>, family: Family) {
        let Sizes { samples, tokens, heads, size } = *self;
        let dispatch = dispatch.u32("tokens", tokens).u32("heads", heads).f32("scale", self.scale() as f32);
        match family {
            Family::Plain => {
                let dispatch = dispatch.u32("samples", samples).u32("size", size);
                dispatch.groups(grid((samples * heads * tokens).div_ceil(64)));
            }
            Family::Tile => dispatch.groups([tokens.div_ceil(64) as u32, heads as u32, samples as u32]),
            Family::Subgroup => {
                dispatch.u32("samples", samples).groups(grid(samples * heads * tokens.div_ceil(8)));
            }
        }
    }

    fn out(&self, sample: usize, token: usize, head: usize) -> usize {
        ((sample * self.tokens + token) * self.heads + head) * self.size
    }
}

/// The kernels there are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    /// Any head size, any adapter, slow.
    Plain,
    /// Rows shared in workgroup memory, any adapter.
    Tile,
    /// Rows shared by shuffles, for subgroups of 8 lanes.
    Subgroup,
}

impl Family {
    fn of(caps: &Caps, size: usize) -> Self {
        match size {
            16 | 32 | 64 if caps.subgroup == Some(8) => Family::Subgroup,
            16 | 32 | 64 | 80 => Family::Tile,
            _ => Family::Plain,
        }
    }

    fn shader(self, size: usize) -> &'static str {
        match (self, size) {
            (Family::Subgroup, 16) => "attention_subgroup_16",
            (Family::Subgroup, 32) => "attention_subgroup_32",
            (Family::Subgroup, _) => "attention_subgroup_64",
            (Family::Tile, 16) => "attention_tile_16",
            (Family::Tile, 32) => "attention_tile_32",
            (Family::Tile, 64) => "attention_tile_64",
            (Family::Tile, _) => "attention_tile_80",
            (Family::Plain, _) => "attention",
        }
    }
}

/// The dispatches of the backward; `[dy, qkv, y, saved, dqkv]`.
fn record_backward(rec: &mut Recorder, z: Sizes, family: Family, tensors: [Tensor; 5]) {
    let [dy, qkv, y, saved, dqkv] = tensors;
    let shader = family.shader(z.size);
    if family == Family::Plain {
        let dispatch = rec.dispatch(shader, "backward").bind("qkv", qkv).bind("dy", dy).bind("out", y);
        return z.finish(dispatch.bind("log_sum", saved).bind("dqkv", dqkv), family);
    }
    let delta = rec.transient("sum of dy y", &[z.samples, z.heads, z.tokens]);
    if family == Family::Subgroup {
        let dispatch = rec.dispatch(shader, "backward_delta").bind("dy", dy).bind("out", y);
        z.finish(dispatch.bind("delta_out", delta), family);
    }
    for entry in ["backward_q", "backward_kv"] {
        let dispatch = rec.dispatch(shader, entry).bind("qkv", qkv).bind("dy", dy).bind("log_sum", saved);
        let dispatch = dispatch.bind("dqkv", dqkv);
        let dispatch = match (family, entry) {
            // The tile kernel's first pass writes delta for its second.
            (Family::Tile, "backward_q") => dispatch.bind("out", y).bind("delta", delta),
            (Family::Tile, _) => dispatch.bind("deltas", delta),
            _ => dispatch.bind("delta", delta),
        };
        z.finish(dispatch, family);
    }
}

/// `y (B, N, H D)` of `qkv (B, N, 3 H D)`.
///
/// # Panics
/// If the head size is over `MAX_HEAD_SIZE`; configs are checked for it.
pub fn forward(rec: &mut Recorder, qkv: Tensor, heads: usize) -> Tensor {
    let [samples, tokens, width] = *rec.shape(qkv) else { panic!("attention: qkv must be (B, N, 3 H D)") };
    let z = Sizes { samples, tokens, heads, size: width / 3 / heads };
    assert!(z.size <= MAX_HEAD_SIZE, "attention: head size {}", z.size);
    expect_shape(rec, "attention", qkv, &[samples, tokens, 3 * heads * z.size]);
    let y = rec.transient("attention", &[samples, tokens, heads * z.size]);
    let saved = rec.transient("attention log sums", &[samples, heads, tokens]);
    let flops = 4.0 * (samples * heads * tokens * tokens * z.size) as f64;
    rec.node("attention.forward", &[qkv], &[y, saved], flops, move |h| forward_twin(h, z));
    let family = Family::of(rec.caps(), z.size);
    let dispatch = rec.dispatch(family.shader(z.size), "forward").bind("qkv", qkv).bind("y", y).bind("saved", saved);
    z.finish(dispatch, family);
    rec.tape(&[qkv], y, move |rec, dy| {
        let dqkv = rec.transient("d qkv", &[samples, tokens, width]);
        rec.node("attention.backward", &[dy, qkv, y, saved], &[dqkv], 2.5 * flops, move |h| backward_twin(h, z));
        record_backward(rec, z, family, [dy, qkv, y, saved, dqkv]);
        rec.add_grad(qkv, dqkv);
    });
    y
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `(sample, head)` pairs.
fn pairs(z: Sizes) -> impl Iterator<Item = (usize, usize)> {
    (0..z.samples).flat_map(move |b| (0..z.heads).map(move |h| (b, h)))
}

fn forward_twin(h: &mut HostNode<'_>, z: Sizes) {
    let qkv = h.inputs[0];
    let part = |b, i, p, head| &qkv[z.at(b, i, p, head)..][..z.size];
    for (b, head) in pairs(z) {
        for i in 0..z.tokens {
            let q = part(b, i, 0, head);
            let scores: Vec<f64> = (0..z.tokens).map(|j| z.scale() * dot(q, part(b, j, 1, head))).collect();
            let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let lse = largest + scores.iter().map(|s| (s - largest).exp()).sum::<f64>().ln();
            let y = &mut h.outputs[0][z.out(b, i, head)..][..z.size];
            y.fill(0.0);
            for (j, s) in scores.iter().enumerate() {
                let p = (s - lse).exp();
                y.iter_mut().zip(part(b, j, 2, head)).for_each(|(y, v)| *y += p * v);
            }
            h.outputs[1][(b * z.heads + head) * z.tokens + i] = lse;
        }
    }
}

fn backward_twin(h: &mut HostNode<'_>, z: Sizes) {
    let (dy, qkv, y, saved) = (h.inputs[0], h.inputs[1], h.inputs[2], h.inputs[3]);
    let dqkv = &mut h.outputs[0];
    dqkv.fill(0.0);
    for (b, head) in pairs(z) {
        for i in 0..z.tokens {
            let o = z.out(b, i, head);
            let delta = dot(&dy[o..][..z.size], &y[o..][..z.size]);
            let q = z.at(b, i, 0, head);
            for j in 0..z.tokens {
                let (k, v) = (z.at(b, j, 1, head), z.at(b, j, 2, head));
                let score = z.scale() * dot(&qkv[q..][..z.size], &qkv[k..][..z.size]);
                let p = (score - saved[(b * z.heads + head) * z.tokens + i]).exp();
                let dp = dot(&dy[o..][..z.size], &qkv[v..][..z.size]);
                let ds = p * (dp - delta) * z.scale();
                for d in 0..z.size {
                    dqkv[q + d] += ds * qkv[k + d];
                    dqkv[k + d] += ds * qkv[q + d];
                    dqkv[v + d] += p * dy[o + d];
                }
            }
        }
    }
}

/// Test cases.
pub fn cases() -> Vec<Case> {
    let case = |samples: usize, tokens: usize, heads: usize, size: usize| {
        Case::new(format!("attention {samples}x{tokens}, {heads} heads of {size}"), move |rig| {
            let qkv = rig.leaf("qkv", &[samples, tokens, 3 * heads * size]);
            forward(&mut rig.rec, qkv, heads)
        })
    };
    vec![case(1, 1, 1, 7), case(2, 7, 3, 16), case(1, 33, 2, 32), case(1, 70, 1, 64), case(1, 9, 1, 80)]
}
