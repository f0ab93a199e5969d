//! Operations alone, at the shapes of ViT-S and ViT-B.

use std::sync::Arc;

use serde::Serialize;

use super::{Error, limits, recorded, warm};
use crate::gpu::{Dtype, Gpu, Phase, Recorder, Tensor};
use crate::op::attention;
use crate::op::matmul::{self, End, Layout};

/// One operation's figures.
#[derive(Debug, Clone, Serialize)]
pub struct Operation {
    /// What and at which shape.
    pub name: String,
    /// The kernel chosen.
    pub kernel: String,
    /// Milliseconds, copies of operands into textures included.
    pub ms: f64,
    /// Its FLOPs over its time, in GFLOP/s; 0 where it is bound by memory.
    pub gflops: f64,
    /// The same as a share of the limit that was measured beside it: for matrix products of f16 operands that of cooperative
    /// matrices, for all else that of f32 multiply-adds.
    pub of_limit: f64,
    /// Bytes it must read and write over its time, in GB/s.
    pub gbs: f64,
}

/// An operation to be measured.
struct Candidate {
    /// What and at which shape.
    name: String,
    /// FLOPs, or 0 where it is bound by memory.
    flops: f64,
    /// Bytes that it must read and write.
    bytes: f64,
    record: Record,
}

/// Records the operation.
type Record = Box<dyn Fn(&mut Recorder)>;

fn input(rec: &mut Recorder, name: &str, shape: &[usize]) -> Tensor {
    rec.input(name, shape, Dtype::F32)
}

fn product(layout: Layout, m: usize, k: usize, n: usize, end: End) -> Candidate {
    let ends = match end {
        End::Gelu { .. } => " Gelu",
        End::Skip { .. } => " Skip",
        End::GeluGradient => " GeluGradient",
        End::Store | End::Accumulate | End::Bias => "",
    };
    Candidate {
        name: format!("product {layout:?} {m}x{k}x{n}{ends}"),
        flops: 2.0 * (m * k * n) as f64,
        bytes: 4.0 * (m * k + k * n + m * n) as f64,
        record: Box::new(move |rec| matmul::alone(rec, layout, [1, m, k, n], end)),
    }
}

fn attention([batch, tokens, heads, size]: [usize; 4], backward: bool) -> Candidate {
    let width = heads * size;
    let forward = 4.0 * (batch * heads * tokens * tokens * size) as f64;
    let record = move |rec: &mut Recorder| {
        let qkv = input(rec, "qkv", &[batch, tokens, 3 * width]);
        if !backward {
            attention::forward(rec, qkv, heads);
            return;
        }
        rec.require_grad(qkv);
        let y = attention::forward(rec, qkv, heads);
        rec.forget_nodes();
        let dy = input(rec, "dy", &[batch, tokens, width]);
        rec.add_grad(y, dy);
        rec.backward();
    };
    Candidate {
        name: format!(
            "attention {} {batch} x {tokens} tokens, {heads} heads of {size}",
            if backward { "backward" } else { "forward" }
        ),
        flops: if backward { 2.5 * forward } else { forward },
        bytes: 4.0 * (batch * tokens * width) as f64 * if backward { 9.0 } else { 4.0 },
        record: Box::new(record),
    }
}

/// Everything that is measured, at 224 pixels and 16 frames (1568 tokens, 160 of them visible), one clip on a software adapter,
/// else 8: matrix products of ViT-S and ViT-B in three layouts, attention of student, decoders and teachers.
fn candidates(software: bool) -> Vec<Candidate> {
    let batch = if software { 1 } else { 8 };
    let mut all = Vec::new();
    for (dim, rows) in [(384, 160), (384, 1568), (768, 160), (768, 1568)] {
        let rows = batch * rows;
        for (k, n) in [(dim, 3 * dim), (dim, 4 * dim), (4 * dim, dim)] {
            all.push(product(Layout::NT, rows, k, n, End::Store));
        }
        all.push(product(Layout::NN, rows, 4 * dim, dim, End::Store));
        for n in [dim, 4 * dim] {
            all.push(product(Layout::TN, n, rows, dim, End::Store));
        }
    }
    let rows = batch * 1568;
    all.push(product(Layout::NT, rows, 384, 1536, End::Gelu { saved: true }));
    all.push(product(Layout::NT, rows, 1536, 384, End::Skip { scaled: false }));
    all.push(product(Layout::NN, rows, 384, 1536, End::GeluGradient));
    for (tokens, heads) in [(160, 6), (1568, 6)] {
        all.extend([false, true].map(|backward| attention([batch, tokens, heads, 64], backward)));
    }
    all.push(attention([8 * batch, 197, 12, 64], false));
    all.push(attention([batch, 1568, 12, 64], false));
    if !software {
        all.push(attention([batch, 1568, 12, 64], true));
        all.extend([false, true].map(|backward| attention([1, 1568, 12, 64], backward)));
    }
    all
}

/// Measures those whose name holds `filter`, telling `done` of each; kernels are chosen by timing first where the adapter's are.
///
/// # Errors
/// What the engine reports.
pub fn operations(gpu: &Arc<Gpu>, filter: &str, mut done: impl FnMut(&Operation)) -> Result<Vec<Operation>, Error> {
    let mut all = Vec::new();
    for candidate in candidates(gpu.caps().software).into_iter().filter(|c| c.name.contains(filter)) {
        let operation = measure(gpu, &candidate)?;
        done(&operation);
        all.push(operation);
    }
    Ok(all)
}

/// Numbers in [-1, 1): a GPU takes less power, and so keeps a higher clock, on zeros.
fn noise(len: usize) -> Vec<f32> {
    (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0).collect()
}

fn measure(gpu: &Arc<Gpu>, candidate: &Candidate) -> Result<Operation, Error> {
    let (rec, ()) = recorded(gpu, |rec| {
        (candidate.record)(rec);
        Ok(())
    })?;
    let kernel = rec.last_kernel().unwrap_or_default().to_owned();
    let limit = match limits::rounded(gpu) {
        Some(side) if candidate.name.starts_with("product") => limits::matrix_multiply_adds(gpu, side)?,
        _ => limits::multiply_adds(gpu)?,
    };
    let mut engine = warm(gpu, rec)?;
    for tensor in engine.plan().inputs() {
        engine.write(tensor, &noise(engine.elements(tensor)))?;
    }
    let seconds = engine.seconds(Phase::Micro, 5)?;
    let gflops = candidate.flops / seconds / 1e9;
    Ok(Operation {
        name: candidate.name.clone(),
        kernel,
        ms: seconds * 1e3,
        gflops,
        of_limit: gflops / limit,
        gbs: candidate.bytes / seconds / 1e9,
    })
}
