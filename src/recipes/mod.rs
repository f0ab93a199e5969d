//! The published pre-training recipes by name: Kinetics-400, 16 frames at stride 4, tube masks.
//!
//! Source: the scripts of `ruiwang2021/mvd`. Their batches are spread over 32 to 64 GPUs; here `batch` is the whole
//! one, to be traded for `accumulate`. Data and teachers' weights are left empty for the user.

use std::path::PathBuf;

use crate::config::{DistillConfig, TeacherConfig, meant, nearest};
use crate::data::MaskKind;
use crate::model::Vit;
use crate::op::loss::LossKind;

/// Names that [`recipe`] knows.
pub const NAMES: [&str; 8] = [
    "mvd-tiny",
    "mvd-small-from-base-k400",
    "mvd-small-from-large-k400",
    "mvd-base-from-base-k400",
    "mvd-base-from-large-k400",
    "mvd-large-from-large-k400",
    "mvd-large-from-large-k400-800",
    "mvd-huge-from-huge-k400",
];

/// A name that is no recipe's.
#[derive(Debug, thiserror::Error)]
#[error("unknown recipe `{got}`: expected one of {}{}", NAMES.join(", "), meant(nearest(got, NAMES).as_deref()))]
pub struct Unknown {
    /// The name given.
    pub got: String,
}

const fn vit(dim: usize, depth: usize, heads: usize) -> Vit {
    Vit { dim, depth, heads, mlp_ratio: 4 }
}

const TINY: Vit = vit(128, 4, 4);
const SMALL: Vit = vit(384, 12, 6);
const BASE: Vit = vit(768, 12, 12);
const LARGE: Vit = vit(1024, 24, 16);
const HUGE: Vit = vit(1280, 32, 16);

/// The configuration of this name.
///
/// # Errors
/// There is none of this name.
pub fn recipe(name: &str) -> Result<DistillConfig, Unknown> {
    Ok(match name {
        "mvd-tiny" => tiny(),
        "mvd-small-from-base-k400" => published(SMALL, BASE),
        "mvd-small-from-large-k400" => published(SMALL, LARGE),
        "mvd-base-from-base-k400" => published(BASE, BASE),
        "mvd-base-from-large-k400" => published(BASE, LARGE),
        "mvd-large-from-large-k400" => large(401, 1e-4),
        "mvd-large-from-large-k400-800" => large(801, 1e-5),
        "mvd-huge-from-huge-k400" => DistillConfig {
            decoder: vit(640, 8, 8),
            batch: 512,
            min_lr: 1e-5,
            drop_path: 0.2,
            epochs: 801,
            // MAE's huge model has patches of 14: at 196 pixels its grid is the student's.
            image_teacher: Some(TeacherConfig { size: 196, patch: 14, ..teacher(HUGE) }),
            ..published(HUGE, HUGE)
        },
        _ => return Err(Unknown { got: name.to_owned() }),
    })
}

fn teacher(vit: Vit) -> TeacherConfig {
    TeacherConfig { weights: PathBuf::new(), vit, size: 224, patch: 16, weight: 1.0 }
}

fn large(epochs: usize, min_lr: f64) -> DistillConfig {
    DistillConfig { decoder: vit(512, 4, 8), batch: 512, min_lr, epochs, ..published(LARGE, LARGE) }
}

/// What the recipes share, with the values of base from base.
fn published(student: Vit, from: Vit) -> DistillConfig {
    DistillConfig {
        data: PathBuf::new(),
        root: PathBuf::new(),
        frames: 16,
        stride: 4,
        tubelet: 2,
        input_size: 224,
        patch: 16,
        mask: MaskKind::Tube,
        mask_ratio: 0.9,
        loss: LossKind::SmoothL1,
        norm_feature: false,
        batch: 1024,
        accumulate: 1,
        epochs: 401,
        steps: 0,
        lr: 1.5e-4,
        min_lr: 1e-4,
        warmup_epochs: 40.0,
        betas: [0.9, 0.95],
        eps: 1e-8,
        weight_decay: 0.05,
        weight_decay_end: 0.05,
        clip_grad: 0.0,
        drop_path: 0.1,
        seed: 0,
        threads: 4,
        max_bad: 0.01,
        save_every: 1000,
        keep_last: 3,
        keep_every: 0,
        student,
        decoder: Vit { depth: 2, ..student },
        image_teacher: Some(teacher(from)),
        video_teacher: Some(teacher(from)),
    }
}

/// For trials on the synthetic set of 16 frames of 64x64: no published counterpart.
fn tiny() -> DistillConfig {
    let small = Some(TeacherConfig { size: 64, patch: 8, ..teacher(TINY) });
    DistillConfig {
        frames: 8,
        stride: 2,
        input_size: 64,
        patch: 8,
        mask_ratio: 0.75,
        batch: 16,
        epochs: 10,
        warmup_epochs: 1.0,
        // 1e-3 for the batch of 16.
        lr: 1.6e-2,
        min_lr: 1.6e-4,
        drop_path: 0.0,
        threads: 2,
        save_every: 50,
        decoder: vit(64, 2, 2),
        image_teacher: small.clone(),
        video_teacher: small,
        ..published(TINY, TINY)
    }
}
