//! Stage one: MAE on images, VideoMAE on Kinetics-400.

use super::{BASE, Config, HUGE, LARGE, Recipe, SAVE, TINY, k400, pretraining, synthetic, vit};
use crate::config::{DataConfig, MaskRule, OptimConfig, PretrainConfig, PretrainKind, SaveConfig};
use crate::data::MaskKind;
use crate::model::Vit;

pub(super) fn all() -> Vec<Recipe> {
    let recipe = |name, source, result, config| Recipe { name, source, result, config: Config::Pretrain(config) };
    let ours = "ours, for trials on synthetic clips";
    let mae_source = "facebookresearch/mae, PRETRAIN.md";
    let video_source = "MCG-NJU/VideoMAE, scripts/kinetics";
    vec![
        recipe("mae-tiny", ours, "none", tiny(PretrainKind::Image)),
        recipe("videomae-tiny", ours, "none", tiny(PretrainKind::Video)),
        recipe("mae-base-in1k", mae_source, "fine-tuned: 83.6 % on ImageNet", mae(BASE, 16)),
        recipe("mae-large-in1k", mae_source, "fine-tuned: 85.9 % on ImageNet", mae(LARGE, 16)),
        recipe("mae-huge-in1k", mae_source, "fine-tuned: 86.9 % on ImageNet", mae(HUGE, 14)),
        recipe("videomae-base-k400", video_source, "fine-tuned: 81.5 % on K400", videomae(BASE, vit(384, 4, 6))),
        recipe("videomae-large-k400", video_source, "fine-tuned: 85.2 % on K400", videomae(LARGE, vit(512, 4, 8))),
        recipe("videomae-huge-k400", video_source, "fine-tuned: 86.6 % on K400", videomae(HUGE, vit(640, 4, 8))),
    ]
}

fn mae(encoder: Vit, patch: usize) -> PretrainConfig {
    PretrainConfig {
        kind: PretrainKind::Image,
        seed: 0,
        data: DataConfig { frames: 1, stride: 1, tubelet: 1, patch, ..k400() },
        mask: MaskRule { kind: MaskKind::Random, ratio: 0.75 },
        optim: OptimConfig { batch: 4096, epochs: 800, min_lr: 0.0, ..pretraining() },
        save: SAVE,
        encoder,
        decoder: vit(512, 8, 16),
    }
}

fn videomae(encoder: Vit, decoder: Vit) -> PretrainConfig {
    PretrainConfig {
        kind: PretrainKind::Video,
        seed: 0,
        data: k400(),
        mask: MaskRule { kind: MaskKind::Tube, ratio: 0.9 },
        optim: OptimConfig { epochs: 1601, min_lr: 1e-5, ..pretraining() },
        save: SAVE,
        encoder,
        decoder,
    }
}

fn tiny(kind: PretrainKind) -> PretrainConfig {
    let image = kind == PretrainKind::Image;
    let published = if image { mae(TINY, 8) } else { videomae(TINY, TINY) };
    let one = DataConfig { frames: 1, stride: 1, tubelet: 1, ..synthetic() };
    PretrainConfig {
        data: if image { one } else { synthetic() },
        mask: MaskRule { ratio: 0.75, ..published.mask },
        // 1e-3 for the batch of 16.
        optim: OptimConfig { batch: 16, epochs: 20, warmup_epochs: 2.0, lr: 1.6e-2, min_lr: 1.6e-4, ..pretraining() },
        save: SaveConfig { every: 100, ..SAVE },
        decoder: vit(64, 2, 2),
        ..published
    }
}
