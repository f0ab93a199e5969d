//! Flags that every training command has: each overrides one field of a complete config.

use std::path::PathBuf;

use clap::Args;

use crate::config::{DataConfig, MaskRule, OptimConfig, SaveConfig};
use crate::data::MaskKind;

/// Sets a field where its flag was given.
pub(super) fn set<T: Clone>(field: &mut T, flag: &Option<T>) {
    if let Some(value) = flag {
        field.clone_from(value);
    }
}

/// Decoding threads: as many as cores, 8 at most.
pub(super) fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from).min(8)
}

#[derive(Args, Clone)]
pub(super) struct DataArgs {
    /// A list of `path label` lines, a folder of videos or of image folders, or one video.
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Where a list's relative paths start.
    #[arg(long)]
    root: Option<PathBuf>,
    /// What `mvd check-data --index` wrote of the set.
    #[arg(long, value_name = "FILE")]
    index: Option<PathBuf>,
    /// Frames of a clip.
    #[arg(long)]
    frames: Option<usize>,
    /// Frames of the video from one of the clip's to the next.
    #[arg(long)]
    stride: Option<usize>,
    /// Height and width of the frames.
    #[arg(long)]
    input_size: Option<usize>,
    /// Height and width of a patch.
    #[arg(long)]
    patch: Option<usize>,
    /// Decoding threads [default: as many as cores, 8 at most].
    #[arg(long)]
    threads: Option<usize>,
    /// Share of unreadable files at which the run stops [default: 0.01].
    #[arg(long)]
    max_bad: Option<f64>,
}

impl DataArgs {
    pub fn apply(&self, c: &mut DataConfig) {
        set(&mut c.path, &self.data);
        set(&mut c.root, &self.root);
        set(&mut c.index, &self.index);
        set(&mut c.frames, &self.frames);
        set(&mut c.stride, &self.stride);
        set(&mut c.input_size, &self.input_size);
        set(&mut c.patch, &self.patch);
        set(&mut c.threads, &self.threads);
        set(&mut c.max_bad, &self.max_bad);
    }
}

#[derive(Args, Clone)]
pub(super) struct MaskArgs {
    /// How tokens are masked.
    #[arg(long, value_enum)]
    mask: Option<MaskKind>,
    /// Share of masked tokens.
    #[arg(long)]
    mask_ratio: Option<f64>,
}

impl MaskArgs {
    pub fn apply(&self, c: &mut MaskRule) {
        set(&mut c.kind, &self.mask);
        set(&mut c.ratio, &self.mask_ratio);
    }
}

#[derive(Args, Clone)]
pub(super) struct OptimArgs {
    /// Clips of a micro-batch [default: 8 for the published models].
    #[arg(long)]
    batch: Option<usize>,
    /// Micro-batches of a step.
    #[arg(long)]
    accumulate: Option<usize>,
    /// Passes over the set.
    #[arg(long)]
    epochs: Option<usize>,
    /// Steps, instead of passes.
    #[arg(long)]
    steps: Option<usize>,
    /// Learning rate of a total batch of 256.
    #[arg(long)]
    lr: Option<f64>,
    /// Where it ends, of a total batch of 256.
    #[arg(long)]
    min_lr: Option<f64>,
    /// Passes of warm-up.
    #[arg(long)]
    warmup_epochs: Option<f64>,
    /// Weight decay.
    #[arg(long)]
    weight_decay: Option<f64>,
    /// Weight decay at the end [default: the same].
    #[arg(long)]
    weight_decay_end: Option<f64>,
    /// Largest gradient norm; 0 lets all through.
    #[arg(long)]
    clip_grad: Option<f64>,
}

impl OptimArgs {
    pub fn apply(&self, c: &mut OptimConfig) {
        set(&mut c.batch, &self.batch);
        set(&mut c.accumulate, &self.accumulate);
        set(&mut c.epochs, &self.epochs);
        set(&mut c.steps, &self.steps);
        set(&mut c.lr, &self.lr);
        set(&mut c.min_lr, &self.min_lr);
        set(&mut c.warmup_epochs, &self.warmup_epochs);
        set(&mut c.weight_decay, &self.weight_decay);
        set(&mut c.weight_decay_end, &self.weight_decay_end.or(self.weight_decay));
        set(&mut c.clip_grad, &self.clip_grad);
    }
}

#[derive(Args, Clone)]
pub(super) struct RunArgs {
    /// Go on with this run directory, with its own config.
    #[arg(long, value_name = "RUN")]
    pub resume: Option<PathBuf>,
    /// Start from a recipe, see `mvd recipes`; other flags override it.
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    pub recipe: Option<String>,
    /// Start from a complete config, as `mvd recipes NAME` prints it; other flags override it.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Seed of weights, data order, crops, masks and dropout.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Steps from one checkpoint to the next.
    #[arg(long)]
    save_every: Option<usize>,
    /// Newest checkpoints kept.
    #[arg(long)]
    keep_last: Option<usize>,
    /// Keep every checkpoint whose step is a multiple of this; 0: none.
    #[arg(long)]
    keep_every: Option<usize>,
}

impl RunArgs {
    pub fn apply(&self, c: &mut SaveConfig) {
        set(&mut c.every, &self.save_every);
        set(&mut c.keep_last, &self.keep_last);
        set(&mut c.keep_every, &self.keep_every);
    }
}
