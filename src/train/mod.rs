//! Training: the loop, optimiser groups, schedules, checkpoints, logs; and the three stages.

pub mod checkpoint;
mod checkpoint_error;
pub mod curves;
mod disk;
pub mod distill;
mod error;
mod feed;
pub mod finetune;
pub mod fit;
pub mod groups;
mod lock;
pub mod log;
mod place;
pub mod pretrain;
mod recorded;
mod run;
pub mod schedule;
pub mod session;
pub mod share;
mod summing;
mod task;
mod together;
mod transfer;

pub use error::Error;
pub(crate) use error::signal_name;
pub use feed::Feed;
pub use task::{Outcome, Reporter};
