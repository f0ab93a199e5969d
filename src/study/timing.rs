//! What kinds of training cost on this adapter, measured by a few steps.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Error;
use crate::train::checkpoint::RunDir;
use crate::train::log::StepRecord;
use crate::train::{Outcome, Reporter};

/// Steps of a run that a speed is measured by.
pub const TIMED_STEPS: usize = 16;
/// How many of them are warm-up.
const WARM_UP: usize = 6;

/// Seconds that a kind of training takes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Before its first step.
    pub start: f64,
    /// A step.
    pub step: f64,
}

impl Cost {
    /// Of a run of so many steps.
    pub fn of(&self, steps: usize) -> f64 {
        self.start + steps as f64 * self.step
    }
}

/// Notes when a run's steps end.
#[derive(Default)]
struct Watch {
    started: Option<Instant>,
    steps: Vec<Instant>,
}

impl Reporter for Watch {
    fn start(&mut self, _total: usize, _first: usize, _facts: &[String]) {
        self.started = Some(Instant::now());
    }

    fn step(&mut self, _record: &StepRecord, _clips_per_second: f64, _waited: Duration) {
        self.steps.push(Instant::now());
    }

    fn saved(&mut self, _path: &Path, _took: Duration) {}

    fn note(&mut self, _text: &str) {}
}

/// Trains a run of [`TIMED_STEPS`] in a folder of its own; gives its cost and its weights.
///
/// # Errors
/// Whatever ends the run.
pub fn time(
    folder: &Path,
    config: &impl Serialize,
    train: impl FnOnce(&RunDir, &mut dyn Reporter) -> Result<Outcome, crate::train::Error>,
) -> Result<(Cost, PathBuf), Error> {
    let dir = RunDir::planned(folder, &toml::to_string(config).map_err(crate::train::Error::from)?)?;
    let (begun, mut watch) = (Instant::now(), Watch::default());
    let outcome = train(&dir, &mut watch)?;
    let start = watch.started.map_or(0.0, |started| (started - begun).as_secs_f64());
    // The last step is read together with the one before it: the time of both ends with the last.
    let step = match (watch.steps.get(WARM_UP - 1), watch.steps.last()) {
        (Some(first), Some(last)) => (*last - *first).as_secs_f64() / (TIMED_STEPS - WARM_UP) as f64,
        _ => 0.0,
    };
    Ok((Cost { start, step: step.max(1e-4) }, outcome.checkpoint.join("weights.safetensors")))
}
