//! Stage one: MAE on ImageNet, VideoMAE on Kinetics-400, Something-Something v2 and UCF101.

use super::{BASE, Config, HUGE, LARGE, Recipe, SAVE, SMALL, TINY, k400, pretraining, synthetic, vit};
use crate::config::{Crop, DataConfig, MaskRule, OptimConfig, PretrainConfig, PretrainKind, SaveConfig};
use crate::data::{LEAST_SCALE, MaskKind};
use crate::model::Vit;

const MAE: &str = "facebookresearch/mae, PRETRAIN.md, FINETUNE.md; 1,600 epochs as the published weights had";
const VIDEOMAE: &str = "MCG-NJU/VideoMAE, scripts, MODEL_ZOO.md";
const ST_MAE: &str =
    "facebookresearch/mae_st, PRETRAIN.md, FINETUNE.md; 400 epochs of 4 clips a video as the published weights had";

pub(super) fn all() -> Vec<Recipe> {
    let recipe = |name, source, result, config| Recipe { name, source, result, config: Config::Pretrain(config) };
    let ours = "ours, for trials on synthetic clips";
    let image = |name, result, config| recipe(name, MAE, result, config);
    let video = |name, result, config| recipe(name, VIDEOMAE, result, config);
    let clips = |name, result, config| recipe(name, ST_MAE, result, config);
    let small = |batch| videomae(SMALL, vit(192, 4, 3), batch);
    let base = || videomae(BASE, vit(384, 4, 6), 2048);
    vec![
        recipe("mae-tiny", ours, "none", tiny(PretrainKind::Image)),
        recipe("videomae-tiny", ours, "none", tiny(PretrainKind::Video)),
        recipe("st-mae-tiny", ours, "none", tiny(PretrainKind::StMae)),
        image("mae-base-in1k", "fine-tuned: 83.6 % on ImageNet", mae(BASE, 16)),
        image("mae-large-in1k", "fine-tuned: 85.9 % on ImageNet (85.5 % after 800 epochs)", mae(LARGE, 16)),
        image("mae-huge-in1k", "fine-tuned: 86.9 % on ImageNet", mae(HUGE, 14)),
        video("videomae-small-k400", "fine-tuned: 79.0 % on K400", small(1024)),
        video("videomae-base-k400", "fine-tuned: 81.5 % on K400 (81.0 % after 800 epochs)", base()),
        video("videomae-large-k400", "fine-tuned: 85.2 % on K400", videomae(LARGE, vit(512, 12, 8), 512)),
        video("videomae-huge-k400", "fine-tuned: 86.6 % on K400", videomae(HUGE, vit(640, 12, 8), 1024)),
        video("videomae-small-ssv2", "fine-tuned: 66.8 % on SSv2", something(small(2048))),
        video("videomae-base-ssv2", "fine-tuned: 70.8 % on SSv2 (69.6 % after 800 epochs)", something(base())),
        video("videomae-base-ucf101", "fine-tuned: 91.3 % on UCF101", ucf101(base())),
        clips("st-mae-large-k400", "fine-tuned: 84.4 % on K400", st_mae(LARGE, 16)),
        clips("st-mae-huge-k400", "fine-tuned: 85.1 % on K400", st_mae(HUGE, 14)),
    ]
}

fn mae(encoder: Vit, patch: usize) -> PretrainConfig {
    PretrainConfig {
        kind: PretrainKind::Image,
        seed: 0,
        repeats: 1,
        crop: Crop::RandomResized,
        crop_min: 0.2,
        flip: true,
        data: DataConfig { frames: 1, stride: 1, tubelet: 1, patch, ..k400() },
        mask: MaskRule { kind: MaskKind::Random, ratio: 0.75 },
        optim: OptimConfig { batch: 4096, epochs: 1600, min_lr: 0.0, ..pretraining() },
        save: SAVE,
        encoder,
        decoder: vit(512, 8, 16),
        changes: Vec::new(),
    }
}

fn videomae(encoder: Vit, decoder: Vit, batch: usize) -> PretrainConfig {
    PretrainConfig {
        kind: PretrainKind::Video,
        seed: 0,
        repeats: 1,
        crop: Crop::MultiScale,
        crop_min: LEAST_SCALE,
        flip: false,
        data: k400(),
        mask: MaskRule { kind: MaskKind::Tube, ratio: 0.9 },
        optim: OptimConfig { batch, epochs: 1601, min_lr: 1e-5, ..pretraining() },
        save: SAVE,
        encoder,
        decoder,
        changes: Vec::new(),
    }
}

fn st_mae(encoder: Vit, patch: usize) -> PretrainConfig {
    let optim = OptimConfig { lr: 1.6e-3, min_lr: 0.0, clip_grad: 0.02, warmup_epochs: 5.0, ..pretraining() };
    PretrainConfig {
        kind: PretrainKind::StMae,
        seed: 0,
        repeats: 4,
        crop: Crop::RandomResized,
        crop_min: 0.5,
        flip: true,
        data: DataConfig { patch, ..k400() },
        mask: MaskRule { kind: MaskKind::Agnostic, ratio: 0.9 },
        optim: OptimConfig { batch: 512, epochs: 400, ..optim },
        save: SAVE,
        encoder,
        decoder: vit(512, 4, 16),
        changes: Vec::new(),
    }
}

/// Something-Something v2: frames closer to each other, for longer.
fn something(c: PretrainConfig) -> PretrainConfig {
    let data = DataConfig { stride: 2, ..c.data };
    PretrainConfig { data, optim: OptimConfig { epochs: 2401, ..c.optim }, ..c }
}

/// UCF101, a small set: fewer masked tokens, smaller batches, longer still.
fn ucf101(c: PretrainConfig) -> PretrainConfig {
    let optim = OptimConfig { batch: 192, epochs: 3201, lr: 3e-4, ..c.optim };
    PretrainConfig { mask: MaskRule { ratio: 0.75, ..c.mask }, optim, ..c }
}

fn tiny(kind: PretrainKind) -> PretrainConfig {
    let image = kind == PretrainKind::Image;
    let published = match kind {
        PretrainKind::Image => mae(TINY, 8),
        PretrainKind::Video => videomae(TINY, TINY, 16),
        PretrainKind::StMae => st_mae(TINY, 8),
    };
    let trial = OptimConfig { clip_grad: published.optim.clip_grad, ..pretraining() };
    let one = DataConfig { frames: 1, stride: 1, tubelet: 1, ..synthetic() };
    PretrainConfig {
        // Where things are is part of what synthetic clips show.
        crop: Crop::MultiScale,
        crop_min: LEAST_SCALE,
        flip: false,
        repeats: 1,
        data: if image { one } else { synthetic() },
        mask: MaskRule { ratio: 0.75, ..published.mask },
        // 1e-3 for the batch of 16.
        optim: OptimConfig { batch: 16, epochs: 20, warmup_epochs: 2.0, lr: 1.6e-2, min_lr: 1.6e-4, ..trial },
        save: SaveConfig { every: 100, ..SAVE },
        decoder: vit(64, 2, 2),
        ..published
    }
}
