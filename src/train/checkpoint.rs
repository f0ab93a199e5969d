//! Run directories and checkpoints: whole or absent, whatever the moment of a kill.
//!
//! A checkpoint is written to `checkpoints/.tmp-step-N`, every file synced, then renamed to `step-N` and the folder
//! synced. Only then are older ones deleted, each renamed away first.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::disk::Disk;
use crate::data::Position;
use crate::weights::{self, Tensors};

const TEMPORARY: &str = ".tmp-";
const ASIDE: &str = ".tmp-config.toml";
const FILES: [&str; 3] = ["weights.safetensors", "optimizer.safetensors", "state.json"];
const EMA: &str = "ema.safetensors";
const BEST: &str = "best.safetensors";

/// Where a run stands, beside its tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Optimiser steps done.
    pub step: usize,
    /// Where its data goes on.
    pub position: Position,
}

/// What a checkpoint holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// Where the run stands.
    pub state: State,
    /// The student, in the official names.
    pub weights: Tensors,
    /// AdamW's moments: `exp_avg.NAME` and `exp_avg_sq.NAME`.
    pub optimizer: Tensors,
    /// The weights' average over steps, where one is kept.
    pub ema: Option<Tensors>,
}

/// Which weights of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Which {
    /// Those of the newest checkpoint.
    #[default]
    Newest,
    /// Their average over steps.
    Ema,
    /// Those that validated best, averaged or not.
    Best,
}

/// A run directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused; older checkpoints are untouched.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// No room for a checkpoint; the older ones are untouched.
    #[error(
        "disk full while writing {} of the checkpoint of step {step}, which needs {needed} bytes in all; {}. Free some \
         space and go on with --resume", path.display(), left(older)
    )]
    DiskFull {
        /// The file.
        path: PathBuf,
        /// Step of the checkpoint.
        step: usize,
        /// Bytes of the whole checkpoint.
        needed: u64,
        /// Steps of the checkpoints that are whole.
        older: Vec<usize>,
    },
    /// Tensors that cannot be read.
    #[error(transparent)]
    Weights(#[from] weights::Error),
    /// `--out` has something in it.
    #[error("{} exists and is not empty; go on with it by --resume {}, or name another --out", path.display(), path.display())]
    Exists {
        /// The directory.
        path: PathBuf,
    },
    /// Nothing to resume from.
    #[error("{}: no whole checkpoint to resume from (looked for checkpoints/step-N)", path.display())]
    None {
        /// The run directory.
        path: PathBuf,
    },
    /// A file of the run is not what it should be.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

fn left(older: &[usize]) -> String {
    match older.last() {
        None => "there is no older checkpoint".to_owned(),
        Some(last) => format!("{} older ones are left whole, the newest of step {last}", older.len()),
    }
}

fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { doing, path, source }
}

/// Whole checkpoints by step, and the entries that are none, with the reason.
type Survey = (BTreeMap<usize, PathBuf>, Vec<(PathBuf, String)>);

/// A run directory.
#[derive(Debug, Clone)]
pub struct RunDir {
    path: PathBuf,
    disk: Disk,
}

impl RunDir {
    /// Makes a new run directory with its `config.toml`.
    ///
    /// # Errors
    /// It exists and is not empty, or cannot be written to.
    pub fn create(path: &Path, config: &str) -> Result<RunDir, Error> {
        Self::create_on(Disk::real(), path, config)
    }

