//! What a run learns from, what differs from one kind of run to another, and whom it tells.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::Error;
use super::log::StepRecord;
use super::transfer::Live;
use crate::config::{DataConfig, OptimConfig, SaveConfig};
use crate::data::mix::MixConfig;
use crate::data::{ClipConfig, KnownClasses, MaskConfig};
use crate::gpu::{Engine, Recorder};
use crate::model::step::Step;
use crate::ranks::Ranks;
use crate::weights::{self, LazyTensor, Tensors};

/// What a run tells while it goes, and asks.
pub trait Reporter {
    /// Before the first step: the total of steps, the first one, and facts worth knowing.
    fn start(&mut self, total: usize, first: usize, facts: &[String]);
    /// After each step.
    fn step(&mut self, record: &StepRecord, clips_per_second: f64, waited: Duration);
    /// Before `step`, where several ranks train: the share of the time that this one has spent in sums over all.
    fn exchanged(&mut self, _share: f64) {}
    /// After each checkpoint, and how long it took to write.
    fn saved(&mut self, path: &Path, took: Duration);
    /// Something else worth a line.
    fn note(&mut self, text: &str);
    /// While a validation goes: clips of it that are done, and all of them.
    fn validating(&mut self, _done: usize, _all: usize) {}
    /// The signal by which the run was told to end after the step at hand, if it was.
    fn stop(&self) -> Option<i32> {
        None
    }
}

/// How a run ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The last checkpoint.
    pub checkpoint: PathBuf,
    /// The last step's record; none if there was nothing left to do.
    pub last: Option<StepRecord>,
    /// Files that could not be read.
    pub bad_files: Vec<PathBuf>,
}

/// What a run learns from, whatever it learns.
#[derive(Clone)]
pub struct Job<'a> {
    /// The command that goes on with it, after `mvd`.
    pub command: &'static str,
    /// Videos.
    pub data: &'a DataConfig,
    /// Optimiser and length.
    pub optim: &'a OptimConfig,
    /// Checkpoints.
    pub save: &'a SaveConfig,
    /// Seed of everything.
    pub seed: u64,
    /// How clips are drawn.
    pub clip: ClipConfig,
    /// How tokens are masked, if they are.
    pub mask: Option<MaskConfig>,
    /// How labels become soft, if there are any.
    pub mix: Option<MixConfig>,
    /// The classes of labels, if there are any.
    pub classes: Option<KnownClasses<'a>>,
    /// The processes that train together.
    pub ranks: &'a Ranks,
}

/// What differs from one kind of run to another.
pub trait Task {
    /// Records the step.
    ///
    /// # Errors
    /// What the model cannot be built for.
    fn record(&mut self, rec: &mut Recorder) -> Result<Step, Error>;

    /// Loads frozen models.
    ///
    /// # Errors
    /// Files that cannot be read or do not fit.
    fn load_frozen(&mut self, _engine: &Engine, _step: &Step) -> Result<(), Error> {
        Ok(())
    }

    /// The weights that a new run starts from.
    ///
    /// # Errors
    /// Files that cannot be read or do not fit.
    fn start(&mut self, step: &Step, seed: u64) -> Result<Tensors<LazyTensor>, Error> {
        Ok(weights::drawn(&step.params.specs, seed))
    }

    /// What of the task is worth knowing before the first step.
    fn facts(&self) -> Vec<String> {
        Vec::new()
    }

    /// Looks at weights after a pass over the set; what it finds is logged under its names. Those of the largest `top1`
    /// are kept. `progress` hears of clips done and of all; it ends the look by `false`.
    ///
    /// # Errors
    /// Whatever ends the run; `eval::Error::Stopped` after `progress` did.
    fn validate(
        &mut self,
        _weights: &Tensors<Live<'_>>,
        _progress: &mut dyn FnMut(usize, usize) -> bool,
    ) -> Result<Vec<(&'static str, f64)>, Error> {
        Ok(Vec::new())
    }

    /// Whether `validate` does anything.
    fn validates(&self) -> bool {
        false
    }
}
