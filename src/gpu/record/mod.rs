//! Recording: a step as nodes over handles, and the plan of its memory. Nothing here runs.

mod buckets;
mod choices;
pub(super) mod copies;
mod copy;
mod dispatch;
mod node;
mod plan;
mod recorder;
mod slots;
mod tape;
mod tensor;

pub(super) use buckets::Range;
pub use choices::Choices;
pub use dispatch::DispatchBuilder;
pub(super) use node::{Command, Dispatch, Node};
pub use node::{HostNode, Phase, Twin};
pub use plan::{Plan, PlanSummary};
pub(super) use recorder::Question;
pub use recorder::{Record, Recorder, Trial, grid};
pub(super) use tensor::Home;
pub use tensor::{ALIGN_WORDS, Arena, Dtype, Param, ParamSet, Tensor};
