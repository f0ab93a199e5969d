//! The operations of a detection head (RoIAlign, maximum over bins, binary cross entropy) against stored tensors of torchvision.

use std::path::Path;
use std::sync::Arc;

use super::{Error, FORWARD, GRADIENT, LOSS, Report, difference, sibling};
use crate::gpu::{Arena, Dtype, Engine, EngineOptions, Gpu, Phase, Plan, Recorder, StepValues};
use crate::model::Params;
use crate::model::step::finish;
use crate::op::binary_cross_entropy::{self, Weights};
use crate::op::roi::{self, BINS};
use crate::op::{linear, scalars};
use crate::weights::{HostTensor, Tensors};

/// Pixels of a cell of the map.
const CELL: f64 = 16.0;

/// The stored tensors, and where each box stands in a batch of as many boxes a sample.
struct Stored<'a> {
    path: &'a Path,
    tensors: Tensors,
    /// Samples, channels, height and width of the map.
    map: [usize; 4],
    /// Places of a sample.
    most: usize,
    /// Of each stored box, its place.
    places: Vec<usize>,
}

impl<'a> Stored<'a> {
    fn new(path: &'a Path, tensors: Tensors) -> Result<Self, Error> {
        let stored = Stored { path, tensors, map: [0; 4], most: 0, places: Vec::new() };
        let wrong = |reason: String| Error::Layout { path: path.to_owned(), reason };
        let map: [usize; 4] = stored.get("map")?.shape.as_slice().try_into().unwrap_or_default();
        let samples: Vec<usize> = stored.get("boxes")?.data.chunks_exact(5).map(|b| b[0] as usize).collect();
        if map.contains(&0) || samples.is_empty() || samples.iter().any(|sample| *sample >= map[0]) {
            return Err(wrong("expected map (B, C, h, w) and boxes (n, 5) that begin with a sample's number".into()));
        }
        let mut counts = vec![0; map[0]];
        let within: Vec<usize> = samples
            .iter()
            .map(|sample| {
                counts[*sample] += 1;
                counts[*sample] - 1
            })
            .collect();
        let most = counts.iter().copied().max().unwrap_or(0);
        let places = samples.iter().zip(within).map(|(sample, at)| sample * most + at).collect();
        Ok(Stored { map, most, places, ..stored })
    }

    fn get(&self, name: &str) -> Result<&HostTensor, Error> {
        let missing = || Error::Layout { path: self.path.to_owned(), reason: format!("no tensor {name}") };
        self.tensors.get(name).ok_or_else(missing)
    }

    /// All places of a batch.
    fn boxes(&self) -> usize {
        self.map[0] * self.most
    }

    /// Rows of the stored boxes at their places, zeros elsewhere.
    fn placed(&self, rows: &[f32], width: usize) -> Vec<f32> {
        let mut placed = vec![0.0; self.boxes() * width];
        for (row, place) in rows.chunks_exact(width).zip(&self.places) {
            placed[place * width..][..width].copy_from_slice(row);
        }
        placed
    }

    /// The stored boxes' rows of a batch.
    fn taken(&self, rows: &[f32], width: usize) -> Vec<f32> {
        self.places.iter().flat_map(|place| rows[place * width..][..width].to_vec()).collect()
    }
}

/// (N, a, b) to (N, b, a).
fn swapped(values: &[f32], [first, a, b]: [usize; 3]) -> Vec<f32> {
    (0..first * a * b).map(|i| values[(i / (a * b) * a + i % a) * b + i / a % b]).collect()
}

