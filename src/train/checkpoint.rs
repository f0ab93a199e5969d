//! Run directories and checkpoints: whole or absent, whatever the moment of a kill.
//!
//! A checkpoint is written to `checkpoints/.tmp-step-N`, every file synced, then renamed to `step-N` and the folder
//! synced. Only then are older ones deleted, each renamed away first. A new directory is made when training begins, and
//! not before all that can fail has been looked at.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

pub use super::checkpoint_error::Error;
use super::disk::Disk;
use super::feed::Feed;
use super::lock::{self, HOLDER, LOCK};
pub use crate::config::Which;
use crate::data::Position;
use crate::lock::Locked;
use crate::weights::{self, Copies, LazyTensor, TensorSource, Tensors};

const TEMPORARY: &str = ".tmp-";
const ASIDE: &str = ".tmp-config.toml";
const FILES: [&str; 3] = ["weights.safetensors", "optimizer.safetensors", "state.json"];
const EMA: &str = "ema.safetensors";
const BEST: &str = "best.safetensors";
const CONFIG: &str = "config.toml";
/// What a run has logged.
const LOGS: [&str; 3] = ["log.jsonl", "validation.jsonl", BEST];

/// Where a run stands, beside its tensors.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Optimiser steps done.
    pub step: usize,
    /// Where its data goes on.
    pub position: Position,
    /// What it was fed with; none in checkpoints written before this was kept.
    #[serde(default)]
    pub feed: Option<Feed>,
    /// What is added to a step to find it in the schedules.
    #[serde(default)]
    pub shift: i64,
    /// The validation after this step is still to be made.
    #[serde(default)]
    pub due: bool,
    /// It goes on with another set, if that is what there is.
    #[serde(skip)]
    pub any_set: bool,
}

/// What a checkpoint holds; its tensors are where `T` has them, in its files if it was loaded.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint<T = LazyTensor> {
    /// Where the run stands.
    pub state: State,
    /// The student, in the official names.
    pub weights: Tensors<T>,
    /// AdamW's moments: `exp_avg.NAME` and `exp_avg_sq.NAME`.
    pub optimizer: Tensors<T>,
    /// The weights' average over steps, where one is kept.
    pub ema: Option<Tensors<T>>,
}

impl Which {
    /// The file that is meant by a path, of a run the file of these weights, and which copy of the model in it.
    ///
    /// # Errors
    /// The run has none of them; the best weights of what is no run.
    pub fn of(self, path: &Path) -> Result<(PathBuf, Copies), Error> {
        if path.join(CONFIG).is_file() {
            return Ok((RunDir::read(path)?.0.weights(self)?, Copies::Plain));
        }
        let named = |file: &str| path.file_name().is_some_and(|name| name == file);
        let copies = match self {
            Which::Newest => Copies::Plain,
            // Of a run: all that is in them is what is meant.
            Which::Ema if named(EMA) => Copies::Plain,
            Which::Best if named(BEST) => Copies::Plain,
            Which::Ema => Copies::Averaged,
            Which::Best => {
                let reason = "expected a run directory for the best weights of a run".to_owned();
                return Err(Error::Malformed { path: path.to_owned(), reason });
            }
        };
        Ok((path.to_owned(), copies))
    }
}

fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { doing, path, source }
}

/// Whole checkpoints by step, and the entries that are none, with the reason.
type Survey = (BTreeMap<usize, PathBuf>, Vec<(PathBuf, String)>);

/// A run directory.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    disk: Disk,
    /// Whether it is to be made.
    new: bool,
    /// Whether it is another process's, rank 0's, that makes it and writes there.
    joined: bool,
    /// The `config.toml` to be written when training begins.
    config: Option<String>,
    /// Where what an earlier start logged goes then.
    aside: Option<PathBuf>,
    /// Held from when training begins, or goes on.
    lock: OnceLock<Locked>,
}

impl RunDir {
    /// A new run directory with this `config.toml`, which is made when training begins.
    ///
    /// # Errors
    /// It exists and is not empty, or cannot be read.
    pub fn planned(path: &Path, config: &str) -> Result<RunDir, Error> {
        Self::vacant(path)?;
        let config = Some(config.to_owned());
        Ok(RunDir { new: true, config, ..RunDir::at(path) })
    }

    fn at(path: &Path) -> RunDir {
        let (path, disk, lock) = (path.to_owned(), Disk::real(), OnceLock::new());
        RunDir { path, disk, new: false, joined: false, config: None, aside: None, lock }
    }

    /// A run directory that another process, rank 0, makes and writes to.
    pub fn joined(path: &Path) -> RunDir {
        RunDir { joined: true, ..RunDir::at(path) }
    }

