//! The engine: the only place that names wgpu.
//!
//! A training step has fixed shapes, so it is recorded once (`Recorder`) as nodes over handles (`Tensor`), planned
//! (`Plan`: memory, costs, a CPU twin of every node) and compiled for one adapter (`Engine`: buffers, pipelines, bind
//! groups). Running a step then only writes inputs and a small uniform, and submits.

mod adapter;
mod choices;
mod compile;
mod copies;
mod dispatch;
mod engine;
mod error;
mod matrices;
mod plan;
mod recorder;
mod reference;
mod region;
pub mod shader;
mod slots;
pub mod store;
mod tape;
mod tensor;
mod timing;
mod tune;

pub use adapter::{AdapterChoice, Caps, Gpu, Kernels, Precision, Vendor, list_adapters};
pub use choices::{Choices, Record, Trial};
pub use dispatch::DispatchBuilder;
pub use engine::{Engine, EngineOptions, NamedValues, NodeError};
pub use error::{Error, Result};
pub use matrices::{Matrices, Operands};
pub use plan::{Plan, PlanSummary};
pub use recorder::{HostNode, Phase, Recorder, Twin, grid};
pub use reference::Values;
pub use region::Region;
pub use tensor::{ALIGN_WORDS, Arena, Dtype, Param, ParamSet, Tensor};
pub use timing::NodeTime;
pub use tune::{check, tune};

/// The scalars of one step; the uniform `step` of the shaders that import it.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct StepValues {
    /// Learning rate before a parameter's own scale.
    pub lr: f32,
    /// Decoupled weight decay, for the parameters that decay.
    pub weight_decay: f32,
    /// AdamW's first momentum.
    pub beta1: f32,
    /// AdamW's second momentum.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
    /// `1 - beta1^t` of the step `t` counted from 1.
    pub correction1: f32,
    /// `1 - beta2^t`
    pub correction2: f32,
    /// Largest gradient norm let through; 0 lets all through.
    pub clip: f32,
    /// Step counted from 1; the last dispatch of a step writes it back as a canary.
    pub step: u32,
    /// Fills the uniform to 16-byte words.
    pub padding: [u32; 3],
}

impl Default for StepValues {
    fn default() -> Self {
        bytemuck::Zeroable::zeroed()
    }
}
