//! What the training commands share: where a config comes from, going on with a run, its report.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::Failure;
use super::args::{Given, RunArgs};
use super::report::{TrainBar, say};
use super::stop::Stop;
use crate::config::from_toml;
use crate::ranks::Ranks;
use crate::recipes::Unknown;
use crate::train::checkpoint::{RunDir, Which};
use crate::train::session::{self, RunConfig, Session};
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

/// How the flags of a command become configs.
pub(super) trait Flags<C> {
    /// Those of the command that all training commands have.
    fn run(&self) -> &RunArgs;
    /// Where a new run is made.
    fn out(&self) -> &Path;
    /// The config of a new run, without what a dry run can do without.
    fn config(&self) -> Result<C, Failure>;
    /// The same, complete.
    fn complete(&self, stop: &Stop) -> Result<C, Failure>;
    /// Changes the config of a run that has begun.
    fn change(&self, config: &mut C) -> Result<(), Failure>;
    /// Flags that `change` takes beside those of all training commands, by their names in clap.
    const CHANGEABLE: &[&str];
}

/// The config of a dry run: of the run that `--resume` names, or of a new one.
pub(super) fn planned_config<C: RunConfig, F: Flags<C>>(flags: &F, given: &Given) -> Result<C, Failure> {
    let Some(path) = &flags.run().resume else { return flags.config() };
    given.may_change(F::CHANGEABLE)?;
    let (_, text) = RunDir::read(path)?;
    let mut config = session::parse(path, &text)?;
    flags.change(&mut config)?;
    Ok(config)
}

/// The run that `--resume` names, with what the flags change, else a new one. Rank 0 opens it first; the others read what it left.
pub(super) fn open<C: RunConfig, F: Flags<C>>(
    flags: &F,
    given: &Given,
    ranks: &Ranks,
    stop: &Stop,
) -> Result<Session<C>, Failure> {
    let args = flags.run();
    let Some(path) = &args.resume else {
        let config = flags.complete(stop)?;
        same(ranks, &config)?;
        let create = if ranks.is_first() { Session::create } else { Session::join };
        return Ok(create(flags.out(), config)?);
    };
    given.may_change(F::CHANGEABLE)?;
    let mut session = if ranks.is_first() {
        let session = Session::<C>::resume(path)?;
        ranks.barrier()?;
        session
    } else {
        ranks.barrier()?;
        Session::join_resumed(path)?
    };
    if let Some(from) = &mut session.from {
        from.state.any_set = args.changed_data;
    }
    let mut config = session.config.clone();
    flags.change(&mut config)?;
    same(ranks, &config)?;
    let session = session.with(config)?;
    session.notes.iter().for_each(|note| say(note));
    Ok(session)
}

/// That all ranks do the same with the same program.
fn same(ranks: &Ranks, config: &impl RunConfig) -> Result<(), Failure> {
    if ranks.size() > 1 {
        let text = format!("{}\n{}", env!("CARGO_PKG_VERSION"), toml::to_string(&config.core())?);
        let advice = "start all with the same flags, variables MVD_.. and version of mvd";
        ranks.agree("version and config", text.as_bytes(), advice)?;
    }
    Ok(())
}

/// Trains under a progress bar and reports the end.
pub(super) fn report(
    what: &'static str,
    stop: &Stop,
    train: impl FnOnce(&mut TrainBar) -> Result<Outcome, Error>,
) -> Result<Outcome, Failure> {
    let mut bar = TrainBar::new(what, stop.clone());
    let outcome = train(&mut bar);
    bar.finish();
    let outcome = outcome?;
    for file in &outcome.bad_files {
        eprintln!("could not be read, other clips took its place: {}", file.display());
    }
    if let Some(last) = &outcome.last {
        say(&format!("step {}: loss {:.4}, gradient norm {:.3}", last.step, last.loss, last.grad_norm));
    }
    Ok(outcome)
}
