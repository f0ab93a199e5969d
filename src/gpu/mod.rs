//! The engine: the only place that names wgpu.
//!
//! A training step has fixed shapes, so it is recorded once (`Recorder`) as nodes over handles (`Tensor`), planned
//! (`Plan`: memory, costs, a CPU twin of every node) and compiled for one adapter (`Engine`: buffers, pipelines, bind
//! groups). Running a step then only writes inputs and a small uniform, and submits.

mod caps;
mod error;
mod record;
mod run;
pub mod shader;
mod step;

pub use caps::{Caps, Kernels, Matrices, Operands, Precision, Vendor};
pub use error::{Error, Result};
pub use record::{
    ALIGN_WORDS, Arena, Choices, DispatchBuilder, Dtype, HostNode, Param, ParamSet, Phase, Plan, PlanSummary, Record,
    Recorder, Tensor, Trial, Twin, grid,
};
pub use run::{
    AdapterChoice, Engine, EngineOptions, Exchange, Gpu, NamedValues, NodeError, NodeTime, Region, Values, check,
    list_adapters, store, tune,
};
pub use step::StepValues;
