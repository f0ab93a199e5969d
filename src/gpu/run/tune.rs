//! Trying the kernels that a recording may choose from: each against its CPU twin, and all against the clock.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::compile::EngineOptions;
use super::engine::Engine;
use super::gpu::Gpu;
use super::store::{Measured, Tuned};
use crate::gpu::caps::Caps;
use crate::gpu::error::{Error, Result};
use crate::gpu::record::{Choices, Phase, Plan, Question, Record, Recorder};
use crate::gpu::step::StepValues;

/// Times of which a kernel's is the median, after one that is not counted.
const RUNS: usize = 3;
/// A kernel that took this often the time of the best so far is not timed again.
const HOPELESS: f64 = 2.0;
/// Largest error of a kernel against its twin, as a share of the largest value: of f32, and of operands rounded to f16.
const TOLERANCES: [f64; 2] = [1e-4, 5e-3];

/// An engine of an operation alone by one kernel.
fn engine(gpu: &Arc<Gpu>, caps: &Caps, record: &Record, kernel: &str) -> Result<Engine> {
    let choices = Arc::new(Choices::everywhere([kernel]));
    let mut rec = Recorder::new(Caps { choices, ..caps.clone() });
    record(&mut rec);
    Engine::new(gpu, Plan::new(rec), &EngineOptions::default())
}

/// Seconds of an operation alone, operands copied into textures or rounded included.
fn time(gpu: &Arc<Gpu>, caps: &Caps, question: &Question, kernel: &str, best: f64) -> Result<f64> {
    let mut engine = engine(gpu, caps, &question.trial.alone, kernel)?;
    engine.run(Phase::Micro, &StepValues::default())?;
    engine.wait()?;
    let once = engine.seconds(Phase::Micro, 1)?;
    if once > HOPELESS * best { Ok(once) } else { engine.seconds(Phase::Micro, RUNS) }
}

/// Largest relative error of a kernel against its CPU twin, of random inputs.
fn error(gpu: &Arc<Gpu>, caps: &Caps, small: &Record, kernel: &str) -> Result<f64> {
    let mut engine = engine(gpu, caps, small, kernel)?;
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    engine.write_inputs(|len| (0..len).map(|_| rng.random_range(-1.0f32..1.0)).collect())?;
    let errors = engine.run_checked(Phase::Micro, &StepValues::default())?;
    // A NaN is no small error.
    Ok(errors.iter().map(|e| e.relative).fold(0.0, |most, e| if e <= most { most } else { e }))
}

/// What was found out so far, and kept.
struct Tuner<'a> {
    gpu: &'a Arc<Gpu>,
    caps: Caps,
    known: Tuned,
}

impl<'a> Tuner<'a> {
    fn new(gpu: &'a Arc<Gpu>) -> Self {
        let known = gpu.store.as_ref().map(|store| store.tuned()).unwrap_or_default();
        Tuner { gpu, caps: gpu.caps().clone(), known }
    }

    /// Leaves a kernel out for good and says why.
    fn refuse(&mut self, kernel: &str, reason: String) {
        log::warn!("kernel {kernel} is left out on {}: {reason}", self.gpu.describe());
        self.known.refused.insert(kernel.to_owned(), reason);
    }

    /// Whether a kernel may be chosen: it is checked once.
    fn passes(&mut self, question: &Question, kernel: &str) -> Result<bool> {
        let check = format!("{kernel}: {}", question.trial.kind);
        if self.known.refused.contains_key(kernel) || self.known.checked.contains(&check) {
            return Ok(!self.known.refused.contains_key(kernel));
        }
        let tolerance = TOLERANCES[usize::from(self.caps.rounds())];
        match error(self.gpu, &self.caps, &question.trial.small, kernel) {
            Ok(error) if error <= tolerance => {
                self.known.checked.insert(check);
                return Ok(true);
            }
            Ok(error) => {
                self.refuse(kernel, format!("{}: error {error:.1e}, at most {tolerance:.0e}", question.trial.kind))
            }
            Err(lost @ Error::Lost { .. }) => return Err(lost),
            Err(refused) => self.refuse(kernel, refused.to_string()),
        }
        Ok(false)
    }

    /// Times the kernels that pass; none if none does.
    fn measure(&mut self, question: &Question) -> Result<Option<Measured>> {
        let mut ms: BTreeMap<String, f64> = BTreeMap::new();
        let (mut kernel, mut best) = (None, f64::INFINITY);
        for &candidate in &question.candidates {
            if !self.passes(question, candidate)? {
                continue;
            }
            let seconds = match time(self.gpu, &self.caps, question, candidate, best) {
                Ok(seconds) => seconds,
                Err(lost @ Error::Lost { .. }) => return Err(lost),
                // It may be too large for this size alone.
                Err(error) => {
                    log::warn!("kernel {candidate} is not timed: {error}");
                    continue;
                }
            };
            ms.insert(candidate.to_owned(), 1e3 * seconds);
            if seconds < best {
                (kernel, best) = (Some(candidate), seconds);
            }
        }
        Ok(kernel.map(|kernel| Measured { kernel: kernel.to_owned(), ms }))
    }

    /// Keeps what was found, and gives the capabilities to record with anew.
    fn finish(mut self) -> Caps {
        let choices = Arc::make_mut(&mut self.caps.choices);
        for (question, measured) in &self.known.choices {
            choices.insert(question.clone(), measured.kernel.clone());
        }
        self.known.refused.keys().for_each(|kernel| choices.refuse(kernel.clone()));
        if let Some(store) = &self.gpu.store {
            store.add(self.known);
        }
        self.caps
    }
}

/// Tries what of a recording's kernels was not tried before on this adapter, keeps what it finds, and gives capabilities to record with
/// anew; none where nothing was open. A kernel that the driver refuses or computes wrongly is named and left out. `told` hears of each
/// question: its name, how many are done, of how many.
///
/// # Errors
/// A device that was lost.
pub fn tune(
    gpu: &Arc<Gpu>,
    rec: &Recorder,
    mut told: impl FnMut(&str, &Measured, usize, usize),
) -> Result<Option<Caps>> {
    let mut tuner = Tuner::new(gpu);
    let open: Vec<_> = rec.questions.iter().filter(|(name, _)| !gpu.caps().choices.knows(name)).collect();
    for (done, (name, question)) in open.iter().enumerate() {
        if let Some(measured) = tuner.measure(question)? {
            told(name, &measured, done + 1, open.len());
            tuner.known.choices.insert((*name).clone(), measured);
        }
    }
    Ok((!open.is_empty()).then(|| tuner.finish()))
}

/// The same without timing: checks the kernels that a recording would take, and those after them while one fails.
///
/// # Errors
/// A device that was lost.
pub fn check(gpu: &Arc<Gpu>, rec: &Recorder) -> Result<Option<Caps>> {
    let mut tuner = Tuner::new(gpu);
    let before = tuner.known.refused.len();
    for (name, question) in &rec.questions {
        let chosen = rec.choice(name, &question.candidates);
        let rest = question.candidates.iter().enumerate().filter(|(i, _)| *i != chosen).map(|(_, kernel)| *kernel);
        for kernel in [question.candidates[chosen]].into_iter().chain(rest) {
            if tuner.passes(question, kernel)? {
                break;
            }
        }
    }
    let found = tuner.known.refused.len() > before;
    let caps = tuner.finish();
    Ok(found.then_some(caps))
}
