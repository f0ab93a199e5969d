//! What the training commands share: where a config comes from, going on with a run, its report.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Failure;
use super::args::RunArgs;
use super::report::TrainBar;
use crate::config::from_toml;
use crate::recipes::Unknown;
use crate::train::checkpoint::{self, Checkpoint, RunDir};
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

/// A run's directory, its config, and the checkpoint that it goes on from, if any.
pub(super) type Run<C> = (RunDir, C, Option<Checkpoint>);

fn parse<C: DeserializeOwned>(path: &Path, text: &str) -> Result<C, Failure> {
    Ok(from_toml(text, &path.join("config.toml").display().to_string())?)
}

/// A run to go on with; without a checkpoint if it was killed before its first.
pub(super) fn resume<C: DeserializeOwned>(path: &Path) -> Result<Run<C>, Failure> {
    let (run, text) = RunDir::open(path)?;
    let config = parse(path, &text)?;
    let from = match run.latest() {
        Ok(newest) => Some(Checkpoint::load(&newest)?),
        Err(checkpoint::Error::None { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    Ok((run, config, from))
}

/// A run to look at: its config and the weights of its newest checkpoint.
pub(super) fn newest<C: DeserializeOwned>(path: &Path) -> Result<(C, PathBuf), Failure> {
    let (run, text) = RunDir::read(path)?;
    Ok((parse(path, &text)?, run.latest()?.join("weights.safetensors")))
}

/// The run that `--resume` names, else a new one at `out` with the config that `new` gives.
pub(super) fn open<C: Serialize + DeserializeOwned>(
    args: &RunArgs,
    out: &Path,
    new: impl FnOnce() -> Result<C, Failure>,
) -> Result<Run<C>, Failure> {
    match &args.resume {
        Some(path) => resume(path),
        None => create(out, new()?),
    }
}

/// Makes the run directory of a new run.
pub(super) fn create<C: Serialize>(out: &Path, config: C) -> Result<Run<C>, Failure> {
    Ok((RunDir::create(out, &toml::to_string(&config)?)?, config, None))
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
