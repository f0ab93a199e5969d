//! What a run is fed with.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::OptimConfig;
use crate::data::Items;

/// What a run is fed with; kept in its checkpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feed {
    /// Videos of the set.
    pub videos: usize,
    /// What tells the set from others.
    pub digest: String,
    /// Videos of a micro-batch.
    pub batch: usize,
    /// Micro-batches of a step.
    pub accumulate: usize,
    /// Clips of a step.
    pub clips: usize,
}

impl fmt::Display for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Feed { videos, batch, accumulate, clips, .. } = self;
        write!(f, "{videos} videos in steps of {accumulate} x {batch} ({clips} clips)")
    }
}

impl Feed {
    /// What this optimiser takes of a set each of whose videos gives `repeats` clips.
    pub fn of(items: &Items, optim: &OptimConfig, repeats: usize) -> Feed {
        let OptimConfig { batch, accumulate, .. } = *optim;
        Feed {
            videos: items.len(),
            digest: items.digest(),
            batch,
            accumulate,
            clips: optim.total_batch() * repeats.max(1),
        }
    }

    /// Steps of a pass.
    pub fn pass(&self) -> usize {
        (self.videos / (self.batch * self.accumulate).max(1)).max(1)
    }
}
