//! Every published recipe against the numbers of the official scripts.

use super::{Config, all};
use crate::train::schedule::{Length, scaled_lr};

/// Videos of the sets' training parts: VideoMAE's DATASET.md, ImageNet-1k, UCF101's first split.
const K400: usize = 240_436;
const SSV2: usize = 168_913;
const IN1K: usize = 1_281_167;
const UCF101: usize = 9_537;

/// What a script says, and what its program makes of it.
struct Script {
    recipe: &'static str,
    videos: usize,
    /// GPUs, `--batch_size`, `--update_freq`.
    batch: [usize; 3],
    /// `--num_sample`.
    samples: usize,
    epochs: usize,
    warmup_epochs: usize,
    /// Steps of an epoch, clips of a step.
    steps: [usize; 2],
    /// The highest learning rate, and where it ends.
    rates: [f64; 2],
}

/// MAE: PRETRAIN.md's 8 nodes of 8 GPUs.
const fn mae(recipe: &'static str) -> Script {
    let (batch, steps, rates) = ([64, 64, 1], [312, 4096], [2.4e-3, 0.0]);
    Script { recipe, videos: IN1K, batch, samples: 1, epochs: 1600, warmup_epochs: 40, steps, rates }
}

/// ST-MAE: 512 videos a step, of 4 clips each, as the paper says; the command, of 2 videos a GPU, leaves their number open.
const fn st_mae(recipe: &'static str) -> Script {
    let (batch, steps, rates) = ([256, 2, 1], [469, 2048], [3.2e-3, 0.0]);
    Script { recipe, videos: K400, batch, samples: 4, epochs: 400, warmup_epochs: 5, steps, rates }
}

const fn pre(
    recipe: &'static str,
    videos: usize,
    epochs: usize,
    batch: [usize; 3],
    steps: [usize; 2],
    rates: [f64; 2],
) -> Script {
    Script { recipe, videos, batch, samples: 1, epochs, warmup_epochs: 40, steps, rates }
}

const fn fine(
    recipe: &'static str,
    videos: usize,
    epochs: usize,
    batch: [usize; 3],
    steps: [usize; 2],
    rates: [f64; 2],
) -> Script {
    Script { recipe, videos, batch, samples: 2, epochs, warmup_epochs: 5, steps, rates }
}

