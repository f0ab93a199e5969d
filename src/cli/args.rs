//! Flags that every training command has: each overrides one field of a complete config.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use super::{AdapterArgs, Failure, train};
use crate::config::{DataConfig, MaskRule, OptimConfig, SaveConfig};
use crate::data::MaskKind;
use crate::gpu::Recorder;
use crate::train::fit;

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
    /// What `mvd check-data --index` wrote of the set; of several sets, one behind the other.
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
    /// Share of unreadable files over which the run stops; 0: at the first [default: 0.01].
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

/// Micro-batches of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Accumulate {
    /// As few as fit in memory, for the recipe's whole batch.
    Auto,
    Count(usize),
}

impl FromStr for Accumulate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse()) {
            ("auto", _) => Ok(Accumulate::Auto),
            (_, Ok(count)) => Ok(Accumulate::Count(count)),
            _ => Err("expected a number, or auto".to_owned()),
        }
    }
}

#[derive(Args, Clone)]
pub(super) struct OptimArgs {
    /// Clips of a micro-batch [default: 8 for the published models]; with --accumulate auto, of a step.
    #[arg(long)]
    batch: Option<usize>,
    /// Micro-batches of a step; auto: the recipe's whole batch, in the largest micro-batches that fit in --memory.
    #[arg(long, value_name = "COUNT|auto")]
    accumulate: Option<Accumulate>,
    /// GiB that a step may be planned to take, for --accumulate auto.
    #[arg(long, default_value_t = 4.0)]
    memory: f64,
    /// Keep no activations of blocks for the backward pass, but compute them again: less memory, more time; --dry-run shows both.
    #[arg(long)]
    recompute: bool,
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
        if let Some(Accumulate::Count(count)) = self.accumulate {
            c.accumulate = count;
        }
        c.recompute |= self.recompute;
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

impl OptimArgs {
    /// Whether the micro-batch is to be found: the preset then keeps the published batch.
    pub fn is_auto(&self) -> bool {
        self.accumulate == Some(Accumulate::Auto)
    }

    /// With --accumulate auto, the largest micro-batch that fits; a multiple of `unit`. `record` records a step.
    pub fn fit(
        &self,
        optim: &mut OptimConfig,
        unit: usize,
        gpu: &AdapterArgs,
        record: impl Fn(&OptimConfig, &mut Recorder) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        if !self.is_auto() {
            return Ok(());
        }
        let (caps, _) = gpu.caps()?;
        let memory = (self.memory * f64::from(1 << 30)) as usize;
        *optim = fit::fit(optim, unit, memory, |optim| {
            Ok::<_, Failure>(train::planned(&caps, optim, &record)?.total_bytes())
        })?;
        println!("micro-batches of {}, {} a step", optim.batch, optim.accumulate);
        Ok(())
    }
}

#[derive(Args, Clone)]
pub(super) struct RunArgs {
    /// Print parameters, memory, dispatches and FLOPs of a step, and run nothing.
    #[arg(long)]
    pub dry_run: bool,
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
