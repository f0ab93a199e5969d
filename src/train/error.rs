//! Why a run ended before its time.

use std::path::PathBuf;

use super::checkpoint;
use crate::config::{ParseError, Problems};
use crate::{data, eval, gpu, weights};

/// Why a run ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] Problems),
    /// The data.
    #[error(transparent)]
    Data(#[from] data::Error),
    /// The GPU.
    #[error(transparent)]
    Gpu(#[from] gpu::Error),
    /// Weights.
    #[error(transparent)]
    Weights(#[from] weights::Error),
    /// A validation.
    #[error(transparent)]
    Eval(#[from] eval::Error),
    /// The run directory.
    #[error(transparent)]
    Checkpoint(#[from] checkpoint::Error),
    /// A config's text.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// A config that cannot be written down.
    #[error("the configuration cannot be written down: {0}")]
    Unwritable(#[from] toml::ser::Error),
    /// Another run is there.
    #[error("{} holds a run of another configuration; remove it or name another place", path.display())]
    Other {
        /// Its directory.
        path: PathBuf,
    },
    /// The log.
    #[error("cannot write the log in {}: {source}", path.display())]
    Log {
        /// The run directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// NaN or infinity.
    #[error(
        "step {step}: the loss is not finite ({losses}, gradient norm {grad_norm}). The last good checkpoint is kept; \
         go on from it with --resume and a lower --lr, or with --clip-grad 1"
    )]
    NotFinite {
        /// The step, from 1.
        step: usize,
        /// Every term of the loss.
        losses: String,
        /// Gradient norm.
        grad_norm: f64,
    },
    /// The step's last dispatch left no trace.
    #[error("step {step}: the GPU did not finish it (canary {canary}); its driver may have cut a long dispatch short")]
    Unfinished {
        /// The step, from 1.
        step: usize,
        /// What was there.
        canary: f64,
    },
}