/// GPUs are those of VideoMAE's commands, and of the first line of each of MVD's scripts.
const SCRIPTS: [Script; 35] = [
    mae("mae-base-in1k"),
    mae("mae-large-in1k"),
    mae("mae-huge-in1k"),
    pre("videomae-small-k400", K400, 1601, [32, 32, 1], [234, 1024], [6e-4, 4e-5]),
    pre("videomae-base-k400", K400, 1601, [64, 32, 1], [117, 2048], [1.2e-3, 8e-5]),
    pre("videomae-large-k400", K400, 1601, [64, 8, 1], [469, 512], [3e-4, 2e-5]),
    pre("videomae-huge-k400", K400, 1601, [64, 16, 1], [234, 1024], [6e-4, 4e-5]),
    pre("videomae-small-ssv2", SSV2, 2401, [64, 32, 1], [82, 2048], [1.2e-3, 8e-5]),
    pre("videomae-base-ssv2", SSV2, 2401, [64, 32, 1], [82, 2048], [1.2e-3, 8e-5]),
    pre("videomae-base-ucf101", UCF101, 3201, [8, 24, 1], [49, 192], [2.25e-4, 7.5e-6]),
    st_mae("st-mae-large-k400"),
    st_mae("st-mae-huge-k400"),
    pre("mvd-small-from-base-k400", K400, 401, [32, 16, 2], [234, 1024], [6e-4, 4e-4]),
    pre("mvd-small-from-large-k400", K400, 401, [32, 16, 2], [234, 1024], [6e-4, 4e-4]),
    pre("mvd-base-from-base-k400", K400, 401, [32, 16, 2], [234, 1024], [6e-4, 4e-4]),
    pre("mvd-base-from-large-k400", K400, 401, [32, 8, 4], [234, 1024], [6e-4, 4e-4]),
    pre("mvd-large-from-large-k400", K400, 401, [32, 8, 2], [469, 512], [3e-4, 2e-4]),
    pre("mvd-large-from-large-k400-800", K400, 801, [32, 8, 2], [469, 512], [3e-4, 2e-5]),
    pre("mvd-huge-from-huge-k400", K400, 801, [32, 8, 2], [469, 512], [3e-4, 2e-5]),
    fine("mvd-small-finetune-k400", K400, 150, [16, 12, 2], [626, 768], [7.5e-4, 1.5e-6]),
    fine("mvd-small-finetune-ssv2", SSV2, 40, [32, 12, 1], [439, 768], [1.5e-3, 1.5e-6]),
    fine("mvd-base-finetune-k400", K400, 75, [32, 6, 2], [626, 768], [7.5e-4, 1.5e-6]),
    fine("mvd-base-finetune-ssv2", SSV2, 30, [16, 24, 1], [439, 768], [7.5e-4, 1.5e-6]),
    fine("mvd-large-finetune-k400", K400, 50, [32, 2, 8], [469, 1024], [2e-3, 2e-6]),
    fine("mvd-large-finetune-ssv2", SSV2, 30, [16, 16, 1], [659, 512], [5e-4, 1e-6]),
    fine("mvd-huge-finetune-k400", K400, 50, [32, 8, 1], [939, 512], [1e-3, 1e-6]),
    fine("mvd-huge-finetune-ssv2", SSV2, 30, [16, 8, 1], [1319, 256], [2.5e-4, 5e-6]),
    fine("videomae-small-finetune-k400", K400, 150, [32, 12, 1], [626, 768], [7.5e-4, 1.5e-6]),
    fine("videomae-base-finetune-k400", K400, 75, [64, 6, 1], [626, 768], [7.5e-4, 1.5e-6]),
    fine("videomae-large-finetune-k400", K400, 35, [64, 2, 1], [1878, 256], [1e-3, 5e-7]),
    fine("videomae-huge-finetune-k400", K400, 50, [64, 8, 1], [469, 1024], [2e-3, 2e-5]),
    fine("videomae-small-finetune-ssv2", SSV2, 40, [32, 12, 1], [439, 768], [1.5e-3, 1.5e-6]),
    fine("videomae-base-finetune-ssv2", SSV2, 30, [64, 6, 1], [439, 768], [7.5e-4, 1.5e-6]),
    fine("videomae-base-finetune-ucf101", UCF101, 100, [8, 16, 1], [74, 256], [2.5e-4, 5e-6]),
    fine("st-mae-large-finetune-k400", K400, 50, [64, 2, 1], [1878, 256], [2.4e-3, 1e-6]),
];

#[test]
fn steps_clips_and_learning_rates_are_those_of_the_scripts() {
    let published = all().into_iter().filter(|r| !r.source.starts_with("ours"));
    assert!(published.map(|r| r.name).eq(SCRIPTS.iter().map(|s| s.recipe).collect::<Vec<_>>()), "a row each, in order");
    for Script { recipe, videos, batch, samples, epochs, warmup_epochs, steps, rates } in SCRIPTS {
        let (optim, repeats) = match super::recipe(recipe).unwrap().config {
            Config::Pretrain(c) => (c.optim, c.repeats),
            Config::Distill(c) => (c.optim, 1),
            Config::Finetune(c) => (c.optim, c.repeats),
        };
        assert_eq!((optim.total_batch(), repeats), (batch.iter().product(), samples), "{recipe}: videos, samples");
        let length = Length::of(&optim, videos);
        let expected = Length { pass: steps[0], total: epochs * steps[0], warmup: warmup_epochs * steps[0] };
        assert_eq!(length, expected, "{recipe}");
        assert_eq!(optim.total_batch() * repeats, steps[1], "{recipe}: clips of a step");
        let got = [optim.lr, optim.min_lr].map(|lr| scaled_lr(lr, optim.total_batch()));
        for (got, expected) in got.into_iter().zip(rates) {
            assert!((got - expected).abs() <= 1e-9 * expected, "{recipe}: {got} for {expected}");
        }
    }
}
