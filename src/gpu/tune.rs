//! Timing the kernels that a recording may choose from, on its own shapes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::StepValues;
use super::adapter::{Caps, Gpu};
use super::choices::{Choices, Question};
use super::engine::{Engine, EngineOptions};
use super::error::Result;
use super::plan::Plan;
use super::recorder::{Phase, Recorder};
use super::store::Measured;

/// Times of which a kernel's is the median, after one that is not counted.
const RUNS: usize = 3;
/// A kernel that took this often the time of the best so far is not timed again.
const HOPELESS: f64 = 2.0;

/// Seconds of an operation alone, operands copied into textures included.
fn time(gpu: &Arc<Gpu>, caps: Caps, question: &Question, best: f64) -> Result<f64> {
    let mut rec = Recorder::new(caps);
    (question.alone)(&mut rec);
    let mut engine = Engine::new(gpu, Plan::new(rec), &EngineOptions::default())?;
    engine.run(Phase::Micro, &StepValues::default())?;
    engine.wait()?;
    let once = engine.seconds(Phase::Micro, 1)?;
    if once > HOPELESS * best { Ok(once) } else { engine.seconds(Phase::Micro, RUNS) }
}

/// Times what of a recording's kernels was not timed before on this adapter, keeps what it finds, and gives capabilities
/// to record with anew; none where nothing was open. `told` hears of each question: its name, how many are done, of how many.
///
/// # Errors
/// What the engine reports.
pub fn tune(
    gpu: &Arc<Gpu>,
    rec: &Recorder,
    mut told: impl FnMut(&str, &Measured, usize, usize),
) -> Result<Option<Caps>> {
    let mut caps = gpu.caps().clone();
    let open: Vec<_> = rec.questions.iter().filter(|(name, _)| !caps.choices.knows(name)).collect();
    let mut found = BTreeMap::new();
    for (done, (name, question)) in open.iter().enumerate() {
        let mut ms: BTreeMap<String, f64> = BTreeMap::new();
        let (mut kernel, mut best) = ("", f64::INFINITY);
        for &candidate in &question.candidates {
            let choices = Arc::new(Choices::everywhere([candidate]));
            let seconds = time(gpu, Caps { choices, ..caps.clone() }, question, best)?;
            ms.insert(candidate.to_owned(), 1e3 * seconds);
            if seconds < best {
                (kernel, best) = (candidate, seconds);
            }
        }
        let measured = Measured { kernel: kernel.to_owned(), ms };
        told(name, &measured, done + 1, open.len());
        found.insert((*name).clone(), measured);
    }
    if found.is_empty() {
        return Ok(None);
    }
    for (name, measured) in &found {
        Arc::make_mut(&mut caps.choices).insert(name.clone(), measured.kernel.clone());
    }
    if let Some(store) = &gpu.store {
        store.add(found);
    }
    Ok(Some(caps))
}
