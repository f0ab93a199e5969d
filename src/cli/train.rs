//! What the training commands share: where a config comes from, going on with a run, its report.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::args::RunArgs;
use super::report::TrainBar;
use super::{AdapterArgs, Failure};
use crate::config::{OptimConfig, from_toml};
use crate::gpu::{Caps, Plan, PlanSummary, Recorder};
use crate::recipes::Unknown;
use crate::train::checkpoint::{RunDir, Which};
use crate::train::session::{self, Session};
use crate::train::{Error, Outcome};

/// The config of `--config` or `--recipe`, else `preset`.
pub(super) fn base<C: DeserializeOwned>(
    args: &RunArgs,
    recipe: impl Fn(&str) -> Result<C, Unknown>,
    preset: impl FnOnce() -> Result<C, Failure>,
) -> Result<C, Failure> {
    if let Some(path) = &args.config {
        return Ok(from_toml(&read(path)?, &path.display().to_string())?);
    }
    match &args.recipe {
        Some(name) => Ok(recipe(name)?),
        None => preset(),
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    Ok(std::fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?)
}

/// A run to look at: its config and the file of its weights.
pub(super) fn look<C: DeserializeOwned>(path: &Path, which: Which) -> Result<(C, PathBuf), Failure> {
    let (run, text) = RunDir::read(path)?;
    Ok((session::parse(path, &text)?, run.weights(which)?))
}

/// The run that `--resume` names, else a new one at `out` with the config that `new` gives.
pub(super) fn open<C: Serialize + DeserializeOwned>(
    args: &RunArgs,
    out: &Path,
    new: impl FnOnce() -> Result<C, Failure>,
) -> Result<Session<C>, Failure> {
    Ok(match &args.resume {
        Some(path) => Session::resume(path)?,
        None => Session::create(out, new()?)?,
    })
}

/// What a step of this optimiser costs on an adapter of these capabilities.
pub(super) fn planned(
    caps: &Caps,
    optim: &OptimConfig,
    record: impl Fn(&OptimConfig, &mut Recorder) -> Result<(), Failure>,
) -> Result<PlanSummary, Failure> {
    let mut rec = Recorder::new(caps.clone());
    rec.set_recompute(optim.recompute);
    record(optim, &mut rec)?;
    Ok(Plan::new(rec).summary())
}

/// Prints a config and what a step costs, and what it would with activations recomputed, or kept.
pub(super) fn dry_run(
    gpu: &AdapterArgs,
    config: &impl Serialize,
    optim: &OptimConfig,
    record: impl Fn(&OptimConfig, &mut Recorder) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let (caps, adapter) = gpu.caps()?;
    let summary = planned(&caps, optim, &record)?;
    let other = planned(&caps, &OptimConfig { recompute: !optim.recompute, ..optim.clone() }, &record)?;
    println!("{adapter}");
    println!("{}", toml::to_string(config)?);
    println!("one step of {} clips, micro-batches of {}:", optim.total_batch(), optim.batch);
    println!("{summary}");
    println!(
        "{} --recompute: {:.1} MiB in total, {:.2} times the FLOPs",
        if optim.recompute { "without" } else { "with" },
        other.total_bytes() as f64 / f64::from(1 << 20),
        other.flops / summary.flops
    );
    Ok(())
}

/// Trains under a progress bar and reports the end.
pub(super) fn report(
    what: &'static str,
    train: impl FnOnce(&mut TrainBar) -> Result<Outcome, Error>,
) -> Result<Outcome, Failure> {
    let mut bar = TrainBar::new(what);
    let outcome = train(&mut bar)?;
    bar.finish();
    for file in &outcome.bad_files {
        eprintln!("could not be read, other clips took its place: {}", file.display());
    }
    if let Some(last) = &outcome.last {
        println!("step {}: loss {:.4}, gradient norm {:.3}", last.step, last.loss, last.grad_norm);
    }
    Ok(outcome)
}
