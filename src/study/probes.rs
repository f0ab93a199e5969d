//! Features of a study's models, to be probed and looked at.

use std::path::Path;
use std::sync::Arc;

use super::Error;
use super::configs::{Configs, Label};
use crate::config::EncoderKind;
use crate::data::{Dataset, Index, Items};
use crate::eval::probe::Features;
use crate::eval::{self, Evaluator, Views};
use crate::gpu::Gpu;
use crate::model::encoder::Family;
use crate::model::look::LookArch;
use crate::model::opened::{Given, Opened};
use crate::op::layer_norm::EPS;

/// Frames of a video from one of a clip's to the next.
pub const STRIDE: usize = 2;

impl Configs {
    /// The clip of a video that is probed.
    pub fn views(&self) -> Views {
        Views { frames: 8, stride: STRIDE, size: self.shapes.size, segments: false, clips: 1, crops: 1 }
    }

    /// An encoder that pools features.
    ///
    /// # Errors
    /// Weights that are not of these shapes.
    pub fn encoder(&self, gpu: &Arc<Gpu>, path: &Path, kind: EncoderKind) -> Result<Evaluator, Error> {
        let family = Some(kind.family());
        let (heads, size) = (Some(self.shapes.encoder.heads), Some(self.shapes.size));
        let given = Given { family, heads, frames: Some(8), size, ..Given::default() };
        let opened = Opened::open(path, &given).map_err(eval::Error::from)?;
        Ok(Evaluator::open(gpu, &opened, 20, false)?)
    }

    /// An encoder to be looked at.
    pub fn look(&self, family: Family) -> LookArch {
        let prefix = if family == Family::VideoMae { "encoder." } else { "" };
        let (encoder, grid) = (self.shapes.encoder, self.shapes.grid());
        LookArch { family, prefix: prefix.to_owned(), encoder, grid, eps: EPS }
    }

    /// The set's first `most` clips with one label each.
    ///
    /// # Errors
    /// A list that cannot be read.
    pub fn labelled(&self, set: &str, label: &Label, most: usize) -> Result<Items, Error> {
        let list = self.sets.join(set).join(format!("{}.txt", label.name));
        Ok(Dataset::open(&list, None)?.items.iter().take(most).collect())
    }

    /// Pooled features of the set's first `most` clips, with each of the labels.
    ///
    /// # Errors
    /// The GPU; lists that cannot be read.
    pub fn features(
        &self,
        encoder: &mut Evaluator,
        set: &str,
        labels: &[Label],
        most: usize,
    ) -> Result<Vec<Features>, Error> {
        let labelled = labels.iter().map(|label| self.labelled(set, label, most)).collect::<Result<Vec<_>, _>>()?;
        let none = Items::default();
        let items = labelled.first().unwrap_or(&none);
        let scores = encoder.scores(items, &Index::default(), &self.views(), self.threads, &mut |_| true)?;
        let of = |items: &Items| {
            let read = items.iter().zip(&scores);
            let read = read.filter_map(|(i, s)| Some((s.as_ref()?.features.clone(), i.label? as usize)));
            let (rows, labels) = read.unzip();
            Features { rows, labels }
        };
        Ok(labelled.iter().map(of).collect())
    }
}
