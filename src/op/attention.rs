//! Multi-head self-attention over packed qkv, without ever storing N x N.
//!
//! `s = q kᵀ / sqrt(D)`, `p = softmax(s)`, `y = p v`, per sample and head. The forward keeps the log of each row's sum of
//! exponentials; the backward recomputes p from it: `dv = pᵀ dy`, `ds = p * (dy vᵀ - sum_D(dy * y))`,
//! `dq = ds k / sqrt(D)`, `dk = dsᵀ q / sqrt(D)`. Shapes: qkv, dqkv (B, N, 3, H, D), y, dy (B, N, H D).

use std::sync::Arc;

use super::check::{Case, random};
use super::expect_shape;
use crate::gpu::shader::Shader;
use crate::gpu::{Caps, DispatchBuilder, Dtype, HostNode, Matrices, Operands, Recorder, Tensor, Trial, Vendor, grid};

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

    /// Ends a dispatch of a family's kernel; a lane of the subgroup kernels takes `per_lane` tokens.
    fn finish(&self, dispatch: DispatchBuilder<'_>, family: Family, per_lane: usize) {
        let Sizes { samples, tokens, heads, size } = *self;
        let dispatch = dispatch.u32("tokens", tokens).u32("heads", heads).f32("scale", self.scale() as f32);
        match family {
            Family::Plain => {
                let dispatch = dispatch.u32("samples", samples).u32("size", size);
                dispatch.groups(grid((samples * heads * tokens).div_ceil(64)));
            }
            Family::Matrices | Family::Tile | Family::Uniform => {
                dispatch.groups([tokens.div_ceil(64) as u32, heads as u32, samples as u32]);
            }
            Family::Subgroup | Family::Image => {
                dispatch.u32("samples", samples).groups(grid(samples * heads * tokens.div_ceil(8 * per_lane)));
            }
        }
    }

    /// First element of y or dy of a token.
    fn out_at(&self, sample: usize, token: usize, head: usize) -> usize {
        ((sample * self.tokens + token) * self.heads + head) * self.size
    }

    /// Shape of qkv.
    fn qkv(&self) -> [usize; 3] {
        [self.samples, self.tokens, 3 * self.heads * self.size]
    }

    /// Shape of y.
    fn out(&self) -> [usize; 3] {
        [self.samples, self.tokens, self.heads * self.size]
    }

    /// Shape of what there is one of for a row of scores.
    fn rows(&self) -> [usize; 3] {
        [self.samples, self.heads, self.tokens]
    }

    /// FLOPs of the forward.
    fn flops(&self) -> f64 {
        4.0 * (self.samples * self.heads * self.tokens * self.tokens * self.size) as f64
    }
}

/// The kinds of kernels there are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    /// Cooperative matrices of operands rounded to f16.
    Matrices,
    /// Rows shared by shuffles, with qkv and dy in textures.
    Image,
    /// The same with qkv and dy in buffers.
    Subgroup,
    /// Tiles of scores in registers, operands through workgroup memory.
    Tile,
    /// A row in a lane's registers, rows of the other side read at addresses that all lanes share.
    Uniform,
    /// A row a lane, any head size, slow.
    Plain,
}

