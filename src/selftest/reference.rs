//! Training steps against stored tensors of another implementation: distillation, pixel models, classifiers. Layouts are those
//! of `assets/reference`; an ST-MAE's is that of its own program, all of whose tokens are predicted, in place.

use std::path::Path;
use std::sync::Arc;

use super::layout::{KINDS, Layout};
use super::{Error, FORWARD, GRADIENT, LOSS, Report, Row, difference, hugging_face, roi, sibling, tokens};
use crate::data::Tokens;
use crate::data::mix::MixConfig;
use crate::gpu::{Arena, Engine, EngineOptions, Gpu, ParamSet, Phase, Plan, Recorder, StepValues, Tensor};
use crate::model::encoder::Family;
use crate::model::pixels::PixelArch;
use crate::model::step::{Masking, Step};
use crate::op::scalars;
use crate::train::groups;
use crate::weights::{self, Tensors};

/// Weights after five steps: largest absolute difference, and the one that all but `WEIGHT_OUTLIERS` keep.
const WEIGHT: f64 = 1e-4;
const WEIGHT_MOST: f64 = 1e-5;
const WEIGHT_OUTLIERS: f64 = 1e-3;

struct Reference<'a> {
    path: &'a Path,
    layout: Layout,
    tensors: Tensors,
}

impl Reference<'_> {
    fn get(&self, name: &str) -> Result<&[f32], Error> {
        let missing = || Error::Layout { path: self.path.to_owned(), reason: format!("no tensor {name}") };
        Ok(&self.tensors.get(name).ok_or_else(missing)?.data)
    }

    fn tokens(&self) -> Result<Tokens, Error> {
        let (batch, tokens_of_clip) = (self.layout.config.batch, self.layout.config.grid().len());
        let wrong = |reason| Error::Layout { path: self.path.to_owned(), reason };
        tokens(self.get("input.mask")?, batch, tokens_of_clip).map_err(wrong)
    }
}

struct Run {
    engine: Engine,
    step: Step,
}

impl Run {
    /// Forward and backward once; gives the scalars.
    fn once(&mut self) -> Result<Vec<f32>, Error> {
        self.engine.run(Phase::Begin, &StepValues::default())?;
        self.engine.run(Phase::Micro, &StepValues::default())?;
        Ok(self.engine.read(self.step.scalars)?)
    }
}

/// Compiles a step, with the reference's weights (of the trained model under `prefix`) and clips.
fn start(
    gpu: &Arc<Gpu>,
    reference: &Reference<'_>,
    prefix: &str,
    record: impl FnOnce(&mut Recorder) -> weights::Result<Step>,
) -> Result<Run, Error> {
    let mut rec = Recorder::new(gpu.caps().clone());
    let step = record(&mut rec)?;
    for (_, tensor) in &step.outputs {
        rec.keep(*tensor);
    }
    let engine = Engine::new(gpu, Plan::new(rec), &EngineOptions::default())?;
    let frozen = step.frozen.iter().map(|f| (f.params.set, format!("{}.", f.name)));
    let sets: Vec<(ParamSet, String)> = [(step.params.set, prefix.to_owned())].into_iter().chain(frozen).collect();
    feed(&engine, reference, &sets, step.frames, step.masking)?;
    Ok(Run { engine, step })
}

/// Writes the reference's weights under the sets' prefixes, its clips and its mask.
fn feed(
    engine: &Engine,
    reference: &Reference<'_>,
    sets: &[(ParamSet, String)],
    frames: Tensor,
    masking: Option<Masking>,
) -> Result<(), Error> {
    for (set, prefix) in sets {
        let find = |name: &str| reference.tensors.get(&format!("{prefix}{name}")).map(|t| t.data.as_slice());
        engine.write_params(*set, Arena::Weight, find)?;
    }
    engine.write(frames, reference.get("input.video")?)?;
    if let Some(masking) = masking {
        let lists = reference.tokens()?;
        masking.write(engine, &lists.visible, &lists.masked)?;
    }
    Ok(())
}

macro_rules! embedded {
    ($($name:literal),*) => {
        [$((
            $name,
            include_bytes!(concat!("../../assets/reference/", $name, ".safetensors")).as_slice(),
            include_bytes!(concat!("../../assets/reference/", $name, ".json")).as_slice(),
        )),*]
    };
}

