//! Run directories and checkpoints: whole or absent, whatever the moment of a kill.
//!
//! A checkpoint is written to `checkpoints/.tmp-step-N`, every file synced, then renamed to `step-N` and the folder
//! synced. Only then are older ones deleted, by the same rename in reverse.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::data::Position;
use crate::weights::{self, Tensors, sync_dir};

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
}

/// A run directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused; older checkpoints are untouched.
    #[error("cannot {doing} {}: {source}{}", path.display(), hint(source))]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Tensors that cannot be read or written.
    #[error("{source}{}", weights_hint(source))]
    Weights {
        /// Which file and why.
        #[from]
        source: weights::Error,
    },
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

fn hint(source: &std::io::Error) -> &'static str {
    if source.kind() == std::io::ErrorKind::StorageFull {
        "; the disk is full: free some space and go on with --resume, older checkpoints are whole"
    } else {
        ""
    }
}

fn weights_hint(error: &weights::Error) -> &'static str {
    match error {
        weights::Error::Io { source, .. } => hint(source),
        _ => "",
    }
}

fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { doing, path, source }
}

/// A run directory.
#[derive(Debug, Clone)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// Makes a new run directory with its `config.toml`.
    ///
    /// # Errors
    /// It exists and is not empty, or cannot be written to.
    pub fn create(path: &Path, config: &str) -> Result<RunDir, Error> {
        if std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(Error::Exists { path: path.to_owned() });
        }
        let run = RunDir { path: path.to_owned() };
        let checkpoints = run.checkpoints();
        std::fs::create_dir_all(&checkpoints).map_err(io("create", &checkpoints))?;
        let (aside, file) = (path.join("config.toml.tmp"), path.join("config.toml"));
        write_synced(&aside, config.as_bytes())?;
        std::fs::rename(&aside, &file).map_err(io("rename into place", &file))?;
        sync_dir(path).map_err(io("sync", path))?;
        Ok(run)
    }

    /// Opens a run directory and clears away what a kill left half done; gives its `config.toml`.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn open(path: &Path) -> Result<(RunDir, String), Error> {
        let file = path.join("config.toml");
        let config = std::fs::read_to_string(&file).map_err(io("read", &file))?;
        let run = RunDir { path: path.to_owned() };
        for (_, left) in run.entries(".tmp-step-")? {
            std::fs::remove_dir_all(&left).map_err(io("remove", &left))?;
        }
        Ok((run, config))
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// `(step, path)` of the entries of `checkpoints` with this prefix, by step.
    fn entries(&self, prefix: &str) -> Result<BTreeMap<usize, PathBuf>, Error> {
        let folder = self.checkpoints();
        let mut found = BTreeMap::new();
        for entry in std::fs::read_dir(&folder).map_err(io("read", &folder))? {
            let entry = entry.map_err(io("read", &folder))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(step) = name.strip_prefix(prefix).and_then(|n| n.parse().ok()) {
                found.insert(step, entry.path());
            }
        }
        Ok(found)
    }

    /// Path of the newest checkpoint.
    ///
    /// # Errors
    /// There is none.
    pub fn latest(&self) -> Result<PathBuf, Error> {
        let newest = self.entries("step-")?.pop_last();
        newest.map(|(_, path)| path).ok_or_else(|| Error::None { path: self.path.clone() })
    }

    /// Writes a checkpoint, then deletes those that are neither among the newest `keep_last` nor multiples of
    /// `keep_every` (0: none are).
    ///
    /// # Errors
    /// The disk is full or refuses; older checkpoints are left as they are.
    pub fn save(&self, checkpoint: &Checkpoint, keep_last: usize, keep_every: usize) -> Result<PathBuf, Error> {
        let step = checkpoint.state.step;
        let aside = self.checkpoints().join(format!(".tmp-step-{step}"));
        let path = self.checkpoints().join(format!("step-{step}"));
        if aside.exists() {
            std::fs::remove_dir_all(&aside).map_err(io("remove", &aside))?;
        }
        let written = write_checkpoint(&aside, checkpoint);
        if let Err(error) = written {
            // The first error is the one worth reporting.
            let _ = std::fs::remove_dir_all(&aside);
            return Err(error);
        }
        if path.exists() {
            std::fs::remove_dir_all(&path).map_err(io("replace", &path))?;
        }
        std::fs::rename(&aside, &path).map_err(io("rename into place", &path))?;
        sync_dir(&self.checkpoints()).map_err(io("sync", &self.checkpoints()))?;
        let all = self.entries("step-")?;
        let old = all.len().saturating_sub(keep_last.max(1));
        for (&step, path) in all.iter().take(old) {
            if keep_every == 0 || step % keep_every != 0 {
                let aside = self.checkpoints().join(format!(".tmp-step-{step}"));
                std::fs::rename(path, &aside).map_err(io("remove", path))?;
                std::fs::remove_dir_all(&aside).map_err(io("remove", &aside))?;
            }
        }
        Ok(path)
    }
}