/// Checks bins, pooled features, logits, loss and gradients.
///
/// # Errors
/// Files that cannot be read or are laid out otherwise; what the engine reports.
pub(super) fn check(gpu: &Arc<Gpu>, path: &Path, tensors: Tensors) -> Result<Report, Error> {
    let stored = Stored::new(path, tensors)?;
    let ([samples, channels, height, width], boxes) = (stored.map, stored.boxes());
    let classes = stored.get("head.bias")?.data.len();
    let mut rec = Recorder::new(gpu.caps().clone());
    rec.set_phase(Phase::Micro);
    rec.set_micro_batches(1);
    let map = rec.input("map", &[samples, height, width, channels], Dtype::F32);
    rec.require_grad(map);
    let wy = rec.input("wy", &[samples, stored.most * BINS, height], Dtype::F32);
    let wx = rec.input("wx", &[boxes, BINS, width], Dtype::F32);
    let labels = rec.input("labels", &[boxes, classes], Dtype::F32);
    let rows = rec.input("rows", &[boxes], Dtype::F32);
    let of_classes = rec.constant_f32("classes", &[classes], &vec![1.0; classes]);
    let scalars = scalars::declare(&mut rec);
    let mut params = Params::new(&mut rec, "detection head", true);
    let head = params.linear(&mut rec, "head", channels, classes, true);
    let bins = roi::align(&mut rec, map, wy, wx);
    let pooled = roi::largest(&mut rec, bins);
    let logits = linear::forward(&mut rec, pooled, &head);
    let weights = Weights { rows, classes: of_classes, scale: 1.0, scalars, slot: scalars::LOSS };
    binary_cross_entropy::forward(&mut rec, logits, labels, weights);
    finish(&mut rec, &params, scalars, 0.0, |_, _| (1.0, true));
    let dmap = rec.grad(map);
    [Some(bins), Some(pooled), Some(logits), dmap].into_iter().flatten().for_each(|tensor| rec.keep(tensor));
    let mut engine = Engine::new(gpu, Plan::new(rec), &EngineOptions::default())?;

    let place = [samples, channels, height * width];
    engine.write(map, &swapped(&stored.get("map")?.data, place))?;
    let corners = stored.get("boxes")?.data.chunks_exact(5).map(|b| [b[1], b[2], b[3], b[4]]).collect::<Vec<_>>();
    let [of_y, of_x] = roi::tables(&corners, 1.0 / CELL, [height, width]);
    engine.write(wy, &stored.placed(&of_y, BINS * height))?;
    engine.write(wx, &stored.placed(&of_x, BINS * width))?;
    engine.write(labels, &stored.placed(&stored.get("labels")?.data, classes))?;
    engine.write(rows, &stored.placed(&vec![1.0; corners.len()], 1))?;
    let find = |name: &str| stored.tensors.get(name).map(|tensor| tensor.data.as_slice());
    engine.write_params(params.set, Arena::Weight, find)?;
    engine.run(Phase::Begin, &StepValues::default())?;
    engine.run(Phase::Micro, &StepValues::default())?;

    let mut report = Report::default();
    let mut compare = |name: &str, got: &[f32], tolerance: f64| -> Result<(), Error> {
        report.relative(name, difference(got, &stored.get(name)?.data), tolerance);
        Ok(())
    };
    let found = stored.taken(&engine.read(bins)?, BINS * BINS * channels);
    compare("pooled_bins", &swapped(&found, [corners.len(), BINS * BINS, channels]), FORWARD)?;
    compare("pooled", &stored.taken(&engine.read(pooled)?, channels), FORWARD)?;
    compare("logits", &stored.taken(&engine.read(logits)?, classes), FORWARD)?;
    if let Some(dmap) = dmap {
        let gradient = engine.read(dmap)?;
        compare("grad.map", &swapped(&gradient, [samples, height * width, channels]), GRADIENT)?;
    }
    for (name, _, gradient) in engine.read_params(params.set, Arena::Grad)? {
        compare(&format!("grad.{name}"), &gradient, GRADIENT)?;
    }
    let file = sibling(path, "json");
    let text = std::fs::read_to_string(&file).map_err(|source| Error::Io { path: file.clone(), source })?;
    let json: serde_json::Value =
        serde_json::from_str(&text).map_err(|e| Error::Layout { path: file, reason: e.to_string() })?;
    let loss = engine.read(scalars)?[scalars::LOSS];
    match json["loss"].as_f64() {
        Some(expected) => report.relative("loss", difference(&[loss], &[expected as f32]), LOSS),
        None => report.missing("loss", "not in the json"),
    }
    Ok(report)
}