/// The same check with the references that the program carries: a distillation, the pixel models, a classifier, a detection
/// head.
///
/// # Errors
/// What the engine reports.
pub fn check_embedded(gpu: &Arc<Gpu>) -> Result<Report, Error> {
    let dir = std::env::temp_dir().join(format!("mvd-selftest-{}", std::process::id()));
    let io = |source| Error::Io { path: dir.clone(), source };
    std::fs::create_dir_all(&dir).map_err(io)?;
    let mut all = Report::default();
    let checked = embedded!["mvd", "mae", "videomae", "st_mae", "classifier", "roi"].into_iter().try_for_each(
        |(name, tensors, json)| {
            let path = dir.join(name).with_extension("safetensors");
            std::fs::write(&path, tensors).and_then(|()| std::fs::write(sibling(&path, "json"), json)).map_err(io)?;
            let report = check_reference(gpu, &path)?;
            all.0.extend(report.0.into_iter().map(|row| Row { name: format!("{name}: {}", row.name), ..row }));
            Ok(())
        },
    );
    std::fs::remove_dir_all(&dir).map_err(io)?;
    checked.map(|()| all)
}

/// Checks every output, loss, gradient and, of a distillation or ST-MAE, the weights after five steps against a file as
/// `assets/reference` holds, or a Hugging Face model's outputs against the file beside its folder, or a detection head's. What it is a reference of is told by its tensors.
///
/// # Errors
/// Files that cannot be read or are laid out otherwise; what the engine reports.
pub fn check_reference(gpu: &Arc<Gpu>, path: &Path) -> Result<Report, Error> {
    let tensors = weights::load(path)?;
    if tensors.get("input.pixel_values").is_some() {
        return hugging_face::check(gpu, path, tensors);
    }
    if tensors.get("pooled_bins").is_some() {
        return roi::check(gpu, path, tensors);
    }
    let layout = Layout::read(&sibling(path, "json"))?;
    let reference = Reference { path, layout, tensors };
    let has = |name: &str| reference.tensors.get(name).is_some();
    if has("weight.pos_embed_spatial") {
        st_mae(gpu, &reference)
    } else if has("output.logits") {
        classifier(gpu, &reference)
    } else if has("output.prediction") {
        let family = if has("model.cls_token") { Family::Mae } else { Family::VideoMae };
        pixels(gpu, &reference, family)
    } else {
        distillation(gpu, &reference)
    }
}

fn distillation(gpu: &Arc<Gpu>, reference: &Reference<'_>) -> Result<Report, Error> {
    let masked = reference.tokens()?.masked.len() / reference.layout.config.batch;
    let mut report = Report::default();
    for (key, kind, normalised) in KINDS {
        let Some(expected) = reference.layout.losses(key) else { continue };
        let arch = reference.layout.config.distillation(masked, kind, normalised);
        let mut run = start(gpu, reference, "student.", |rec| arch.record(rec, groups::student))?;
        let values = run.once()?;
        for (name, slot, expected) in
            [("image", scalars::LOSS, expected.image), ("video", scalars::LOSS + 1, expected.video)]
        {
            report.relative(format!("loss {key} {name}"), difference(&[values[slot]], &[expected as f32]), LOSS);
        }
        if key == "SmoothL1" {
            outputs(reference, &mut run, &mut report)?;
            gradients(reference, &mut run, &mut report)?;
            five_steps(reference, &mut run, &mut report)?;
        }
    }
    Ok(report)
}

fn pixels(gpu: &Arc<Gpu>, reference: &Reference<'_>, family: Family) -> Result<Report, Error> {
    let config = &reference.layout.config;
    let arch = config.pixels(family, reference.tokens()?.masked.len() / config.batch);
    let run = start(gpu, reference, "model.", |rec| arch.record(rec, groups::pixels(arch.family)))?;
    one_loss(reference, run)
}

fn st_mae(gpu: &Arc<Gpu>, reference: &Reference<'_>) -> Result<Report, Error> {
    let config = &reference.layout.config;
    if let Some(reason) = config.strange() {
        return Err(Error::Layout { path: sibling(reference.path, "json"), reason });
    }
    let tokens = reference.tokens()?;
    let arch = config.pixels(Family::StMae, tokens.masked.len() / config.batch);
    let mut report = Report::default();
    let predicted = whole_prediction(gpu, reference, &arch, &tokens)?;
    report.relative("output.prediction", difference(&predicted, reference.get("output.prediction")?), FORWARD);
    let mut run = start(gpu, reference, "weight.", |rec| arch.record(rec, groups::pixels(arch.family)))?;
    let values = run.once()?;
    loss(reference, &values, &mut report);
    gradients(reference, &mut run, &mut report)?;
    // Of its own program's files, steps are not among what is stored.
    if reference.layout.adamw.is_some() {
        five_steps(reference, &mut run, &mut report)?;
    }
    if let Some(head) = reference.tensors.get("weight.head.bias") {
        st_mae_classifier(gpu, reference, head.data.len(), &mut report)?;
    }
    Ok(report)
}

