//! Why a run ended before its time.

use std::path::PathBuf;

use super::checkpoint_error;
use super::feed::Feed;
use super::share;
use crate::config::{ParseError, Problems};
use crate::{data, eval, gpu, ranks, weights};

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
    Checkpoint(#[from] checkpoint_error::Error),
    /// Other ranks.
    #[error(transparent)]
    Ranks(#[from] ranks::Error),
    /// A step that cannot be shared out among ranks.
    #[error(transparent)]
    Share(#[from] share::Error),
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
    #[error("step {step}: {what}. {advice}")]
    NotFinite {
        /// The step, from 1.
        step: usize,
        /// Where they are.
        what: String,
        /// What can be done, with what there is.
        advice: String,
    },
    /// The run was told to stop.
    #[error("stopped by {} after step {step}; {}", signal_name(*signal), kept(go_on.as_deref()))]
    Stopped {
        /// The signal.
        signal: i32,
        /// Steps that are done.
        step: usize,
        /// The command that goes on with it, if there is a checkpoint.
        go_on: Option<String>,
    },
    /// The set is not the one that the checkpoint was trained on.
    #[error(
        "--data: the set is not the run's: it had {} videos ({}), there are {} ({}); give the old one, or go on with this \
         one by --changed-data", before.videos, before.digest, now.videos, now.digest
    )]
    ChangedSet {
        /// What the checkpoint was fed with.
        before: Feed,
        /// What there is.
        now: Feed,
    },
    /// The run is longer than asked for.
    #[error("--epochs, --steps: {step} steps are done, the run would end after {end}")]
    Longer {
        /// Steps that are done.
        step: usize,
        /// Steps asked for.
        end: usize,
    },
    /// Weights that are not those the run began with.
    #[error(
        "{flag} {}: the run began with {expected}, this is {found}; give the old file by {flag}, or begin a new run", path.display()
    )]
    OtherWeights {
        /// The flag that gives them.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// The digest that the run knows.
        expected: String,
        /// The file's.
        found: String,
    },
    /// A path that cannot be made absolute.
    #[error("{}: {source}", path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
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

/// A signal by its name.
pub(crate) fn signal_name(signal: i32) -> String {
    match signal {
        2 => "SIGINT".to_owned(),
        13 => "SIGPIPE: nobody reads its output".to_owned(),
        15 => "SIGTERM".to_owned(),
        #[cfg(unix)]
        libc::SIGUSR1 => "SIGUSR1".to_owned(),
        other => format!("signal {other}"),
    }
}

fn kept(go_on: Option<&str>) -> String {
    go_on.map_or_else(|| "there is no checkpoint to go on from".to_owned(), |command| format!("go on with `{command}`"))
}
