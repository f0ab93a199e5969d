//! A distillation step against stored tensors of another implementation.

use std::path::Path;
use std::sync::Arc;

use super::layout::{KINDS, Layout};
use super::{Error, Report, Row, difference, sibling};
use crate::gpu::{Arena, Engine, EngineOptions, Gpu, ParamSet, Phase, Plan, Recorder, StepValues};
use crate::model::distill::{DistillArch, DistillStep};
use crate::op::scalars;
use crate::train::groups;
use crate::weights::{self, Tensors};

/// Outputs: share of the tensor's largest value.
const FORWARD: f64 = 1e-5;
/// Gradients: the same.
const GRADIENT: f64 = 1e-4;
/// Losses: five digits.
const LOSS: f64 = 1e-5;
/// Weights after five steps: largest absolute difference, and the one that all but `WEIGHT_OUTLIERS` keep.
const WEIGHT: f64 = 1e-4;
const WEIGHT_MOST: f64 = 1e-5;
const WEIGHT_OUTLIERS: f64 = 1e-3;

struct Reference<'a> {
    path: &'a Path,
    layout: Layout,
    tensors: Tensors,
}

/// The token lists of `input.mask` (B, N), 1 = masked.
struct TokenLists {
    visible: Vec<u32>,
    masked: Vec<u32>,
    order: Vec<u32>,
}

impl Reference<'_> {
    fn get(&self, name: &str) -> Result<&[f32], Error> {
        let missing = || Error::Layout { path: self.path.to_owned(), reason: format!("no tensor {name}") };
        Ok(&self.tensors.get(name).ok_or_else(missing)?.data)
    }

    fn tokens(&self) -> Result<TokenLists, Error> {
        let (batch, tokens) = (self.layout.config.batch, self.layout.config.grid().len());
        let mask = self.get("input.mask")?;
        let wrong = |reason| Error::Layout { path: self.path.to_owned(), reason };
        if mask.len() != batch * tokens {
            let reason = format!("input.mask has {} elements, the json's sizes need {batch} x {tokens}", mask.len());
            return Err(wrong(reason));
        }
        let mut lists = TokenLists { visible: vec![], masked: vec![], order: vec![] };
        for row in mask.chunks_exact(tokens) {
            let of = |wanted: bool| (0..tokens as u32).filter(move |&i| (row[i as usize] > 0.5) == wanted);
            lists.visible.extend(of(false));
            lists.masked.extend(of(true));
            lists.order.extend(of(false).chain(of(true)));
        }
        if !lists.masked.len().is_multiple_of(batch) || lists.masked.is_empty() || lists.visible.is_empty() {
            return Err(wrong("input.mask must mask equally many tokens of each sample, neither none nor all".into()));
        }
        Ok(lists)
    }
}

struct Run {
    engine: Engine,
    step: DistillStep,
}

fn start(gpu: &Arc<Gpu>, reference: &Reference<'_>, arch: &DistillArch, lists: &TokenLists) -> Result<Run, Error> {
    let mut rec = Recorder::new(gpu.caps().clone());
    let step = arch.record(&mut rec, groups::decays)?;
    rec.keep(step.encoder);
    for (_, prediction, target) in &step.branches {
        rec.keep(*prediction);
        rec.keep(*target);
    }
    let engine = Engine::new(gpu, Plan::new(rec), &EngineOptions::default())?;
    let sets: Vec<(ParamSet, &str)> = [(Some(&step.student), "student."), (step.image.as_ref(), "image_teacher.")]
        .into_iter()
        .chain([(step.video.as_ref(), "video_teacher.")])
        .filter_map(|(params, prefix)| params.map(|p| (p.set, prefix)))
        .collect();
    for (set, prefix) in sets {
        let find = |name: &str| reference.tensors.get(&format!("{prefix}{name}")).map(|t| t.data.as_slice());
        engine.write_params(set, Arena::Weight, find)?;
    }
    engine.write(step.frames, reference.get("input.video")?)?;
    engine.write(step.masking.visible, &lists.visible)?;
    engine.write(step.masking.masked, &lists.masked)?;
    engine.write(step.masking.order, &lists.order)?;
    Ok(Run { engine, step })
}