    /// Whether a new run can be made here.
    ///
    /// # Errors
    /// It exists and is not empty, or cannot be read.
    pub fn vacant(path: &Path) -> Result<(), Error> {
        // What a kill while creating leaves is no run yet.
        let ours = |path: &PathBuf| [ASIDE, LOCK, HOLDER].contains(&name(path).as_str());
        let mut others = listed(path)?.into_iter().filter(|path| !ours(path));
        others.next().map_or(Ok(()), |_| Err(Error::Exists { path: path.to_owned() }))
    }

    /// Makes the directory of a new run, and of any run what has been planned; from then on it is this process's.
    ///
    /// # Errors
    /// Another process was faster, or the system refuses.
    pub fn establish(&self) -> Result<(), Error> {
        let RunDir { path, disk, .. } = self;
        if self.joined {
            return Ok(());
        }
        if self.new {
            disk.create_dir(path).map_err(io("create", path))?;
            let lock = self.locked()?;
            // Another process may have been faster.
            Self::vacant(path)?;
            let _ = self.lock.set(lock);
        }
        if let Some(aside) = &self.aside {
            disk.create_dir(aside).map_err(io("create", aside))?;
            for file in self.logs() {
                let to = aside.join(name(&file));
                disk.rename(&file, &to).map_err(io("move away", &file))?;
            }
        }
        if let Some(config) = &self.config {
            let (aside, file) = (path.join(ASIDE), path.join(CONFIG));
            let refused = |e| io("write", &aside)(e);
            disk.write(&aside, refused, |out| out.write_all(config.as_bytes()).map_err(refused))?;
            disk.rename(&aside, &file).map_err(io("rename into place", &file))?;
            disk.sync_dir(path).map_err(io("sync", path))?;
        }
        Ok(())
    }

    /// Takes back the directory of a new run in which no step was finished, so that it bars no other start.
    pub fn withdraw(&self) {
        if !self.new || self.lock.get().is_none() {
            return;
        }
        let ours = [CONFIG, ASIDE, HOLDER, LOCK].map(|name| self.path.join(name));
        // What cannot be removed stays, and then so does the folder.
        for file in self.logs().into_iter().chain(ours) {
            let _ = std::fs::remove_file(file);
        }
        let _ = std::fs::remove_dir(self.checkpoints());
        let _ = std::fs::remove_dir(&self.path);
    }

    fn locked(&self) -> Result<Locked, Error> {
        lock::lock(&self.path).map_err(|refusal| match refusal {
            lock::Refusal::Held(holder) => Error::Held { path: self.path.clone(), holder },
            lock::Refusal::Io(source) => Error::Io { doing: "lock", path: self.path.join(LOCK), source },
        })
    }

    /// Opens a run directory to go on with, which then is this process's, and clears away what a kill left half done;
    /// gives its `config.toml`.
    ///
    /// # Errors
    /// There is none, it cannot be read, or another process trains there.
    pub fn open(path: &Path) -> Result<(RunDir, String), Error> {
        let (run, _) = Self::read(path)?;
        let _ = run.lock.set(run.locked()?);
        for left in run.entries()?.iter().filter(|path| name(path).starts_with(TEMPORARY)) {
            run.disk.remove_dir(left).map_err(io("remove", left))?;
        }
        let half_done = |path: &PathBuf| {
            let name = name(path);
            name == ASIDE || name.ends_with(".jsonl.tmp") || name.contains(".safetensors.tmp-")
        };
        for left in listed(path)?.iter().filter(|path| half_done(path)) {
            std::fs::remove_file(left).map_err(io("remove", left))?;
        }
        // Read anew: another process may have held it until now.
        Self::read(path).map(|(_, config)| (run, config))
    }

    /// Plans another `config.toml`.
    pub fn set_config(&mut self, text: String) {
        self.config = Some(text);
    }

    /// Plans to keep aside what is logged, as training starts again from step 0; says where, if there is anything.
    pub fn set_aside(&mut self) -> Option<PathBuf> {
        LOGS.iter().find(|name| self.path.join(name).metadata().is_ok_and(|about| about.len() > 0))?;
        let free = (1..).map(|n| self.path.join(format!("before-{n}"))).find(|path| !path.exists());
        self.aside = free;
        self.aside.clone()
    }

    /// The files that are logged to, as far as they are there.
    fn logs(&self) -> Vec<PathBuf> {
        let ours = |name: &str| LOGS.contains(&name) || name.starts_with("events.out.tfevents.");
        let all = listed(&self.path).unwrap_or_default();
        all.into_iter().filter(|path| ours(&name(path))).collect()
    }

    /// Opens a run directory to look at, which another process may be writing to; gives its `config.toml`.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn read(path: &Path) -> Result<(RunDir, String), Error> {
        let file = path.join(CONFIG);
        if !file.exists() {
            return Err(Error::NoRun { path: path.to_owned() });
        }
        let config = std::fs::read_to_string(&file).map_err(io("read", &file))?;
        Ok((RunDir::at(path), config))
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
        listed(&self.checkpoints())
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

