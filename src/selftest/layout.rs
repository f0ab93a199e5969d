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

/// Sizes of the models, also under the names of ST-MAE's own program.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Config {
    #[serde(alias = "img_size")]
    img: usize,
    #[serde(alias = "patch_size")]
    patch: usize,
    #[serde(alias = "num_frames")]
    frames: usize,
    #[serde(default = "tubelet", alias = "t_patch_size")]
    tubelet: usize,
    #[serde(alias = "embed_dim")]
    dim: usize,
    depth: usize,
    #[serde(alias = "num_heads")]
    heads: usize,
    #[serde(default, alias = "decoder_embed_dim")]
    ddim: usize,
    #[serde(default, alias = "decoder_depth")]
    ddepth: usize,
    #[serde(default, alias = "decoder_num_heads")]
    dheads: usize,
    /// Of ST-MAE: frames that are predicted; 0: all.
    #[serde(default)]
    pred_t_dim: usize,
    #[serde(default = "yes")]
    sep_pos_embed: bool,
    #[serde(default = "yes")]
    cls_embed: bool,
    #[serde(default = "yes")]
    norm_pix_loss: bool,
    #[serde(default)]
    no_qkv_bias: bool,
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

fn yes() -> bool {
    true
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
    /// The sizes stand under `config`, or beside the rest.
    pub fn read(path: &Path) -> Result<Layout, Error> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
        let wrong = |e: serde_json::Error| Error::Layout { path: path.to_owned(), reason: e.to_string() };
        let mut json: serde_json::Value = serde_json::from_str(&text).map_err(wrong)?;
        if let (Some(all), None) = (json.as_object().cloned(), json.get("config")) {
            json["config"] = all.into();
        }
        serde_json::from_value(json).map_err(wrong)
    }

    pub fn losses(&self, key: &str) -> Option<Losses> {
        serde_json::from_value(self.losses.get(key)?.clone()).ok()
    }
}

impl Config {
    /// What of an ST-MAE is not as the published ones, if anything is.
    pub fn strange(&self) -> Option<String> {
        for (name, expected, got) in [
            ("sep_pos_embed", true, self.sep_pos_embed),
            ("cls_embed", true, self.cls_embed),
            ("norm_pix_loss", true, self.norm_pix_loss),
            ("no_qkv_bias", false, self.no_qkv_bias),
        ] {
            if got != expected {
                return Some(format!("{name}: expected {expected}, as all published models, got {got}"));
            }
        }
        let (frames, predicted, times) = (self.frames, self.pred_t_dim, self.frames / self.tubelet.max(1));
        let fits = times > 0 && predicted > 0 && predicted <= frames && predicted.is_multiple_of(times);
        (!fits).then(|| format!("pred_t_dim: expected a multiple of {times} of at most {frames}, got {predicted}"))
    }

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
            target_frames: if self.pred_t_dim > 0 { self.pred_t_dim } else { self.frames },
            accumulate: 1,
            pixels: Pixels::Normalized,
            encoder_norm: true,
            decoder_eps: EPS,
        }
    }

    pub fn classifier(&self, family: Family, classes: usize) -> ClassifierArch {
        let encoder = Vit { dim: self.dim, depth: self.depth, heads: self.heads, mlp_ratio: 4 };
        let plain = ClassifierArch::plain(family, encoder, self.grid(), classes, self.batch);
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
            video_family: Family::VideoMae,
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
