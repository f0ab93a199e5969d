//! Operations that are bound by memory, against what a copy reaches.

use std::sync::Arc;

use serde::Serialize;

use super::{Error, limits, warm};
use crate::gpu::{Dtype, Gpu, ParamSet, Phase, Recorder, Tensor};
use crate::op::layer_norm::{self, EPS, Norm};
use crate::op::loss::{self, LossArgs, LossKind};
use crate::op::patch_target::{self, Normalise};
use crate::op::{adamw, column_sum, grad_norm, pool, residual, rows, scalars};

/// One operation's figures.
#[derive(Debug, Clone, Serialize)]
pub struct MemoryOperation {
    /// What and at which shape.
    pub name: String,
    /// The kernel chosen.
    pub kernel: String,
    /// Milliseconds, copies of operands into textures included.
    pub ms: f64,
    /// Bytes it must read and write over its time, in GB/s.
    pub gbs: f64,
    /// The same as a share of what a copy reached beside it; caches can lift it over 1.
    pub of_copy: f64,
}

/// An operation to be measured: what and at which shape, bytes that it must read and write, and how it is recorded.
struct Candidate {
    name: String,
    bytes: f64,
    record: Box<dyn Fn(&mut Recorder)>,
}

fn candidate(name: String, numbers: usize, record: impl Fn(&mut Recorder) + 'static) -> Candidate {
    Candidate { name, bytes: 4.0 * numbers as f64, record: Box::new(record) }
}

fn input(rec: &mut Recorder, name: &str, shape: &[usize]) -> Tensor {
    rec.input(name, shape, Dtype::F32)
}

/// Layer norm forward, or the gradient of its input or of its parameters alone.
fn layer_norms(n: usize, channels: usize) -> Vec<Candidate> {
    let norm = move |rec: &mut Recorder, learns: bool| {
        let set = rec.param_set("norm", learns);
        let (weight, bias) = (rec.param(set, "weight", &[channels]), rec.param(set, "bias", &[channels]));
        Norm { weight, bias, stack: 1, eps: EPS }
    };
    let backward = move |rec: &mut Recorder, of_input: bool| {
        let x = input(rec, "x", &[n, channels]);
        let norm = norm(rec, !of_input);
        if of_input {
            rec.require_grad(x);
        }
        let y = layer_norm::forward(rec, x, &norm);
        rec.forget_nodes();
        let dy = input(rec, "dy", &[n, channels]);
        rec.add_grad(y, dy);
        rec.backward();
    };
    let len = n * channels;
    vec![
        candidate(format!("layer norm {n}x{channels}"), 2 * len, move |rec| {
            let x = input(rec, "x", &[n, channels]);
            let norm = norm(rec, false);
            layer_norm::forward(rec, x, &norm);
        }),
        candidate(format!("layer norm backward {n}x{channels}"), 3 * len, move |rec| backward(rec, true)),
        candidate(format!("layer norm dweight, dbias {n}x{channels}"), 2 * len, move |rec| backward(rec, false)),
    ]
}

/// The loss and its gradient, of 8 samples whose masked tokens are all tokens, in an order of their own.
fn loss(n: usize, channels: usize) -> Candidate {
    let tokens = n / 8;
    candidate(format!("loss and gradient {n}x{channels}"), 3 * n * channels, move |rec| {
        let prediction = input(rec, "prediction", &[8, tokens, channels]);
        let target = input(rec, "target", &[8, tokens, channels]);
        // 7 has no factor in common with the numbers of tokens.
        let order: Vec<u32> = (0..n).map(|i| (7 * i % tokens) as u32).collect();
        let masked = rec.constant_u32("masked", &[8, tokens], &order);
        let scalars = scalars::declare(rec);
        let args = LossArgs { kind: LossKind::SmoothL1, weight: 1.0, scale: 1.0, scalars, slot: scalars::LOSS };
        rec.require_grad(prediction);
        loss::forward(rec, prediction, target, masked, args);
    })
}

/// A set of matrices of 768 x 3072, closed.
fn parameters(rec: &mut Recorder, count: usize) -> ParamSet {
    let set = rec.param_set("student", true);
    for i in 0..count {
        rec.param(set, format!("weight {i}"), &[768, 3072]);
    }
    set
}

