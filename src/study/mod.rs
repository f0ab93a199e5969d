//! What the demo and the claims have in common: sets of synthetic clips, small runs on them, probes, pieces of pages.

pub mod configs;
pub mod page;
pub mod probes;
pub mod timing;

use std::fmt::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::data::synth::{self, SynthConfig};
use crate::gpu::Gpu;
use crate::ranks::Ranks;
use crate::train::checkpoint::{self, Checkpoint, RunDir};
use crate::train::session::{RunConfig, Session};
use crate::train::{Outcome, Reporter};
use crate::{data, eval, picture, recipes, train};

/// Why a study ended before its time; the same command goes on with it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A run.
    #[error(transparent)]
    Train(#[from] train::Error),
    /// It was told to stop.
    #[error("stopped by a signal; the same command goes on with it")]
    Stopped {
        /// The signal.
        signal: i32,
    },
    /// A run directory.
    #[error(transparent)]
    Checkpoint(#[from] checkpoint::Error),
    /// A probe or a look.
    #[error(transparent)]
    Eval(#[from] eval::Error),
    /// The clips.
    #[error(transparent)]
    Data(#[from] data::Error),
    /// A recipe.
    #[error(transparent)]
    Recipe(#[from] recipes::Unknown),
    /// A chart.
    #[error(transparent)]
    Chart(#[from] picture::chart::Error),
    /// A picture.
    #[error("a picture of the page cannot be encoded: {0}")]
    Picture(#[from] image::ImageError),
    /// A file.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file of the study's is not what it should be.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The folder holds something that was begun with other flags.
    #[error("{} was begun with {begun}; give the same, or name another --out", path.display())]
    Other {
        /// The folder.
        path: PathBuf,
        /// The flags.
        begun: String,
    },
}

/// An error of a file.
pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { doing, path, source }
}

/// Hears what a study is doing, beside its runs' steps.
pub trait Progress: Reporter {
    /// Something else begins; `part` is the share of all the work that is done now, and that will be when it ends.
    fn stage(&mut self, name: &str, part: Range<f64>);

    /// A line that is to be seen wherever progress is shown.
    fn announce(&mut self, text: &str) {
        self.note(text);
    }
}

/// Writes a file aside and renames it: under `path` there is always a whole one.
///
/// # Errors
/// What the system says.
pub fn write_whole(path: &Path, content: &[u8]) -> Result<(), Error> {
    let aside = path.with_extension("tmp");
    std::fs::write(&aside, content).map_err(io("write", &aside))?;
    std::fs::rename(&aside, path).map_err(io("rename into place", path))
}

/// `path label` lines of one column of a `labels.csv`.
pub(crate) fn label_list(table: &str, column: &str) -> String {
    let mut lines = table.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let place = lines.next().and_then(|head| head.iter().position(|name| *name == column)).unwrap_or(1);
    let mut list = String::new();
    for line in lines {
        let _ = writeln!(list, "{} {}", line[0], line[place]);
    }
    list
}

/// Writes a set of clips into a folder, unless it is there, and a list of each label beside it.
///
/// # Errors
/// A folder that cannot be written to.
pub fn write_set(set: &Path, config: &SynthConfig, labels: &[&str]) -> Result<(), Error> {
    let table = set.join("labels.csv");
    if !table.exists() {
        synth::write(set, config, |_| {})?;
    }
    let text = std::fs::read_to_string(&table).map_err(io("read", &table))?;
    for label in labels {
        write_whole(&set.join(format!("{label}.txt")), label_list(&text, label).as_bytes())?;
    }
    Ok(())
}

/// What trains a kind of run: `train::distill::train` and the like.
pub type Train<C> =
    fn(&Arc<Gpu>, &Ranks, &C, &RunDir, Option<Checkpoint>, &mut dyn Reporter) -> Result<Outcome, train::Error>;

/// Trains the run at `path` to its end, unless it is there; gives its directory.
///
/// # Errors
/// Whatever ends the run.
pub fn train<C: RunConfig>(
    gpu: &Arc<Gpu>,
    path: &Path,
    config: C,
    steps: usize,
    reporter: &mut dyn Reporter,
    train: Train<C>,
) -> Result<RunDir, Error> {
    let Session { dir, config, from, notes } = Session::create_or_resume(path, config)?;
    notes.iter().for_each(|note| reporter.note(note));
    if from.as_ref().is_none_or(|from| from.state.step < steps) {
        train(gpu, &Ranks::alone(), &config, &dir, from, reporter).map_err(|error| match error {
            train::Error::Stopped { signal, .. } => Error::Stopped { signal },
            error => error.into(),
        })?;
    }
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_columns_of_the_table() {
        let table = "path,shape,direction\nclips/0.mp4,3,7\nclips/1.mp4,1,0\n";
        assert_eq!(label_list(table, "direction"), "clips/0.mp4 7\nclips/1.mp4 0\n");
        assert_eq!(label_list(table, "shape"), "clips/0.mp4 3\nclips/1.mp4 1\n");
    }
}
