//! Forward passes of Hugging Face models against the inputs and outputs stored beside them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use super::{Error, FORWARD, Report, difference};
use crate::gpu::{Arena, Engine, EngineOptions, Gpu, Phase, Plan, Recorder, StepValues, Tensor};
use crate::model::classifier::ClassifierArch;
use crate::model::encoder::{Encoder, Family, Seen};
use crate::model::pixels::PixelArch;
use crate::model::step::Pixels;
use crate::model::teacher::VideoTeacher;
use crate::model::{Grid, Params, Vit};
use crate::op::{layer_norm, rows};
use crate::weights::{self, Import, Tensors};

/// What of `config.json` fixes shapes.
#[derive(Debug, Deserialize)]
struct Config {
    model_type: String,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    #[serde(default)]
    decoder_hidden_size: usize,
    #[serde(default)]
    decoder_num_hidden_layers: usize,
    #[serde(default)]
    decoder_num_attention_heads: usize,
    image_size: usize,
    patch_size: usize,
    num_frames: Option<usize>,
    tubelet_size: Option<usize>,
}

/// PyTorch's default, which `transformers` leaves to these models' last norms.
const EPS: f32 = 1e-5;

struct Check<'a> {
    path: &'a Path,
    config: Config,
    weights: Tensors,
    stored: Tensors,
}

/// Checks the model in the folder `X` against `X_io.safetensors`.
///
/// # Errors
/// Files that cannot be read or are laid out otherwise; what the engine reports.
pub(super) fn check(gpu: &Arc<Gpu>, path: &Path, stored: Tensors) -> Result<Report, Error> {
    let wrong = |reason: String| Error::Layout { path: path.to_owned(), reason };
    let stem = path.file_stem().and_then(|s| s.to_str()?.strip_suffix("_io"));
    let stem = stem.ok_or_else(|| wrong("expected a name like MODEL_io.safetensors beside the folder MODEL".into()))?;
    let folder: PathBuf = path.with_file_name(stem);
    let file = folder.join("config.json");
    let text = std::fs::read_to_string(&file).map_err(|source| Error::Io { path: file.clone(), source })?;
    let config = serde_json::from_str(&text).map_err(|e| Error::Layout { path: file, reason: e.to_string() })?;
    let check = Check { path, config, weights: weights::load(&folder)?, stored };
    let mut report = Report::default();
    if check.config.model_type == "vit_mae" {
        check.mae(gpu, &mut report)?;
    } else if check.weights.get("head.weight").is_some() {
        check.classifier(gpu, &mut report)?;
    } else {
        check.videomae(gpu, &mut report)?;
    }
    Ok(report)
}