/// Its classifier's outputs, which its own program's files lack.
fn st_mae_classifier(
    gpu: &Arc<Gpu>,
    reference: &Reference<'_>,
    classes: usize,
    report: &mut Report,
) -> Result<(), Error> {
    let arch = reference.layout.config.classifier(Family::StMae, classes);
    let mut rec = Recorder::new(gpu.caps().clone());
    let forward = arch.record_forward(&mut rec)?;
    let mut engine = Engine::new(gpu, Plan::new(rec), &EngineOptions::default())?;
    feed(&engine, reference, &[(forward.params.set, "weight.".to_owned())], forward.frames, None)?;
    engine.run(Phase::Micro, &StepValues::default())?;
    for (name, tensor) in [("output.pooled", forward.pooled), ("output.logits", forward.logits)] {
        report.relative(name, difference(&engine.read(tensor)?, reference.get(name)?), FORWARD);
    }
    Ok(())
}

/// What a pixel model predicts of all tokens, each in its place.
fn whole_prediction(
    gpu: &Arc<Gpu>,
    reference: &Reference<'_>,
    arch: &PixelArch,
    tokens: &Tokens,
) -> Result<Vec<f32>, Error> {
    let mut rec = Recorder::new(gpu.caps().clone());
    let forward = arch.record_whole(&mut rec)?;
    let mut engine = Engine::new(gpu, Plan::new(rec), &EngineOptions::default())?;
    let weights = [(forward.params.set, "weight.".to_owned())];
    feed(&engine, reference, &weights, forward.frames, Some(forward.masking))?;
    engine.run(Phase::Micro, &StepValues::default())?;
    let got = engine.read(forward.prediction)?;
    let (len, all) = (arch.target_len(), arch.grid.len());
    let mut placed = vec![0.0; got.len()];
    let samples = tokens.visible.chunks(all - arch.masked).zip(tokens.masked.chunks(arch.masked));
    for (sample, (visible, masked)) in samples.enumerate() {
        for (row, token) in visible.iter().chain(masked).enumerate() {
            let (from, to) = (sample * all + row, sample * all + *token as usize);
            placed[to * len..][..len].copy_from_slice(&got[from * len..][..len]);
        }
    }
    Ok(placed)
}

fn classifier(gpu: &Arc<Gpu>, reference: &Reference<'_>) -> Result<Report, Error> {
    let Layout { config, classes, label_smoothing, .. } = &reference.layout;
    let arch = config.classifier(Family::Mvd, *classes);
    let run = start(gpu, reference, "model.", |rec| arch.record(rec, |_, _| (1.0, true)))?;
    let labels: Vec<u32> = reference.get("input.labels")?.iter().map(|l| *l as u32).collect();
    if labels.len() != config.batch || labels.iter().any(|l| *l as usize >= *classes) {
        let reason = format!("input.labels: expected {} of them under {classes}, got {labels:?}", config.batch);
        return Err(Error::Layout { path: reference.path.to_owned(), reason });
    }
    // Smoothing draws nothing at random.
    let soft = MixConfig::smoothed(*classes, *label_smoothing);
    let soft = soft.apply(&mut [], &labels, 0, &mut crate::data::rng(0, 0, 0, 0));
    if let Some(input) = run.step.labels {
        run.engine.write(input, &soft)?;
    }
    one_loss(reference, run)
}

fn one_loss(reference: &Reference<'_>, mut run: Run) -> Result<Report, Error> {
    let mut report = Report::default();
    let values = run.once()?;
    loss(reference, &values, &mut report);
    outputs(reference, &mut run, &mut report)?;
    gradients(reference, &mut run, &mut report)?;
    Ok(report)
}

fn loss(reference: &Reference<'_>, scalars: &[f32], report: &mut Report) {
    match reference.layout.loss {
        Some(loss) => report.relative("loss", difference(&scalars[..1], &[loss as f32]), LOSS),
        None => report.missing("loss", "not in the json"),
    }
}