    /// [`Self::latest`], or none where no checkpoint was written yet.
    ///
    /// # Errors
    /// There are some, but none is whole.
    pub fn newest(&self) -> Result<Option<PathBuf>, Error> {
        let (whole, ignored) = self.survey()?;
        let damaged = |(path, reason): &(PathBuf, String)| {
            name(path).starts_with("step-").then(|| format!("{}: {reason}", name(path)))
        };
        let damaged: Vec<String> = ignored.iter().filter_map(damaged).collect();
        match whole.is_empty() {
            false => self.latest().map(Some),
            true if damaged.is_empty() => Ok(None),
            true => Err(Error::Damaged { path: self.path.clone(), reason: damaged.join("; ") }),
        }
    }

    /// Writes a checkpoint, then deletes those that are neither among the newest `keep_last` nor multiples of
    /// `keep_every` (0: none are).
    ///
    /// # Errors
    /// The disk is full or refuses; older checkpoints are left as they are.
    pub fn save<T: TensorSource>(
        &self,
        checkpoint: &Checkpoint<T>,
        keep_last: usize,
        keep_every: usize,
    ) -> Result<PathBuf, Error>
    where
        Error: From<T::Error>,
    {
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

    fn write<T: TensorSource>(&self, folder: &Path, checkpoint: &Checkpoint<T>) -> Result<(), Error>
    where
        Error: From<T::Error>,
    {
        let Checkpoint { weights, optimizer, ema, state } = checkpoint;
        let metadata = metadata();
        let json = serde_json::to_vec_pretty(state).map_err(|e| io("encode", folder)(e.into()))?;
        let size = |tensors: &_| weights::encoded_size(tensors, &metadata);
        let needed = size(weights) + size(optimizer) + ema.as_ref().map_or(0, size) + json.len() as u64;
        let older: Vec<usize> = self.survey()?.0.into_keys().collect();
        let failed = |path: &Path, error: Error| match &error {
            Error::Io { source, .. } | Error::Weights(weights::Error::Io { source, .. }) if full(source) => {
                Error::DiskFull { path: path.to_owned(), step: state.step, needed, older: older.clone() }
            }
            _ => error,
        };
        if folder.exists() {
            self.disk.remove_dir(folder).map_err(io("remove", folder))?;
        }
        self.disk.create_dir(folder).map_err(|e| failed(folder, io("create", folder)(e)))?;
        let [weights_file, optimizer_file, state_file] = FILES.map(|file| folder.join(file));
        let ema = ema.iter().map(|ema| (folder.join(EMA), ema));
        for (file, tensors) in [(weights_file, weights), (optimizer_file, optimizer)].into_iter().chain(ema) {
            let refused = |e| io("write", &file)(e);
            let content = |out: &mut dyn Write| Ok(weights::write_to(out, &file, tensors, &metadata)?);
            self.disk.write(&file, refused, content).map_err(|e| failed(&file, e))?;
        }
        let refused = |e| io("write", &state_file)(e);
        let written = self.disk.write(&state_file, refused, |out| out.write_all(&json).map_err(refused));
        written.map_err(|e| failed(&state_file, e))?;
        self.disk.sync_dir(folder).map_err(|e| failed(folder, io("sync", folder)(e)))
    }

    /// Keeps these weights as the best so far, with the step and score as metadata: under the name there is always one
    /// whole file, the old or the new.
    ///
    /// # Errors
    /// The disk is full or refuses; the old file is left as it is.
    pub fn save_best<T: TensorSource>(&self, weights: &Tensors<T>, step: usize, score: f64) -> Result<PathBuf, Error>
    where
        Error: From<T::Error>,
    {
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

/// All that lies in a folder, by name; nothing if there is none.
fn listed(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io("read", folder)(error)),
    };
    let paths: Result<Vec<PathBuf>, _> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = paths.map_err(io("read", folder))?;
    paths.sort();
    Ok(paths)
}

fn full(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
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
    /// Opens a checkpoint's folder.
    ///
    /// # Errors
    /// A file is missing, truncated or of another form.
    pub fn load(folder: &Path) -> Result<Checkpoint, Error> {
        let path = folder.join("state.json");
        let text = std::fs::read_to_string(&path).map_err(io("read", &path))?;
        let state = serde_json::from_str(&text).map_err(|e| Error::Malformed { path, reason: e.to_string() })?;
        let open = |file: &str| weights::open(folder.join(file)).map(|(tensors, _)| tensors);
        let weights = open("weights.safetensors")?;
        let optimizer = open("optimizer.safetensors")?;
        let ema = folder.join(EMA).exists().then(|| open(EMA)).transpose()?;
        Ok(Checkpoint { state, weights, optimizer, ema })
    }
}

#[cfg(test)]
#[path = "checkpoint_tests.rs"]
mod tests;