fn write_checkpoint(folder: &Path, checkpoint: &Checkpoint) -> Result<(), Error> {
    std::fs::create_dir_all(folder).map_err(io("create", folder))?;
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    weights::save(folder.join("weights.safetensors"), &checkpoint.weights, &metadata)?;
    weights::save(folder.join("optimizer.safetensors"), &checkpoint.optimizer, &metadata)?;
    let state = serde_json::to_string_pretty(&checkpoint.state).unwrap_or_default();
    write_synced(&folder.join("state.json"), state.as_bytes())?;
    sync_dir(folder).map_err(io("sync", folder))
}

fn write_synced(path: &Path, data: &[u8]) -> Result<(), Error> {
    let mut file = std::fs::File::create(path).map_err(io("create", path))?;
    file.write_all(data).and_then(|()| file.sync_all()).map_err(io("write", path))
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
        Ok(Checkpoint { state, weights, optimizer })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::HostTensor;

    fn checkpoint(step: usize) -> Checkpoint {
        let tensor = |v: f32| HostTensor { shape: vec![2], data: vec![v, -v] };
        let weights = [("a".to_owned(), tensor(step as f32))].into_iter().collect();
        let optimizer = [("exp_avg.a".to_owned(), tensor(0.5))].into_iter().collect();
        Checkpoint { state: State { step, position: Position { epoch: 1, batch: step } }, weights, optimizer }
    }

    #[test]
    fn the_newest_and_every_mth_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::create(&dir.path().join("run"), "x = 1").unwrap();
        for step in 1..=7 {
            run.save(&checkpoint(step), 2, 3).unwrap();
        }
        assert_eq!(run.entries("step-").unwrap().into_keys().collect::<Vec<_>>(), [3, 6, 7]);
        assert_eq!(Checkpoint::load(&run.latest().unwrap()).unwrap(), checkpoint(7));
    }

    #[test]
    fn half_a_checkpoint_is_cleared_away_and_never_resumed_from() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        let run = RunDir::create(&path, "x = 1").unwrap();
        run.save(&checkpoint(1), 2, 0).unwrap();
        let half = run.checkpoints().join(".tmp-step-2");
        std::fs::create_dir(&half).unwrap();
        std::fs::write(half.join("weights.safetensors"), b"half").unwrap();
        let (run, config) = RunDir::open(&path).unwrap();
        assert_eq!(config, "x = 1");
        assert!(!half.exists());
        assert!(run.latest().unwrap().ends_with("step-1"));
    }

    #[test]
    fn a_used_directory_is_not_written_over() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("thesis.tex"), "").unwrap();
        let error = RunDir::create(dir.path(), "").unwrap_err().to_string();
        assert!(error.contains("not empty") && error.contains("--resume"), "{error}");
    }

    #[test]
    fn a_truncated_checkpoint_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::create(&dir.path().join("run"), "").unwrap();
        let path = run.save(&checkpoint(4), 1, 0).unwrap();
        let file = path.join("weights.safetensors");
        let data = std::fs::read(&file).unwrap();
        std::fs::write(&file, &data[..data.len() - 3]).unwrap();
        let error = Checkpoint::load(&path).unwrap_err().to_string();
        assert!(error.contains("weights.safetensors") && error.contains("not a usable weight file"), "{error}");
    }
}