/// The same check with the reference that the program carries.
///
/// # Errors
/// What the engine reports.
pub fn check_embedded(gpu: &Arc<Gpu>) -> Result<Report, Error> {
    let dir = std::env::temp_dir().join(format!("mvd-selftest-{}", std::process::id()));
    let path = dir.join("reference.safetensors");
    let io = |source| Error::Io { path: path.clone(), source };
    std::fs::create_dir_all(&dir).map_err(io)?;
    let written = std::fs::write(&path, include_bytes!("../../assets/reference/mvd.safetensors"))
        .and_then(|()| std::fs::write(sibling(&path, "json"), include_bytes!("../../assets/reference/mvd.json")));
    let checked = written.map_err(io).and_then(|()| check_reference(gpu, &path));
    std::fs::remove_dir_all(&dir).map_err(io)?;
    checked
}

/// Checks every output, loss, gradient and the weights after five steps against a file as `assets/reference` holds.
///
/// # Errors
/// Files that cannot be read or are laid out otherwise; what the engine reports.
pub fn check_reference(gpu: &Arc<Gpu>, path: &Path) -> Result<Report, Error> {
    let layout = Layout::read(&sibling(path, "json"))?;
    let reference = Reference { path, layout, tensors: weights::load(path)? };
    let lists = reference.tokens()?;
    let masked = lists.masked.len() / reference.layout.config.batch;
    let mut report = Report::default();
    for (key, kind, normalised) in KINDS {
        let Some(expected) = reference.layout.losses(key) else { continue };
        let arch = reference.layout.config.arch(masked, kind, normalised);
        let mut run = start(gpu, &reference, &arch, &lists)?;
        run.engine.run(Phase::Begin, &StepValues::default())?;
        run.engine.run(Phase::Micro, &StepValues::default())?;
        let values = run.engine.read(run.step.scalars)?;
        for (name, slot, expected) in
            [("image", scalars::LOSS_IMAGE, expected.image), ("video", scalars::LOSS_VIDEO, expected.video)]
        {
            report.relative(format!("loss {key} {name}"), difference(&[values[slot]], &[expected as f32]), LOSS);
        }
        if key == "SmoothL1" {
            outputs(&reference, &mut run, &mut report)?;
            gradients(&reference, &mut run, &mut report)?;
            five_steps(&reference, &mut run, &mut report)?;
        }
    }
    Ok(report)
}

fn outputs(reference: &Reference<'_>, run: &mut Run, report: &mut Report) -> Result<(), Error> {
    let mut wanted = vec![("output.encoder", run.step.encoder)];
    for &(slot, prediction, target) in &run.step.branches {
        let image = slot == scalars::LOSS_IMAGE;
        wanted.push((if image { "output.image" } else { "output.video" }, prediction));
        wanted.push((if image { "output.image_teacher" } else { "output.video_teacher" }, target));
    }
    for (name, tensor) in wanted {
        let got = run.engine.read(tensor)?;
        report.relative(name, difference(&got, reference.get(name)?), FORWARD);
    }
    Ok(())
}

/// `(name, values)` of the reference's tensors under a prefix.
fn under<'a>(reference: &'a Reference<'_>, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a [f32])> {
    reference.tensors.iter().filter_map(move |(name, t)| Some((name.strip_prefix(prefix)?, t.data.as_slice())))
}

fn gradients(reference: &Reference<'_>, run: &mut Run, report: &mut Report) -> Result<(), Error> {
    let ours = run.engine.read_params(run.step.student.set, Arena::Grad)?;
    for (name, expected) in under(reference, "grad.") {
        match ours.iter().find(|o| o.0 == name) {
            Some((_, _, got)) => report.relative(format!("grad {name}"), difference(got, expected), GRADIENT),
            None => report.missing(format!("grad {name}"), "not ours"),
        }
    }
    for (name, _, _) in ours.iter().filter(|o| reference.tensors.get(&format!("grad.{}", o.0)).is_none()) {
        report.missing(format!("grad {name}"), "not there");
    }
    Ok(())
}

fn five_steps(reference: &Reference<'_>, run: &mut Run, report: &mut Report) -> Result<(), Error> {
    let adamw = &reference.layout.adamw;
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
        let loss = got[scalars::LOSS_IMAGE] + got[scalars::LOSS_VIDEO];
        report.relative(format!("loss of step {t}"), difference(&[loss], &[*expected as f32]), LOSS);
    }
    let ours = run.engine.read_params(run.step.student.set, Arena::Weight)?;
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
