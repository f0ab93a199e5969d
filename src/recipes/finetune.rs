//! Fine-tuning for action recognition.

use super::{BASE, Config, HUGE, LARGE, Recipe, SAVE, SMALL, TINY, k400, pretraining, synthetic};
use crate::config::{EncoderKind, FinetuneConfig, OptimConfig, Sampling, SaveConfig, Which};
use crate::data::RandAugment;
use crate::model::Vit;

const MVD: &str = "ruiwang2021/mvd, scripts, FINETUNE.md, MODEL_ZOO.md";
const VIDEOMAE: &str = "MCG-NJU/VideoMAE, scripts, MODEL_ZOO.md";

/// The base learning rate, batch and epochs of a recipe.
fn tuned(lr: f64, batch: usize, epochs: usize, c: FinetuneConfig) -> FinetuneConfig {
    FinetuneConfig { optim: OptimConfig { lr, batch, epochs, ..c.optim }, ..c }
}

/// Half the head's inputs dropped, more stochastic depth.
fn regularised(drop_path: f64, c: FinetuneConfig) -> FinetuneConfig {
    FinetuneConfig { head_dropout: 0.5, drop_path, ..c }
}

fn ending_at(min_lr: f64, c: FinetuneConfig) -> FinetuneConfig {
    FinetuneConfig { optim: OptimConfig { min_lr, ..c.optim }, ..c }
}

fn decaying(layer_decay: f64, c: FinetuneConfig) -> FinetuneConfig {
    FinetuneConfig { layer_decay, ..c }
}

pub(super) fn all() -> Vec<Recipe> {
    let tiny = Recipe {
        name: "finetune-tiny",
        source: "ours, for trials on synthetic clips",
        result: "none",
        config: Config::Finetune(tiny()),
    };
    [vec![tiny], mvd(), videomae(), st_mae()].concat()
}

/// The script's rate is of clips, 2 a video.
fn st_mae() -> Vec<Recipe> {
    let source = "facebookresearch/mae_st, FINETUNE.md, main_finetune.py (arXiv 2205.09113)";
    let recipe = |name, result, config| {
        let config = FinetuneConfig { model: EncoderKind::StMae, ..config };
        Recipe { name, source, result, config: Config::Finetune(config) }
    };
    let large = tuned(4.8e-3, 128, 50, kinetics(LARGE));
    let optim = OptimConfig { clip_grad: 5.0, min_lr: 2e-6, ..large.optim.clone() };
    let augment = RandAugment { layers: 2, ..RandAugment::PUBLISHED };
    let large = FinetuneConfig { optim, augment, head_dropout: 0.3, drop_path: 0.2, test_clips: 7, ..large };
    vec![recipe("st-mae-large-finetune-k400", "84.4 % (7x3 views)", large)]
}

fn mvd() -> Vec<Recipe> {
    let recipe = |name, result, config| Recipe { name, source: MVD, result, config: Config::Finetune(config) };
    vec![
        recipe(
            "mvd-small-finetune-k400",
            "80.6 % of a base teacher's student, 81.0 % of a large one's (5x3 views)",
            tuned(5e-4, 384, 150, kinetics(SMALL)),
        ),
        recipe(
            "mvd-small-finetune-ssv2",
            "70.7 % of a base teacher's student, 70.9 % of a large one's (2x3 views)",
            decaying(0.7, tuned(1e-3, 384, 40, something(SMALL))),
        ),
        recipe(
            "mvd-base-finetune-k400",
            "82.7 % of a base teacher's student, 83.4 % of a large one's (5x3 views)",
            tuned(5e-4, 384, 75, kinetics(BASE)),
        ),
        recipe(
            "mvd-base-finetune-ssv2",
            "72.5 % of a base teacher's student, 73.7 % of a large one's (2x3 views)",
            tuned(5e-4, 384, 30, something(BASE)),
        ),
        recipe(
            "mvd-large-finetune-k400",
            "86.4 % after 800 epochs of distillation, 86.0 % after 400 (5x3 views)",
            regularised(0.3, tuned(1e-3, 512, 50, kinetics(LARGE))),
        ),
        recipe(
            "mvd-large-finetune-ssv2",
            "76.7 % after 800 epochs of distillation, 76.1 % after 400 (2x3 views)",
            regularised(0.3, tuned(5e-4, 256, 30, something(LARGE))),
        ),
        recipe("mvd-huge-finetune-k400", "87.3 % (5x3 views)", regularised(0.3, tuned(1e-3, 256, 50, kinetics(HUGE)))),
        recipe(
            "mvd-huge-finetune-ssv2",
            "77.3 % (2x3 views)",
            ending_at(1e-5, regularised(0.3, tuned(5e-4, 128, 30, something(HUGE)))),
        ),
    ]
}

