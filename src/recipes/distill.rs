//! Distillation: Kinetics-400, tube masks.

use std::path::PathBuf;

use super::public::{MAE_BASE, MAE_HUGE, MAE_LARGE, Public, VIDEOMAE_BASE, VIDEOMAE_LARGE};
use super::{BASE, Config, HUGE, LARGE, Recipe, SAVE, SMALL, TINY, k400, pretraining, synthetic, vit};
use crate::config::{DistillConfig, MaskRule, OptimConfig, SaveConfig, TeacherConfig, VideoModel, Which};
use crate::data::{LEAST_SCALE, MaskKind};
use crate::model::Vit;
use crate::op::loss::LossKind;

const MVD: &str = "ruiwang2021/mvd, scripts, PRETRAIN.md, MODEL_ZOO.md (arXiv 2212.04500)";

pub(super) fn all() -> Vec<Recipe> {
    let published = |name, result, config| Recipe { name, source: MVD, result, config: Config::Distill(config) };
    vec![
        Recipe {
            name: "mvd-tiny",
            source: "ours, for trials on synthetic clips",
            result: "none",
            config: Config::Distill(tiny()),
        },
        published(
            "mvd-small-from-base-k400",
            "fine-tuned: 80.6 % on K400, 70.7 % on SSv2 (400 epochs)",
            mvd(SMALL, BASE),
        ),
        published(
            "mvd-small-from-large-k400",
            "fine-tuned: 81.0 % on K400, 70.9 % on SSv2 (400 epochs)",
            mvd(SMALL, LARGE),
        ),
        published(
            "mvd-base-from-base-k400",
            "fine-tuned: 82.7 % on K400, 72.5 % on SSv2, 97.0 % on UCF101, 76.4 % on HMDB51 (400 epochs)",
            mvd(BASE, BASE),
        ),
        published(
            "mvd-base-from-large-k400",
            "fine-tuned: 83.4 % on K400, 73.7 % on SSv2, 97.5 % on UCF101, 79.7 % on HMDB51 (400 epochs)",
            mvd(BASE, LARGE),
        ),
        published(
            "mvd-large-from-large-k400",
            "fine-tuned: 86.0 % on K400, 76.1 % on SSv2 (400 epochs)",
            large(401, 1e-4),
        ),
        published(
            "mvd-large-from-large-k400-800",
            "fine-tuned: 86.4 % on K400, 76.7 % on SSv2 (800 epochs)",
            large(801, 1e-5),
        ),
        published("mvd-huge-from-huge-k400", "fine-tuned: 87.3 % on K400, 77.3 % on SSv2 (800 epochs)", huge()),
    ]
}

/// A teacher, and public weights of it where there are any.
fn teacher(vit: Vit, public: Option<Public>) -> TeacherConfig {
    let weights = public.map_or_else(PathBuf::new, |public| public.name.into());
    let (digest, which) = (String::new(), Which::default());
    TeacherConfig { weights, digest, which, size: 224, patch: 16, weight: 1.0, vit }
}

/// The public weights of an image and of a video teacher of a size.
fn public(of: Vit) -> (Option<Public>, Option<Public>) {
    match of {
        BASE => (Some(MAE_BASE), Some(VIDEOMAE_BASE)),
        LARGE => (Some(MAE_LARGE), Some(VIDEOMAE_LARGE)),
        HUGE => (Some(MAE_HUGE), None),
        _ => (None, None),
    }
}

/// What the recipes share, with the values of base from base.
fn mvd(student: Vit, from: Vit) -> DistillConfig {
    let (image, video) = public(from);
    DistillConfig {
        loss: LossKind::SmoothL1,
        norm_feature: false,
        video_model: VideoModel::Videomae,
        drop_path: 0.1,
        seed: 0,
        crop_min: LEAST_SCALE,
        data: k400(),
        mask: MaskRule { kind: MaskKind::Tube, ratio: 0.9 },
        optim: pretraining(),
        save: SAVE,
        student,
        decoder: Vit { depth: 2, ..student },
        image_teacher: Some(teacher(from, image)),
        video_teacher: Some(teacher(from, video)),
        changes: Vec::new(),
    }
}

fn large(epochs: usize, min_lr: f64) -> DistillConfig {
    let optim = OptimConfig { batch: 512, min_lr, epochs, ..pretraining() };
    DistillConfig { decoder: vit(512, 4, 8), optim, ..mvd(LARGE, LARGE) }
}

fn huge() -> DistillConfig {
    DistillConfig {
        decoder: vit(640, 8, 8),
        drop_path: 0.2,
        optim: OptimConfig { batch: 512, min_lr: 1e-5, epochs: 801, ..pretraining() },
        // MAE's huge model has patches of 14: at 196 pixels its grid is the student's.
        image_teacher: Some(TeacherConfig { size: 196, patch: 14, ..teacher(HUGE, Some(MAE_HUGE)) }),
        ..mvd(HUGE, HUGE)
    }
}

fn tiny() -> DistillConfig {
    let small = Some(TeacherConfig { size: 64, patch: 8, ..teacher(TINY, None) });
    DistillConfig {
        data: synthetic(),
        mask: MaskRule { kind: MaskKind::Tube, ratio: 0.75 },
        // 1e-3 for the batch of 16.
        optim: OptimConfig { batch: 16, epochs: 10, warmup_epochs: 1.0, lr: 1.6e-2, min_lr: 1.6e-4, ..pretraining() },
        drop_path: 0.0,
        save: SaveConfig { every: 50, ..SAVE },
        decoder: vit(64, 2, 2),
        image_teacher: small.clone(),
        video_teacher: small,
        ..mvd(TINY, TINY)
    }
}