impl Check<'_> {
    fn grid(&self) -> Grid {
        let Config { num_frames, tubelet_size, image_size, patch_size, .. } = self.config;
        Grid {
            frames: num_frames.unwrap_or(1),
            size: image_size,
            tubelet: tubelet_size.unwrap_or(1),
            patch: patch_size,
        }
    }

    fn vit(&self) -> Vit {
        let Config { hidden_size: dim, num_hidden_layers: depth, num_attention_heads: heads, .. } = self.config;
        Vit { dim, depth, heads, mlp_ratio: 4 }
    }

    fn stored(&self, name: &str) -> Result<&weights::HostTensor, Error> {
        let missing = || Error::Layout { path: self.path.to_owned(), reason: format!("no tensor {name}") };
        self.stored.get(name).ok_or_else(missing)
    }

    /// The stored clips as (B, 3, T, H, W), and B.
    fn clips(&self) -> Result<(Vec<f32>, usize), Error> {
        let pixels = self.stored("input.pixel_values")?;
        let batch = pixels.shape.first().copied().unwrap_or(0);
        let Grid { frames, size, .. } = self.grid();
        let plane = size * size;
        if pixels.data.len() != batch * frames * 3 * plane {
            let reason = format!("input.pixel_values of shape {:?} for clips of {frames} x {size}", pixels.shape);
            return Err(Error::Layout { path: self.path.to_owned(), reason });
        }
        let mut clips = Vec::with_capacity(pixels.data.len());
        for clip in pixels.data.chunks_exact(frames * 3 * plane) {
            for colour in 0..3 {
                for frame in 0..frames {
                    clips.extend(&clip[(frame * 3 + colour) * plane..][..plane]);
                }
            }
        }
        Ok((clips, batch))
    }

    /// MAE's stored position table without the class token's row, which must be zero.
    fn positions(&self) -> Result<Vec<f32>, Error> {
        let dim = self.config.hidden_size;
        let wrong = |reason: String| Error::Layout { path: self.path.to_owned(), reason };
        let table = self.weights.get("pos_embed").ok_or_else(|| wrong("no position_embeddings".into()))?;
        let rows = 1 + self.grid().len();
        if table.data.len() != rows * dim || table.data[..dim].iter().any(|v| *v != 0.0) {
            let shape = &table.shape;
            return Err(wrong(format!(
                "position_embeddings: expected {rows} rows of {dim}, the first zero, got {shape:?}"
            )));
        }
        Ok(table.data[dim..].to_vec())
    }

    /// Compiles a forward pass and gives it the weights and clips.
    fn start(&self, gpu: &Arc<Gpu>, rec: Recorder, params: &Params, frames: Tensor) -> Result<Engine, Error> {
        let engine = Engine::new(gpu, Plan::new(rec), &EngineOptions::default())?;
        let rules = Import { allow_unexpected: vec!["*".to_owned()], ..Import::exact() };
        let tensors = weights::adopt(self.weights.clone(), &params.specs, &rules, self.path)?;
        engine.write_params(params.set, Arena::Weight, |name| tensors.get(name).map(|t| t.data.as_slice()))?;
        engine.write(frames, &self.clips()?.0)?;
        Ok(engine)
    }

    fn compare(&self, engine: &mut Engine, tensor: Tensor, name: &str, report: &mut Report) -> Result<(), Error> {
        let name = format!("output.{name}");
        let got = engine.read(tensor)?;
        report.relative(name.clone(), difference(&got, &self.stored(&name)?.data), FORWARD);
        Ok(())
    }

    fn mae(&self, gpu: &Arc<Gpu>, report: &mut Report) -> Result<(), Error> {
        let (grid, batch) = (self.grid(), self.clips()?.1);
        let mut rec = Recorder::new(gpu.caps().clone());
        rec.set_phase(Phase::Micro);
        let frames = Pixels::Normalized.input(&mut rec, batch, &grid);
        let mut params = Params::new(&mut rec, "MAE", false);
        let encoder = Encoder::declare(&mut rec, &mut params, "", Family::Mae, &self.vit(), &grid);
        let encoder = encoder.with_positions(self.positions()?);
        let norm = params.norm(&mut rec, "norm", self.config.hidden_size);
        let patches = Pixels::Normalized.cut(&mut rec, frames, None, grid.cut());
        let seen = Seen::all(&mut rec, batch, grid.len());
        let last = encoder.forward(&mut rec, patches, seen, 0.0, &mut Default::default())?;
        let block = rows::slice(&mut rec, last, 1, grid.len());
        let normed = layer_norm::forward(&mut rec, last, &norm);
        rec.keep(block);
        rec.keep(normed);
        let mut engine = self.start(gpu, rec, &params, frames)?;
        engine.run(Phase::Micro, &StepValues::default())?;
        self.compare(&mut engine, block, "last_block", report)?;
        self.compare(&mut engine, normed, "last_hidden_state", report)
    }

    fn classifier(&self, gpu: &Arc<Gpu>, report: &mut Report) -> Result<(), Error> {
        let classes = self.weights.get("head.bias").map_or(0, |t| t.data.len());
        let plain = ClassifierArch::plain(Family::VideoMae, self.vit(), self.grid(), classes, self.clips()?.1);
        let arch = ClassifierArch { eps: EPS, pixels: Pixels::Normalized, ..plain };
        let mut rec = Recorder::new(gpu.caps().clone());
        let forward = arch.record_forward(&mut rec)?;
        let mut engine = self.start(gpu, rec, &forward.params, forward.frames)?;
        engine.run(Phase::Micro, &StepValues::default())?;
        self.compare(&mut engine, forward.logits, "logits", report)
    }

    fn videomae(&self, gpu: &Arc<Gpu>, report: &mut Report) -> Result<(), Error> {
        let (grid, batch) = (self.grid(), self.clips()?.1);
        let mut rec = Recorder::new(gpu.caps().clone());
        rec.set_phase(Phase::Micro);
        let frames = Pixels::Normalized.input(&mut rec, batch, &grid);
        let mut params = Params::new(&mut rec, "VideoMAE", false);
        let teacher = VideoTeacher::declare(&mut rec, &mut params, Family::VideoMae, &self.vit(), &grid);
        let patches = Pixels::Normalized.cut(&mut rec, frames, None, grid.cut());
        let last = teacher.forward(&mut rec, patches)?;
        rec.keep(last);
        let mut engine = self.start(gpu, rec, &params, frames)?;
        engine.run(Phase::Micro, &StepValues::default())?;
        self.compare(&mut engine, last, "last_block", report)?;

        let mask = self.stored("input.mask")?.data.clone();
        let masked = mask.iter().filter(|m| **m > 0.5).count() / batch.max(1);
        let Config {
            decoder_hidden_size: dim,
            decoder_num_hidden_layers: depth,
            decoder_num_attention_heads: heads,
            ..
        } = self.config;
        let arch = PixelArch {
            family: Family::VideoMae,
            encoder: self.vit(),
            decoder: Vit { dim, depth, heads, mlp_ratio: 4 },
            grid,
            batch,
            masked,
            target_frames: grid.frames,
            accumulate: 1,
            pixels: Pixels::Normalized,
            encoder_norm: self.weights.get("encoder.norm.weight").is_some(),
            decoder_eps: EPS,
        };
        let mut rec = Recorder::new(gpu.caps().clone());
        let step = arch.record(&mut rec, |_, _| (1.0, true))?;
        let prediction = step.outputs.iter().find(|(name, _)| *name == "prediction").map(|o| o.1);
        prediction.into_iter().for_each(|p| rec.keep(p));
        let mut engine = self.start(gpu, rec, &step.params, step.frames)?;
        if let Some(masking) = step.masking {
            let lists = super::tokens(&mask, batch, grid.len())
                .map_err(|reason| Error::Layout { path: self.path.to_owned(), reason })?;
            masking.write(&engine, &lists.visible, &lists.masked)?;
        }
        engine.run(Phase::Begin, &StepValues::default())?;
        engine.run(Phase::Micro, &StepValues::default())?;
        if let Some(prediction) = prediction {
            self.compare(&mut engine, prediction, "logits", report)?;
        }
        let loss = engine.read(step.scalars)?[0];
        report.relative("output.loss", difference(&[loss], &self.stored("output.loss")?.data), FORWARD);
        Ok(())
    }
}
