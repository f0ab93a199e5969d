//! ST-MAE's learned positions: a row a place and a row a moment, which are added, and a row for the class token.

use super::arch::Grid;
use super::params::Params;
use crate::gpu::{Recorder, Tensor};
use crate::op::separable;
use crate::weights::Init;

/// The parameters of a learned, separable position table.
#[derive(Debug, Clone, Copy)]
pub struct Learned {
    spatial: Tensor,
    temporal: Tensor,
    /// What is added to the class token.
    pub class: Tensor,
}

impl Learned {
    /// Declares `{prefix}pos_embed_spatial`, `{prefix}pos_embed_temporal` and `{prefix}pos_embed_class`.
    pub fn declare(rec: &mut Recorder, params: &mut Params, prefix: &str, grid: &Grid, dim: usize) -> Self {
        let [times, height, width] = grid.tokens();
        let mut rows = |which: &str, rows: usize| {
            let name = format!("{prefix}pos_embed_{which}");
            params.tensor(rec, &name, &[1, rows, dim], Init::Normal { std: 0.02 })
        };
        Learned { spatial: rows("spatial", height * width), temporal: rows("temporal", times), class: rows("class", 1) }
    }

    /// The table (N, C) of all tokens but the class token.
    pub fn table(&self, rec: &mut Recorder) -> Tensor {
        separable::forward(rec, self.spatial, self.temporal)
    }
}