    /// Whether a new run can be made here.
    ///
    /// # Errors
    /// It exists and is not empty, or cannot be read.
    pub fn vacant(path: &Path) -> Result<(), Error> {
        let aside = path.join(ASIDE);
        let entries = match std::fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(io("read", path)(error)),
        };
        // What a kill while creating leaves is no run yet.
        let mut others = entries.filter(|entry| entry.as_ref().map_or(true, |entry| entry.path() != aside));
        others.next().map_or(Ok(()), |_| Err(Error::Exists { path: path.to_owned() }))
    }

    fn create_on(disk: Disk, path: &Path, config: &str) -> Result<RunDir, Error> {
        Self::vacant(path)?;
        let (aside, file) = (path.join(ASIDE), path.join("config.toml"));
        disk.create_dir(path).map_err(io("create", path))?;
        disk.write(&aside, |out| out.write_all(config.as_bytes())).map_err(io("write", &aside))?;
        disk.rename(&aside, &file).map_err(io("rename into place", &file))?;
        disk.sync_dir(path).map_err(io("sync", path))?;
        Ok(RunDir { path: path.to_owned(), disk })
    }

    /// Opens a run directory to go on with and clears away what a kill left half done; gives its `config.toml`.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn open(path: &Path) -> Result<(RunDir, String), Error> {
        let (run, config) = Self::read(path)?;
        for left in run.entries()?.iter().filter(|path| name(path).starts_with(TEMPORARY)) {
            run.disk.remove_dir(left).map_err(io("remove", left))?;
        }
        Ok((run, config))
    }

    /// Opens a run directory to look at, which another process may be writing to; gives its `config.toml`.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn read(path: &Path) -> Result<(RunDir, String), Error> {
        let file = path.join("config.toml");
        let config = std::fs::read_to_string(&file).map_err(io("read", &file))?;
        Ok((RunDir { path: path.to_owned(), disk: Disk::real() }, config))
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// All in the folder of checkpoints, by name.
    fn entries(&self) -> Result<Vec<PathBuf>, Error> {
        let folder = self.checkpoints();
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(io("read", &folder)(error)),
        };
        let paths: Result<Vec<PathBuf>, _> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
        let mut paths = paths.map_err(io("read", &folder))?;
        paths.sort();
        Ok(paths)
    }

    fn survey(&self) -> Result<Survey, Error> {
        let (mut whole, mut ignored) = (BTreeMap::new(), Vec::new());
        for path in self.entries()? {
            match examine(&path) {
                Ok(step) => drop(whole.insert(step, path)),
                Err(reason) => ignored.push((path, reason)),
            }
        }
        Ok((whole, ignored))
    }

    /// Path of the newest whole checkpoint. What is passed over is logged as a warning, with the reason.
    ///
    /// # Errors
    /// There is none.
    pub fn latest(&self) -> Result<PathBuf, Error> {
        let (mut whole, ignored) = self.survey()?;
        for (path, reason) in ignored {
            log::warn!("ignored {}: {reason}", path.display());
        }
        whole.pop_last().map(|(_, path)| path).ok_or_else(|| Error::None { path: self.path.clone() })
    }

    /// Writes a checkpoint, then deletes those that are neither among the newest `keep_last` nor multiples of
    /// `keep_every` (0: none are).
    ///
    /// # Errors
    /// The disk is full or refuses; older checkpoints are left as they are.
    pub fn save(&self, checkpoint: &Checkpoint, keep_last: usize, keep_every: usize) -> Result<PathBuf, Error> {
        let (folder, step) = (self.checkpoints(), checkpoint.state.step);
        let aside = folder.join(format!("{TEMPORARY}step-{step}"));
        let path = folder.join(format!("step-{step}"));
        if let Err(error) = self.write(&aside, checkpoint) {
            // The first error is the one worth reporting; what stays is cleared on --resume.
            let _ = self.disk.remove_dir(&aside);
            return Err(error);
        }
        if path.exists() {
            self.discard(&path)?;
        }
        self.disk.rename(&aside, &path).map_err(io("rename into place", &path))?;
        self.disk.sync_dir(&folder).map_err(io("sync", &folder))?;
        // The first checkpoint made the folder itself.
        self.disk.sync_dir(&self.path).map_err(io("sync", &self.path))?;
        let (whole, _) = self.survey()?;
        let old = whole.iter().rev().skip(keep_last.max(1));
        for (_, path) in old.filter(|(step, _)| keep_every == 0 || *step % keep_every != 0) {
            self.discard(path)?;
        }
        Ok(path)
    }

    fn write(&self, folder: &Path, checkpoint: &Checkpoint) -> Result<(), Error> {
        let Checkpoint { weights, optimizer, ema, state } = checkpoint;
        let metadata = metadata();
        let json = serde_json::to_vec_pretty(state).map_err(|e| io("encode", folder)(e.into()))?;
        let size = |tensors| weights::encoded_size(tensors, &metadata);
        let needed = size(weights) + size(optimizer) + ema.as_ref().map_or(0, size) + json.len() as u64;
        let older: Vec<usize> = self.survey()?.0.into_keys().collect();
        let failed = |doing: &'static str, path: &Path, error: std::io::Error| match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                Error::DiskFull { path: path.to_owned(), step: state.step, needed, older: older.clone() }
            }
            _ => io(doing, path)(error),
        };
        if folder.exists() {
            self.disk.remove_dir(folder).map_err(io("remove", folder))?;
        }
        self.disk.create_dir(folder).map_err(|e| failed("create", folder, e))?;
        let [weights_file, optimizer_file, state_file] = FILES.map(|file| folder.join(file));
        let ema = ema.iter().map(|ema| (folder.join(EMA), ema));
        for (file, tensors) in [(weights_file, weights), (optimizer_file, optimizer)].into_iter().chain(ema) {
            let written = self.disk.write(&file, |out| weights::write_to(out, tensors, &metadata));
            written.map_err(|e| failed("write", &file, e))?;
        }
        let written = self.disk.write(&state_file, |out| out.write_all(&json));
        written.map_err(|e| failed("write", &state_file, e))?;
        self.disk.sync_dir(folder).map_err(|e| failed("sync", folder, e))
    }

    /// Keeps these weights as the best so far, with the step and score as metadata: under the name there is always one
    /// whole file, the old or the new.
    ///
    /// # Errors
    /// The disk is full or refuses; the old file is left as it is.
    pub fn save_best(&self, weights: &Tensors, step: usize, score: f64) -> Result<PathBuf, Error> {
        let (path, mut metadata) = (self.path.join(BEST), metadata());
        metadata.extend([("step".to_owned(), step.to_string()), ("score".to_owned(), score.to_string())]);
        weights::save(&path, weights, &metadata)?;
        Ok(path)
    }

    /// The weights that a run is looked at by.
    ///
    /// # Errors
    /// It has none of them.
    pub fn weights(&self, which: Which) -> Result<PathBuf, Error> {
        let (path, reason) = match which {
            Which::Newest => return Ok(self.latest()?.join(FILES[0])),
            Which::Ema => (self.latest()?.join(EMA), "the run keeps no average of its weights (--ema)"),
            Which::Best => (self.path.join(BEST), "no validation yet has kept its best weights"),
        };
        if path.exists() { Ok(path) } else { Err(Error::Malformed { path, reason: format!("not there: {reason}") }) }
    }

    /// Removes a checkpoint so that a kill never leaves part of it under its name.
    fn discard(&self, path: &Path) -> Result<(), Error> {
        let aside = path.with_file_name(format!("{TEMPORARY}old-{}", name(path)));
        self.disk.rename(path, &aside).map_err(io("rename away", path))?;
        self.disk.remove_dir(&aside).map_err(io("remove", &aside))
    }
}

