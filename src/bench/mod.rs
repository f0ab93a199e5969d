//! How fast an adapter is: its limits, then the operations and whole steps against them.

mod limits;
mod memory;
mod operations;
mod scaling;
mod steps;

use std::sync::Arc;

use serde::Serialize;

use crate::gpu::{self, Engine, EngineOptions, Gpu, Phase, Plan, Recorder, StepValues, tune};
use crate::weights;

pub use limits::Limits;
pub use memory::{MemoryOperation, memory};
pub use operations::{Operation, operations};
pub use scaling::{Point, scaling};
pub use steps::{Batch, Share, Step, Workload, workloads};

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The engine failed.
    #[error(transparent)]
    Gpu(#[from] gpu::Error),
    /// A model could not be recorded.
    #[error(transparent)]
    Model(#[from] weights::Error),
}

/// Everything that was measured on an adapter.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The adapter, its driver and its type.
    pub adapter: String,
    /// What it can do at most.
    pub limits: Limits,
    /// Operations alone.
    pub operations: Vec<Operation>,
    /// Those that are bound by memory.
    pub memory: Vec<MemoryOperation>,
    /// Whole training steps.
    pub steps: Vec<Step>,
}

/// Measures what an adapter can do at most.
///
/// # Errors
/// What the engine reports.
pub fn limits(gpu: &Arc<Gpu>) -> Result<Limits, Error> {
    limits::measure(gpu)
}

/// What `record` records, with kernels chosen by timing where the adapter's are, as training does it.
fn recorded<T>(gpu: &Arc<Gpu>, record: impl Fn(&mut Recorder) -> Result<T, Error>) -> Result<(Recorder, T), Error> {
    let mut rec = Recorder::new(gpu.caps().clone());
    let mut recorded = record(&mut rec)?;
    if gpu.autotunes()
        && let Some(caps) = tune(gpu, &rec, |_, _, _, _| {})?
    {
        rec = Recorder::new(caps);
        recorded = record(&mut rec)?;
    }
    Ok((rec, recorded))
}

/// A recorded plan, compiled and run once.
fn warm(gpu: &Arc<Gpu>, rec: Recorder) -> Result<Engine, Error> {
    let mut engine = Engine::new(gpu, Plan::new(rec), &EngineOptions::default())?;
    engine.run(Phase::Micro, &StepValues::default())?;
    engine.wait()?;
    Ok(engine)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
