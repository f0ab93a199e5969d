//! What the training commands share: where a config comes from, going on with a run, its report.

use std::path::Path;

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

/// A run to go on with: its directory, config and newest checkpoint; none if it was killed before its first.
pub(super) fn resume<C: DeserializeOwned>(path: &Path) -> Result<(RunDir, C, Option<Checkpoint>), Failure> {
    let (run, text) = RunDir::open(path)?;
    let config = from_toml(&text, &path.join("config.toml").display().to_string())?;
    let from = match run.latest() {
        Ok(newest) => Some(Checkpoint::load(&newest)?),
        Err(checkpoint::Error::None { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    Ok((run, config, from))
}

/// Makes the run directory of a new run.
pub(super) fn create(out: &Path, config: &impl Serialize) -> Result<RunDir, Failure> {
    Ok(RunDir::create(out, &toml::to_string(config)?)?)
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
