//! Why a run directory cannot be used.

use std::path::PathBuf;

use crate::{gpu, weights};

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
    /// Tensors that the GPU does not give.
    #[error(transparent)]
    Gpu(#[from] gpu::Error),
    /// NaN or infinity in what was to be kept or tested.
    #[error("{tensor} holds values that are not finite")]
    NotFinite {
        /// The tensor.
        tensor: String,
    },
    /// `--out` has something in it.
    #[error("{} exists and is not empty; go on with it by --resume {}, or name another --out", path.display(), path.display())]
    Exists {
        /// The directory.
        path: PathBuf,
    },
    /// A path that is no run directory.
    #[error("{}: expected the directory of a run of mvd, got no config.toml in it", path.display())]
    NoRun {
        /// The path.
        path: PathBuf,
    },
    /// Nothing to resume from.
    #[error("{}: no whole checkpoint to resume from (looked for checkpoints/step-N)", path.display())]
    None {
        /// The run directory.
        path: PathBuf,
    },
    /// Checkpoints are there, none of them whole.
    #[error(
        "{}: no checkpoint is whole; {reason}. Restore one, or remove the folder checkpoints to train from step 0", path.display()
    )]
    Damaged {
        /// The run directory.
        path: PathBuf,
        /// What is wrong with each.
        reason: String,
    },
    /// Another process trains here.
    #[error("{} is being trained by {holder}; wait for it or stop it", path.display())]
    Held {
        /// The run directory.
        path: PathBuf,
        /// That process.
        holder: String,
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
