//! Running: an adapter, a plan compiled for it, and the choice among its kernels.

mod adapter;
mod compile;
mod engine;
mod exchange;
mod gpu;
mod matrices;
mod memory;
mod reference;
mod region;
pub mod store;
mod timing;
mod tune;

pub use adapter::{AdapterChoice, list_adapters};
pub use compile::EngineOptions;
pub use engine::{Engine, NamedValues, NodeError};
pub use exchange::Exchange;
pub use gpu::Gpu;
pub use reference::Values;
pub use region::Region;
pub use timing::NodeTime;
pub use tune::{check, tune};
