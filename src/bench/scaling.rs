//! How a training step's time and memory grow with tokens and with the batch.

use std::sync::Arc;

use serde::Serialize;

use super::steps::step;
use super::{Error, median};
use crate::gpu::{Engine, EngineOptions, Gpu, Phase, Plan, Recorder};
use crate::model::classifier::ClassifierArch;
use crate::model::encoder::Family;
use crate::model::{Grid, Vit};
use crate::train::groups::{self, LayerDecay};

/// One size's figures.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Point {
    /// Tokens of a clip.
    pub tokens: usize,
    /// Clips.
    pub batch: usize,
    /// Milliseconds of matrix products, forward and backward.
    pub products: f64,
    /// Milliseconds of attention, forward and backward.
    pub attention: f64,
    /// Milliseconds of everything else but the optimiser.
    pub rest: f64,
    /// MiB of activations and their gradients, as planned.
    pub mib: f64,
}

/// Times of which each figure is the median.
const RUNS: usize = 3;
/// Blocks of the encoder that is trained.
const ENCODER: Vit = Vit { dim: 192, depth: 2, heads: 3, mlp_ratio: 4 };

/// Measures classifiers of `frames / 2 * 64` tokens.
fn point(gpu: &Arc<Gpu>, frames: usize, batch: usize) -> Result<Point, Error> {
    let grid = Grid { frames, size: 64, tubelet: 2, patch: 8 };
    let arch = ClassifierArch::plain(Family::Mvd, ENCODER, grid, 10, batch);
    let mut rec = Recorder::new(gpu.caps().clone());
    arch.record(&mut rec, groups::classifier(LayerDecay { decay: 1.0, depth: ENCODER.depth }))?;
    let mut engine = Engine::new(gpu, Plan::new(rec), &EngineOptions::default())?;
    step(&mut engine)?;
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        let mut sums = [0.0; 3];
        for node in engine.time_nodes(Phase::Micro)? {
            let kind = ["linear.", "attention."].iter().position(|kind| node.name.starts_with(kind)).unwrap_or(2);
            sums[kind] += 1e3 * node.seconds;
        }
        runs.push(sums);
    }
    let [products, attention, rest] = [0, 1, 2].map(|kind| median(runs.iter().map(|sums| sums[kind]).collect()));
    let mib = engine.plan().summary().planned as f64 / f64::from(1 << 20);
    Ok(Point { tokens: grid.len(), batch, products, attention, rest, mib })
}

/// Measures one clip of 64 to `tokens` tokens, doubling, then 1 to 16 clips of 256; `done` hears of each.
///
/// # Errors
/// What the engine reports.
pub fn scaling(gpu: &Arc<Gpu>, tokens: usize, mut done: impl FnMut(&Point)) -> Result<[Vec<Point>; 2], Error> {
    let doubling =
        |first: usize, last: usize| std::iter::successors(Some(first), |n| Some(2 * n)).take_while(move |n| *n <= last);
    let by_tokens = doubling(2, tokens / 32).map(|frames| (frames, 1));
    let by_batch = doubling(1, 16).map(|batch| (8, batch));
    let mut measure = |(frames, batch)| {
        let point = point(gpu, frames, batch)?;
        done(&point);
        Ok(point)
    };
    Ok([
        by_tokens.map(&mut measure).collect::<Result<_, Error>>()?,
        by_batch.map(&mut measure).collect::<Result<_, Error>>()?,
    ])
}