fn videomae() -> Vec<Recipe> {
    let recipe = |name, result, config| {
        let config = FinetuneConfig { model: EncoderKind::Videomae, ..config };
        Recipe { name, source: VIDEOMAE, result, config: Config::Finetune(config) }
    };
    let ucf101 = FinetuneConfig { classes: 101, ..tuned(5e-4, 128, 100, kinetics(BASE)) };
    vec![
        recipe("videomae-small-finetune-k400", "79.0 % (5x3 views)", tuned(5e-4, 384, 150, kinetics(SMALL))),
        recipe("videomae-base-finetune-k400", "81.5 % (5x3 views)", tuned(5e-4, 384, 75, kinetics(BASE))),
        recipe("videomae-large-finetune-k400", "85.2 % (5x3 views)", tuned(2e-3, 128, 35, kinetics(LARGE))),
        recipe(
            "videomae-huge-finetune-k400",
            "86.6 % (5x3 views)",
            ending_at(1e-5, regularised(0.2, tuned(1e-3, 512, 50, kinetics(HUGE)))),
        ),
        recipe(
            "videomae-small-finetune-ssv2",
            "66.8 % (2x3 views)",
            decaying(0.7, tuned(1e-3, 384, 40, something(SMALL))),
        ),
        recipe("videomae-base-finetune-ssv2", "70.8 % (2x3 views)", tuned(5e-4, 384, 30, something(BASE))),
        recipe(
            "videomae-base-finetune-ucf101",
            "91.3 % (5x3 views)",
            decaying(0.7, ending_at(1e-5, regularised(0.2, ucf101))),
        ),
    ]
}

fn kinetics(encoder: Vit) -> FinetuneConfig {
    FinetuneConfig {
        model: EncoderKind::Mvd,
        init: Default::default(),
        init_digest: String::new(),
        init_which: Which::default(),
        val: Default::default(),
        classes: 400,
        names: Vec::new(),
        keep_head: false,
        sampling: Sampling::Dense,
        repeats: 2,
        crop_min: 0.08,
        augment: RandAugment::PUBLISHED,
        color_jitter: 0.0,
        flip: true,
        erasing: 0.25,
        mixup: 0.8,
        cutmix: 1.0,
        smoothing: 0.1,
        layer_decay: 0.75,
        drop_path: 0.1,
        head_dropout: 0.0,
        init_scale: 0.001,
        ema: 0.0,
        test_clips: 5,
        test_crops: 3,
        seed: 0,
        data: k400(),
        optim: OptimConfig { betas: [0.9, 0.999], min_lr: 1e-6, warmup_epochs: 5.0, ..pretraining() },
        save: SAVE,
        encoder,
        changes: Vec::new(),
    }
}

/// Something-Something v2: directions matter, so nothing is mirrored.
fn something(encoder: Vit) -> FinetuneConfig {
    FinetuneConfig { classes: 174, sampling: Sampling::Segment, flip: false, test_clips: 2, ..kinetics(encoder) }
}

fn tiny() -> FinetuneConfig {
    let published = kinetics(TINY);
    FinetuneConfig {
        classes: 10,
        repeats: 1,
        // Shapes, speeds and directions are labels: nothing is cut, scaled or mirrored.
        crop_min: 1.0,
        augment: RandAugment::NONE,
        flip: false,
        erasing: 0.0,
        mixup: 0.0,
        cutmix: 0.0,
        smoothing: 0.0,
        layer_decay: 1.0,
        init_scale: 1.0,
        drop_path: 0.0,
        test_clips: 1,
        test_crops: 1,
        data: synthetic(),
        optim: OptimConfig { batch: 16, epochs: 10, warmup_epochs: 1.0, lr: 1.6e-2, ..published.optim.clone() },
        save: SaveConfig { every: 100, ..SAVE },
        ..published
    }
}