fn metadata() -> BTreeMap<String, String> {
    BTreeMap::from([("format".to_owned(), "pt".to_owned())])
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The step of a whole checkpoint, or why it is none. Tensors are not read, only held against the file's size.
fn examine(path: &Path) -> Result<usize, String> {
    let name = name(path);
    if name.starts_with(TEMPORARY) {
        return Err("half-written when the program was stopped".into());
    }
    let step = name.strip_prefix("step-").and_then(|n| n.parse().ok());
    let step: usize = step.ok_or("not a checkpoint: expected a name like step-1000")?;
    if let Some(file) = FILES.iter().find(|file| !path.join(file).is_file()) {
        return Err(format!("incomplete: {file} is missing"));
    }
    let json = std::fs::read(path.join("state.json")).map_err(|e| format!("state.json: {e}"))?;
    let state: State = serde_json::from_slice(&json).map_err(|e| format!("state.json: {e}"))?;
    if state.step != step {
        return Err(format!("state.json: expected step {step}, got {}", state.step));
    }
    let ema = Some(EMA).filter(|ema| path.join(ema).exists());
    let mut tensors = FILES[..2].iter().copied().chain(ema);
    tensors.try_for_each(|file| weights::check(&path.join(file))).map_err(|e| e.to_string())?;
    Ok(step)
}

impl Checkpoint {
    /// Reads a checkpoint's folder.
    ///
    /// # Errors
    /// A file is missing, truncated or of another form.
    pub fn load(folder: &Path) -> Result<Checkpoint, Error> {
        let path = folder.join("state.json");
        let text = std::fs::read_to_string(&path).map_err(io("read", &path))?;
        let state = serde_json::from_str(&text).map_err(|e| Error::Malformed { path, reason: e.to_string() })?;
        let weights = weights::load(folder.join("weights.safetensors"))?;
        let optimizer = weights::load(folder.join("optimizer.safetensors"))?;
        let ema = folder.join(EMA);
        let ema = ema.exists().then(|| weights::load(ema)).transpose()?;
        Ok(Checkpoint { state, weights, optimizer, ema })
    }
}

#[cfg(test)]
#[path = "checkpoint_tests.rs"]
mod tests;
