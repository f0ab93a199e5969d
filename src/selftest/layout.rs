//! The `.json` beside a reference's tensors.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::Error;
use crate::model::classifier::ClassifierArch;
use crate::model::distill::{DistillArch, TeacherArch};
use crate::model::encoder::Family;
use crate::model::pixels::PixelArch;
use crate::model::step::Pixels;
use crate::model::{Grid, Vit};
use crate::op::layer_norm::EPS;
use crate::op::loss::LossKind;

/// Sizes of the models.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Config {
    img: usize,
    patch: usize,
    frames: usize,
    #[serde(default = "tubelet")]
    tubelet: usize,
    dim: usize,
    depth: usize,
    heads: usize,
    #[serde(default)]
    ddim: usize,
    #[serde(default)]
    ddepth: usize,
    #[serde(default)]
    dheads: usize,
    #[serde(default)]
    td: usize,
    #[serde(default)]
    tdepth: usize,
    #[serde(default)]
    theads: usize,
    pub batch: usize,
}

fn tubelet() -> usize {
    2
}

/// The losses of both teachers' branches.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Losses {
    pub image: f64,
    pub video: f64,
}

/// The optimiser of the reference's five steps.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct AdamW {
    pub lr: f32,
    pub betas: [f32; 2],
    pub eps: f32,
    pub weight_decay: f32,
    pub losses: Vec<f64>,
}

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Layout {
    pub config: Config,
    /// Of a distillation.
    pub adamw: Option<AdamW>,
    /// Of a pixel model or classifier.
    pub loss: Option<f64>,
    /// Of a classifier.
    #[serde(default)]
    pub classes: usize,
    /// Of a classifier.
    #[serde(default)]
    pub label_smoothing: f64,
    #[serde(flatten)]
    losses: BTreeMap<String, serde_json::Value>,
}

/// Every kind of loss that a reference may hold: key, kind, with normalised targets.
pub(super) const KINDS: [(&str, LossKind, bool); 6] = [
    ("SmoothL1", LossKind::SmoothL1, false),
    ("L1", LossKind::L1, false),
    ("L2", LossKind::L2, false),
    ("SmoothL1_norm", LossKind::SmoothL1, true),
    ("L1_norm", LossKind::L1, true),
    ("L2_norm", LossKind::L2, true),
];

impl Layout {
    pub fn read(path: &Path) -> Result<Layout, Error> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
        serde_json::from_str(&text).map_err(|e| Error::Layout { path: path.to_owned(), reason: e.to_string() })
    }

    pub fn losses(&self, key: &str) -> Option<Losses> {
        serde_json::from_value(self.losses.get(key)?.clone()).ok()
    }
}

impl Config {
    pub fn grid(&self) -> Grid {
        Grid { frames: self.frames, size: self.img, tubelet: self.tubelet, patch: self.patch }
    }

    pub fn pixels(&self, family: Family, masked: usize) -> PixelArch {
        let vit = |dim, depth, heads| Vit { dim, depth, heads, mlp_ratio: 4 };
        PixelArch {
            family,
            encoder: vit(self.dim, self.depth, self.heads),
            decoder: vit(self.ddim, self.ddepth, self.dheads),
            grid: self.grid(),
            batch: self.batch,
            masked,
            accumulate: 1,
            pixels: Pixels::Normalized,
            encoder_norm: true,
            decoder_eps: EPS,
        }
    }

    pub fn classifier(&self, classes: usize) -> ClassifierArch {
        let encoder = Vit { dim: self.dim, depth: self.depth, heads: self.heads, mlp_ratio: 4 };
        let plain = ClassifierArch::plain(Family::Mvd, encoder, self.grid(), classes, self.batch);
        ClassifierArch { pixels: Pixels::Normalized, ..plain }
    }

    pub fn distillation(&self, masked: usize, loss: LossKind, norm_feature: bool) -> DistillArch {
        let vit = |dim, depth, heads| Vit { dim, depth, heads, mlp_ratio: 4 };
        let teacher = TeacherArch {
            vit: vit(self.td, self.tdepth, self.theads),
            size: self.img,
            patch: self.patch,
            decoder: vit(self.ddim, self.ddepth, self.dheads),
            weight: 1.0,
        };
        DistillArch {
            student: vit(self.dim, self.depth, self.heads),
            grid: self.grid(),
            image: Some(teacher),
            video: Some(teacher),
            batch: self.batch,
            masked,
            loss,
            norm_feature,
            accumulate: 1,
            drop_path: 0.0,
            pixels: Pixels::Normalized,
        }
    }
}