fn outputs(reference: &Reference<'_>, run: &mut Run, report: &mut Report) -> Result<(), Error> {
    for (name, tensor) in run.step.outputs.clone() {
        let name = format!("output.{name}");
        let got = run.engine.read(tensor)?;
        report.relative(name.clone(), difference(&got, reference.get(&name)?), FORWARD);
    }
    Ok(())
}

/// `(name, values)` of the reference's tensors under a prefix.
fn under<'a>(reference: &'a Reference<'_>, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a [f32])> {
    reference.tensors.iter().filter_map(move |(name, t)| Some((name.strip_prefix(prefix)?, t.data.as_slice())))
}

fn gradients(reference: &Reference<'_>, run: &mut Run, report: &mut Report) -> Result<(), Error> {
    let ours = run.engine.read_params(run.step.params.set, Arena::Grad)?;
    for (name, expected) in under(reference, "grad.") {
        match ours.iter().find(|o| o.0 == name) {
            Some((_, _, got)) => {
                let (absolute, relative) = difference(got, expected);
                let relative = bias_scale(reference, name).map_or(relative, |scale| absolute / scale);
                report.relative(format!("grad {name}"), (absolute, relative), GRADIENT);
            }
            None => report.missing(format!("grad {name}"), "not ours"),
        }
    }
    for (name, _, _) in ours.iter().filter(|o| reference.tensors.get(&format!("grad.{}", o.0)).is_none()) {
        report.missing(format!("grad {name}"), "not there");
    }
    Ok(())
}

/// What differences of a key bias's gradient are a share of: the largest of query's, key's and value's together. Its own are
/// zero in exact arithmetic, and rounding noise where another program stores them.
fn bias_scale(reference: &Reference<'_>, name: &str) -> Option<f64> {
    let stem = name.strip_suffix("k.bias").filter(|stem| stem.ends_with("attn."))?;
    let three = ["q", "k", "v"].map(|which| reference.tensors.get(&format!("grad.{stem}{which}.bias")));
    let values = three.into_iter().flatten().flat_map(|tensor| &tensor.data);
    Some(values.fold(1e-30, |most, value| f64::from(value.abs()).max(most)))
}

fn five_steps(reference: &Reference<'_>, run: &mut Run, report: &mut Report) -> Result<(), Error> {
    let Some(adamw) = &reference.layout.adamw else {
        report.missing("five steps", "no adamw in the json");
        return Ok(());
    };
    for (index, expected) in adamw.losses.iter().enumerate() {
        let t = index as i32 + 1;
        let values = StepValues {
            lr: adamw.lr,
            weight_decay: adamw.weight_decay,
            beta1: adamw.betas[0],
            beta2: adamw.betas[1],
            eps: adamw.eps,
            correction1: (1.0 - f64::from(adamw.betas[0]).powi(t)) as f32,
            correction2: (1.0 - f64::from(adamw.betas[1]).powi(t)) as f32,
            step: t as u32,
            ..StepValues::default()
        };
        for phase in [Phase::Begin, Phase::Micro, Phase::Update] {
            run.engine.run(phase, &values)?;
        }
        let got = run.engine.read(run.step.scalars)?;
        let loss = got[scalars::LOSS] + got[scalars::LOSS + 1];
        report.relative(format!("loss of step {t}"), difference(&[loss], &[*expected as f32]), LOSS);
    }
    let ours = run.engine.read_params(run.step.params.set, Arena::Weight)?;
    let (mut all, mut far) = (0usize, 0usize);
    for (name, expected) in under(reference, "after5.") {
        let Some((_, _, got)) = ours.iter().find(|o| o.0 == name) else {
            report.missing(format!("after 5 steps {name}"), "not ours");
            continue;
        };
        all += got.len();
        far += got.iter().zip(expected).filter(|(g, e)| f64::from((*g - *e).abs()) > WEIGHT_MOST).count();
        let (absolute, relative) = difference(got, expected);
        let name = format!("after 5 steps {name}");
        let tolerance = format!("abs {WEIGHT:.0e}");
        report.0.push(Row { name, absolute, relative, tolerance, passed: absolute <= WEIGHT });
    }
    let share = far as f64 / all.max(1) as f64;
    report.0.push(Row {
        name: format!("share of weights off by over {WEIGHT_MOST:.0e}"),
        absolute: share,
        relative: share,
        tolerance: format!("{WEIGHT_OUTLIERS:.0e}"),
        passed: all > 0 && share <= WEIGHT_OUTLIERS,
    });
    Ok(())
}
