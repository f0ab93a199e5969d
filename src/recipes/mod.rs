//! The published pre-training recipes by name: Kinetics-400, 16 frames at stride 4, tube masks.
//!
//! Source: the scripts of `ruiwang2021/mvd`. Their batches are spread over 32 to 64 GPUs; here `batch` is the whole
//! one, to be traded for `accumulate`.

use crate::config::{ConfigError, DecoderConfig, DistillConfig, Loss, ModelSize, Result, VitConfig, nearest};
use crate::data::MaskKind;

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

/// The configuration of this name; paths are left for the user.
pub fn recipe(name: &str) -> Result<DistillConfig> {
    use ModelSize::{Base, Huge, Large, Small};
    Ok(match name {
        "mvd-tiny" => tiny(),
        "mvd-small-from-base-k400" => published(Small, Base),
        "mvd-small-from-large-k400" => published(Small, Large),
        "mvd-base-from-base-k400" => published(Base, Base),
        "mvd-base-from-large-k400" => published(Base, Large),
        "mvd-large-from-large-k400" => large(401, 1e-4),
        "mvd-large-from-large-k400-800" => large(801, 1e-5),
        "mvd-huge-from-huge-k400" => DistillConfig {
            decoder: DecoderConfig { dim: 640, depth: 8, heads: 8, mlp_ratio: 4 },
            batch: 512,
            min_lr: 1e-5,
            drop_path: 0.2,
            epochs: 801,
            // MAE's huge model has patches of 14: at 196 pixels its grid is the student's.
            image_teacher: Huge.vit(14),
            teacher_input_size: 196,
            ..published(Huge, Huge)
        },
        _ => {
            return Err(ConfigError::Unknown {
                what: "recipe",
                got: name.into(),
                known: NAMES.map(String::from).into(),
                nearest: nearest(name, NAMES),
            });
        }
    })
}

fn large(epochs: u64, min_lr: f64) -> DistillConfig {
    DistillConfig {
        decoder: DecoderConfig { dim: 512, depth: 4, heads: 8, mlp_ratio: 4 },
        batch: 512,
        min_lr,
        epochs,
        ..published(ModelSize::Large, ModelSize::Large)
    }
}

fn decoder_like(student: VitConfig) -> DecoderConfig {
    DecoderConfig { dim: student.dim, depth: 2, heads: student.heads, mlp_ratio: student.mlp_ratio }
}

/// What the recipes share, with the values of base from base.
fn published(student: ModelSize, teacher: ModelSize) -> DistillConfig {
    DistillConfig {
        data: None,
        data_root: None,
        image_teacher_weights: None,
        video_teacher_weights: None,
        frames: 16,
        stride: 4,
        tubelet: 2,
        input_size: 224,
        teacher_input_size: 224,
        mask: MaskKind::Tube,
        mask_ratio: 0.9,
        loss: Loss::SmoothL1,
        norm_feature: false,
        image_weight: 1.0,
        video_weight: 1.0,
        batch: 1024,
        accumulate: 1,
        repeat: 1,
        epochs: 401,
        steps: None,
        warmup_epochs: 40,
        warmup_steps: None,
        lr: 1.5e-4,
        min_lr: 1e-4,
        betas: [0.9, 0.95],
        eps: 1e-8,
        weight_decay: 0.05,
        weight_decay_end: 0.05,
        clip_grad: None,
        drop_path: 0.1,
        seed: 0,
        threads: 4,
        save_every: 1000,
        keep_last: 3,
        keep_every: 0,
        student: student.vit(16),
        image_teacher: teacher.vit(16),
        video_teacher: teacher.vit(16),
        decoder: decoder_like(student.vit(16)),
    }
}

/// For trials on the synthetic set of 16 frames of 64x64: no published counterpart.
fn tiny() -> DistillConfig {
    let vit = ModelSize::Tiny.vit(8);
    DistillConfig {
        frames: 8,
        stride: 2,
        input_size: 64,
        teacher_input_size: 64,
        mask_ratio: 0.75,
        batch: 16,
        steps: Some(200),
        warmup_steps: Some(20),
        // 1e-3 for the batch of 16.
        lr: 1.6e-2,
        min_lr: 1.6e-4,
        drop_path: 0.0,
        threads: 2,
        save_every: 50,
        student: vit,
        image_teacher: vit,
        video_teacher: vit,
        decoder: DecoderConfig { dim: 64, depth: 2, heads: 2, mlp_ratio: 4 },
        ..published(ModelSize::Tiny, ModelSize::Tiny)
    }
}