/// Gradient norm and optimiser of so many matrices of 768 x 3072.
fn updates(count: usize) -> [Candidate; 2] {
    let numbers = count * 768 * 3072;
    let millions = numbers / 1_000_000;
    [
        candidate(format!("gradient norm {millions} M"), numbers, move |rec| {
            let (set, scalars) = (parameters(rec, count), scalars::declare(rec));
            grad_norm::record(rec, set, scalars);
        }),
        candidate(format!("AdamW {millions} M"), 7 * numbers, move |rec| {
            let (set, scalars) = (parameters(rec, count), scalars::declare(rec));
            adamw::record(rec, set, scalars, |_, _| (1.0, true));
        }),
    ]
}

/// Moving and adding rows.
fn moves(n: usize, channels: usize) -> Vec<Candidate> {
    let (len, tokens) = (n * channels, n / 8);
    vec![
        candidate(format!("slice rows {n}x{channels}"), 2 * len, move |rec| {
            let x = input(rec, "x", &[8, tokens + 1, channels]);
            rows::slice(rec, x, 1, tokens);
        }),
        candidate(format!("gather and add rows {n}x{channels}"), 2 * len, move |rec| {
            let x = input(rec, "x", &[8, tokens, channels]);
            let table = input(rec, "table", &[tokens, channels]);
            let order: Vec<u32> = (0..n).map(|i| (7 * i % tokens) as u32).collect();
            let index = rec.constant_u32("index", &[8, tokens], &order);
            rows::add_position(rec, x, rows::Positions { table, index, place: None });
        }),
        candidate(format!("residual add {n}x{channels}"), 3 * len, move |rec| {
            let (a, b) = (input(rec, "a", &[n, channels]), input(rec, "b", &[n, channels]));
            rec.sum_of(a, b);
        }),
        candidate(format!("residual backward {n}x{channels}"), 2 * len, move |rec| {
            let (x, dy) = (input(rec, "x", &[8, tokens, channels]), input(rec, "dy", &[8, tokens, channels]));
            let scale = input(rec, "scale", &[8]);
            residual::backward(rec, dy, residual::Skip { x, scale: Some(scale) });
        }),
        candidate(format!("mean over tokens {n}x{channels}"), len, move |rec| {
            let x = input(rec, "x", &[8, tokens, channels]);
            pool::forward(rec, x);
        }),
    ]
}

/// All, at the sizes of ViT-B: 8 clips of 1568 tokens on GPUs, one on software adapters.
fn candidates(software: bool) -> Vec<Candidate> {
    let (n, channels) = (if software { 1568 } else { 12_544 }, 768);
    let mut all = if software { layer_norms(n, 384) } else { Vec::new() };
    all.extend(layer_norms(n, channels));
    all.push(candidate(format!("column sum {n}x{channels}"), n * channels, move |rec| {
        let (x, total) = (input(rec, "x", &[n, channels]), input(rec, "total", &[1, channels]));
        column_sum::accumulate(rec, x, total, 1, 0..0);
    }));
    all.push(loss(n, channels));
    let patches = n / 2;
    all.push(candidate(format!("patch target {patches}x1536"), 2 * patches * 1536, move |rec| {
        let x = input(rec, "x", &[patches, 1536]);
        patch_target::forward(rec, x, Normalise::PerColour);
    }));
    all.extend(moves(n, channels));
    // 86 million numbers are ViT-B's.
    all.extend(updates(if software { 2 } else { 36 }));
    all
}

/// Measures those whose name holds `filter`, telling `done` of each.
///
/// # Errors
/// What the engine reports.
pub fn memory(
    gpu: &Arc<Gpu>,
    filter: &str,
    mut done: impl FnMut(&MemoryOperation),
) -> Result<Vec<MemoryOperation>, Error> {
    let mut all = Vec::new();
    for candidate in candidates(gpu.caps().software).into_iter().filter(|c| c.name.contains(filter)) {
        let mut rec = Recorder::new(gpu.caps().clone());
        (candidate.record)(&mut rec);
        let kernel = rec.last_kernel().unwrap_or_default().to_owned();
        let copy = limits::copy_gbs(gpu)?;
        let seconds = warm(gpu, rec)?.seconds(Phase::Micro, 5)?;
        let gbs = candidate.bytes / seconds / 1e9;
        let operation = MemoryOperation { name: candidate.name, kernel, ms: seconds * 1e3, gbs, of_copy: gbs / copy };
        done(&operation);
        all.push(operation);
    }
    Ok(all)
}