/// What there is to choose from.
struct Candidate {
    family: Family,
    /// Names of the shaders of the forward and the backward, without head size.
    shaders: [&'static str; 2],
    /// Head sizes that have a shader each, of the forward and the backward; none are all, in one shader.
    sizes: [&'static [usize]; 2],
    /// What an adapter must have.
    runs: fn(&Caps) -> bool,
    /// Whose adapters it is the fastest on, as far as that is known without timing.
    best: &'static [Vendor],
}

/// Head sizes of kernels for registers or workgroup memory of GPUs.
const EVERY: &[usize] = &[16, 32, 64, 80, 96, 128];

/// Kernels for matrices of f16 of a side, in subgroups of so many lanes, forward and backward, each with the head sizes that it is for.
const fn matrices(shaders: [&'static str; 2], sizes: [&'static [usize]; 2], runs: fn(&Caps) -> bool) -> Candidate {
    Candidate { family: Family::Matrices, shaders, sizes, runs, best: &[] }
}

fn has(caps: &Caps, side: u32, lanes: u32) -> bool {
    caps.matrices == Some(Matrices { operands: Operands::F16, side, lanes })
}

/// Every candidate; of those that no vendor makes the best, an earlier one is preferred.
const CANDIDATES: [Candidate; 9] = [
    matrices(["attention_f16_lanes32", "attention_f16_backward_lanes32"], [EVERY; 2], |caps| has(caps, 16, 32)),
    // AMD's registers do not hold the backward's operands of longer rows.
    matrices(["attention_f16_lanes64", "attention_f16_backward_lanes64"], [EVERY, &[16, 32, 64, 80]], |caps| {
        has(caps, 16, 64)
    }),
    matrices(["attention_f16_lanes32_side8", "attention_f16_backward_lanes32_side8"], [EVERY; 2], |caps| {
        has(caps, 8, 32)
    }),
    // Of lavapipe, which takes half a minute to compile them for 64: for the tests.
    matrices(["attention_f16_lanes8_side8", "attention_f16_backward_lanes8_side8"], [&[16, 64]; 2], |caps| {
        has(caps, 8, 8)
    }),
    Candidate {
        family: Family::Image,
        shaders: ["attention_image"; 2],
        sizes: [&[16, 32, 64]; 2],
        runs: |caps| caps.subgroup == Some(8) && caps.images.is_some(),
        best: &[],
    },
    Candidate {
        family: Family::Subgroup,
        shaders: ["attention_subgroup"; 2],
        sizes: [&[16, 32, 64]; 2],
        runs: |caps| caps.subgroup == Some(8),
        best: &[],
    },
    Candidate {
        family: Family::Tile,
        shaders: ["attention_tile", "attention_tile_backward"],
        sizes: [EVERY; 2],
        runs: |_| true,
        best: &[],
    },
    Candidate {
        family: Family::Uniform,
        shaders: ["attention_uniform", "attention_uniform_backward"],
        sizes: [EVERY; 2],
        runs: |_| true,
        best: &[Vendor::Amd],
    },
    Candidate { family: Family::Plain, shaders: ["attention"; 2], sizes: [&[]; 2], runs: |_| true, best: &[] },
];

/// Queries a lane of the subgroup kernels takes: `PER_LANE` in the shaders.
const PER_LANE: usize = 2;

#[derive(Clone, Copy)]
enum Pass {
    Forward,
    Backward,
}

impl Candidate {
    /// What can take operands `read`, the fastest first by what is known beforehand.
    fn list(rec: &Recorder, pass: Pass, read: &[Tensor], size: usize) -> Vec<&'static Candidate> {
        let caps = rec.caps();
        let images = read.iter().all(|&x| rec.suits_image(x));
        let fits = |c: &&Candidate| {
            c.sizes[pass as usize].contains(&size) && (c.runs)(caps) && (images || c.family != Family::Image)
        };
        let mut found: Vec<_> = CANDIDATES.iter().filter(fits).collect();
        found.sort_by_key(|c| (c.family != Family::Matrices, !c.best.contains(&caps.vendor)));
        if caps.software {
            // There the first is several times as fast as any other.
            found.truncate(1);
        }
        if found.is_empty() { CANDIDATES.iter().filter(|c| c.family == Family::Plain).collect() } else { found }
    }

    fn shader(&self, pass: Pass, size: usize) -> &'static str {
        let name = self.shaders[pass as usize];
        let name = if self.family == Family::Plain { name.to_owned() } else { format!("{name}_{size}") };
        Shader::named(&name).unwrap_or_else(|| panic!("attention: no shader {name}")).name
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
    expect_shape(rec, "attention", qkv, &z.qkv());
    let (y, saved) = (rec.transient("attention", &z.out()), rec.transient("attention log sums", &z.rows()));
    record_forward(rec, z, [qkv, y, saved]);
    rec.tape(&[qkv], y, move |rec, dy| {
        let dqkv = rec.transient("d qkv", &z.qkv());
        record_backward(rec, z, [dy, qkv, y, saved, dqkv]);
        rec.add_grad(qkv, dqkv);
    });
    y
}

/// The dispatch of the forward, by the chosen kernel.
fn record_forward(rec: &mut Recorder, z: Sizes, [qkv, y, saved]: [Tensor; 3]) {
    let (family, shader) = choose(rec, Pass::Forward, z, &[qkv], |rec, z| {
        let inputs = [("qkv", z.qkv()), ("y", z.out()), ("saved", z.rows())]
            .map(|(name, shape)| rec.input(name, &shape, Dtype::F32));
        record_forward(rec, z, inputs);
    });
    let read = operand(rec, qkv, family);
    rec.node("attention.forward", &[qkv], &[y, saved], z.flops(), move |h| forward_twin(h, z));
    let dispatch = rec.dispatch(shader, "forward").bind("qkv", read).bind("y", y).bind("saved", saved);
    z.finish(dispatch, family, PER_LANE);
}

/// The dispatches of the backward, by the chosen kernel.
fn record_backward(rec: &mut Recorder, z: Sizes, [dy, qkv, y, saved, dqkv]: [Tensor; 5]) {
    let (family, shader) = choose(rec, Pass::Backward, z, &[dy, qkv], |rec, z| {
        let inputs = [("dy", z.out()), ("qkv", z.qkv()), ("y", z.out()), ("saved", z.rows()), ("dqkv", z.qkv())]
            .map(|(name, shape)| rec.input(name, &shape, Dtype::F32));
        record_backward(rec, z, inputs);
    });
    let read = operand(rec, qkv, family);
    let dy_read = if family == Family::Image { rec.image(dy) } else { dy };
    rec.node("attention.backward", &[dy, qkv, y, saved], &[dqkv], 2.5 * z.flops(), move |h| backward_twin(h, z));
    if family == Family::Plain {
        let dispatch = rec.dispatch(shader, "backward").bind("qkv", read).bind("dy", dy_read).bind("out", y);
        return z.finish(dispatch.bind("log_sum", saved).bind("dqkv", dqkv), family, 1);
    }
    let (dy_read, delta) = record_delta(rec, z, [dy_read, y], family, shader);
    for (entry, per_lane) in [("backward_q", PER_LANE), ("backward_kv", 1)] {
        let dispatch = rec.dispatch(shader, entry).bind("qkv", read).bind("dy", dy_read).bind("log_sum", saved);
        z.finish(dispatch.bind("dqkv", dqkv).bind("delta", delta), family, per_lane);
    }
}

/// The first dispatch of the backward: sums of dy y, and dy as the next ones read it.
fn record_delta(
    rec: &mut Recorder,
    z: Sizes,
    [dy, y]: [Tensor; 2],
    family: Family,
    shader: &'static str,
) -> (Tensor, Tensor) {
    let [samples, heads, tokens] = z.rows();
    if family == Family::Matrices {
        let scaled = rec.transient_half("scaled dy", &z.out());
        let delta = rec.transient("exponent of dy, sum of dy y", &[samples, heads, tokens, 2]);
        let dispatch = rec.dispatch(shader, "backward_delta").bind("dy_whole", dy).bind("out", y);
        z.finish(dispatch.bind("dy_out", scaled).bind("delta_out", delta), family, 1);
        return (scaled, delta);
    }
    let delta = rec.transient("sum of dy y", &[samples, heads, tokens]);
    let dispatch = rec.dispatch(shader, "backward_delta").bind("dy", dy).bind("out", y);
    z.finish(dispatch.bind("delta_out", delta), family, 1);
    (dy, delta)
}

/// Which kernels to take, for operands `read`; `alone` records the pass at any sizes, of inputs.
fn choose(
    rec: &mut Recorder,
    pass: Pass,
    z: Sizes,
    read: &[Tensor],
    alone: fn(&mut Recorder, Sizes),
) -> (Family, &'static str) {
    let candidates = Candidate::list(rec, pass, read, z.size);
    let names: Vec<_> = candidates.iter().map(|candidate| candidate.shader(pass, z.size)).collect();
    let Sizes { samples, tokens, heads, size } = z;
    let pass = ["forward", "backward"][pass as usize];
    let small = Sizes { samples: 2, tokens: 70, heads: 2, size };
    let trial = Trial {
        alone: Arc::new(move |rec| alone(rec, z)),
        kind: format!("attention {pass}, heads of {size}"),
        small: Arc::new(move |rec| alone(rec, small)),
    };
    let chosen = rec.choose(format!("attention {pass} {samples}x{tokens}, {heads} heads of {size}"), &names, trial);
    (candidates[chosen].family, names[chosen])
}

/// What the kernels of a family read of qkv: a copy or the tensor itself.
fn operand(rec: &mut Recorder, qkv: Tensor, family: Family) -> Tensor {
    match family {
        Family::Image => rec.image(qkv),
        Family::Matrices => rec.half(qkv),
        _ => qkv,
    }
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
            let y = &mut h.outputs[0][z.out_at(b, i, head)..][..z.size];
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
            let o = z.out_at(b, i, head);
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
    // Scores grow with the key, so that what was summed before counts for little; operands that f16 holds.
    let growing = |tokens: usize, size: usize| {
        Case::new(format!("attention 1x{tokens}, 1 heads of {size}, growing scores"), move |rig| {
            let shape = [1, tokens, 3 * size];
            let values = random("qkv", tokens * 3 * size).into_iter().enumerate().map(|(i, x)| {
                let (token, third) = (i / (3 * size), i / size % 3);
                let grown = if third == 1 { x * token as f64 / 6.0 } else { x };
                (64.0 * grown).round() / 64.0
            });
            let qkv = rig.input_with("qkv", &shape, values.collect());
            rig.rec.require_grad(qkv);
            forward(&mut rig.rec, qkv, 1)
        })
    };
    vec![
        case(1, 1, 1, 7),
        case(2, 7, 3, 16),
        case(1, 197, 1, 16),
        case(1, 1, 2, 32),
        case(2, 33, 1, 32),
        case(1, 70, 1, 64),
        case(2, 13, 2, 64),
        case(1, 70, 1, 80),
        case(2, 7, 1, 96),
        case(1, 70, 1, 96),
        case(1, 70, 1, 128),
        // No f16 holds such gradients.
        case(2, 33, 1, 16).gradient((-40f64).exp2()),
        case(1, 33, 2, 16).gradient(20f64.exp2()),
        growing(100, 16),
        growing(100, 64),
    ]
}
