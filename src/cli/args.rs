//! Flags that every training command has: each overrides one field of a complete config.

use std::path::PathBuf;
use std::str::FromStr;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command};

use super::ranks::RankArgs;
use super::{AdapterArgs, Failure, cost};
use crate::config::{DataConfig, MaskRule, OptimConfig, SaveConfig};
use crate::data::MaskKind;
use crate::gpu::Recorder;
use crate::ranks::Launch;
use crate::train::{fit, share};

/// Sets a field where its flag was given.
pub(super) fn set<T: Clone>(field: &mut T, flag: &Option<T>) {
    if let Some(value) = flag {
        field.clone_from(value);
    }
}

/// Sets a switch where one of its two flags was given.
pub(super) fn switch(field: &mut bool, on: bool, off: bool) {
    *field = on || (*field && !off);
}

/// Decoding threads: as many as cores, 8 at most; processes of one machine that train together share its cores.
pub(super) fn threads() -> usize {
    Launch::of_env().own_cores().min(8)
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
    /// Whether a patch is given.
    pub fn gives_patch(&self) -> bool {
        self.patch.is_some()
    }

    /// Takes frames and size, of a model that knows no others, where no flag gives them.
    pub fn take_grid(&self, c: &mut DataConfig, frames: usize, size: usize) {
        c.frames = self.frames.unwrap_or(frames);
        c.input_size = self.input_size.unwrap_or(size);
    }

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
    /// Videos of a micro-batch, under mpirun of each process [default for the published models: 8; in fine-tuning 4, of 2 clips each]; with --accumulate auto, of a step.
    #[arg(long)]
    batch: Option<usize>,
    /// Micro-batches of a step, under mpirun of each process; auto: the recipe's whole batch, in the largest micro-batches that fit in --memory.
    #[arg(long, value_name = "COUNT|auto")]
    accumulate: Option<Accumulate>,
    /// GiB that a step may be planned to take, for --accumulate auto.
    #[arg(long, default_value_t = 4.0)]
    memory: f64,
    /// Keep no activations of blocks for the backward pass, but compute them again: less memory, more time; --dry-run shows both.
    #[arg(long, overrides_with = "no_recompute")]
    recompute: bool,
    /// Keep them, where the recipe or config recomputes.
    #[arg(long, overrides_with = "recompute")]
    no_recompute: bool,
    /// Passes over the set; fewer than the recipe's shorten its warm-up in proportion.
    #[arg(long, conflicts_with = "steps")]
    epochs: Option<usize>,
    /// Steps, instead of passes.
    #[arg(long)]
    steps: Option<usize>,
    /// Learning rate of 256 videos a step; it is scaled by the videos of a step.
    #[arg(long)]
    lr: Option<f64>,
    /// Where it ends, of 256 videos a step.
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
    /// A run that has begun, `resumed`, keeps its warm-up.
    pub fn apply(&self, c: &mut OptimConfig, resumed: bool) -> Result<(), Failure> {
        self.share(c, resumed)?;
        switch(&mut c.recompute, self.recompute, self.no_recompute);
        if let Some(epochs) = self.epochs {
            if !resumed && epochs < c.epochs && self.warmup_epochs.is_none() && c.warmup_epochs > 0.0 {
                let (before, all) = (c.warmup_epochs, c.epochs);
                c.warmup_epochs *= epochs as f64 / all as f64;
                let after = c.warmup_epochs;
                println!("warm-up: {after:.3} passes, as {before} of {all}; --warmup-epochs sets another");
            }
            (c.epochs, c.steps) = (epochs, 0);
        }
        set(&mut c.steps, &self.steps);
        set(&mut c.lr, &self.lr);
        set(&mut c.min_lr, &self.min_lr);
        set(&mut c.warmup_epochs, &self.warmup_epochs);
        set(&mut c.weight_decay, &self.weight_decay);
        set(&mut c.weight_decay_end, &self.weight_decay_end.or(self.weight_decay));
        set(&mut c.clip_grad, &self.clip_grad);
        Ok(())
    }

    /// Shares a step out among the processes that train together.
    fn share(&self, c: &mut OptimConfig, resumed: bool) -> Result<(), Failure> {
        let count = match self.accumulate {
            Some(Accumulate::Auto) => {
                // The batch given is a step's.
                if let Some(batch) = self.batch {
                    (c.batch, c.accumulate, c.groups) = (batch, 1, 1);
                }
                return Ok(());
            }
            Some(Accumulate::Count(count)) => Some(count),
            None => None,
        };
        let flags = share::Flags { batch: self.batch, accumulate: count };
        Ok(share::fit(c, flags, Launch::of_env().size, resumed)?)
    }
}

impl OptimArgs {
    /// Whether the micro-batch is to be found: the preset then keeps the published batch.
    pub fn is_auto(&self) -> bool {
        self.accumulate == Some(Accumulate::Auto)
    }

    /// With --accumulate auto, the largest micro-batch that fits. `record` records a step.
    pub fn fit(
        &self,
        optim: &mut OptimConfig,
        gpu: &AdapterArgs,
        record: impl Fn(&OptimConfig, &mut Recorder) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        if !self.is_auto() {
            return Ok(());
        }
        let (caps, _) = gpu.caps()?;
        let (memory, ranks) = ((self.memory * f64::from(1 << 30)) as usize, Launch::of_env().size);
        let planned = |optim: &OptimConfig| Ok::<_, Failure>(cost::planned(&caps, optim, &record)?.total_bytes());
        *optim = fit::fit(optim, memory, ranks, planned)?;
        share::regroup(optim, ranks, false)?;
        println!("micro-batches of {}, {} a step", optim.batch, optim.accumulate);
        Ok(())
    }
}

#[derive(Args, Clone)]
pub(super) struct RunArgs {
    /// Print parameters, memory, dispatches and FLOPs of a step, and run nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Go on with this run directory, with its own config. Flags of length, rates, clipping, batch and memory, saving,
    /// threads and places of files change it from here on; others are refused.
    #[arg(long, value_name = "RUN")]
    pub resume: Option<PathBuf>,
    /// Go on although the set is another than the run's.
    #[arg(long, requires = "resume")]
    pub changed_data: bool,
    /// Start from a recipe, see `mvd recipes`; other flags override it.
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    pub recipe: Option<String>,
    /// Start from a complete config, as `mvd recipes NAME` prints it; other flags override it.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Seed of weights, data order, crops, masks and dropout.
    #[arg(long)]
    pub seed: Option<u64>,
    #[command(flatten)]
    pub ranks: RankArgs,
    /// Steps from one checkpoint to the next.
    #[arg(long)]
    save_every: Option<usize>,
    /// Minutes from one checkpoint to the next, whichever comes first; 0: by steps alone [default: 10].
    #[arg(long)]
    save_minutes: Option<f64>,
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
        set(&mut c.minutes, &self.save_minutes);
        set(&mut c.keep_last, &self.keep_last);
        set(&mut c.keep_every, &self.keep_every);
    }
}

/// The flags given on the command line, by their names in clap.
#[derive(Debug, Clone, Default)]
pub(super) struct Given(Vec<String>);

impl Given {
    /// Those of a subcommand.
    pub fn of(command: &Command, matches: &ArgMatches) -> Given {
        let given = |id: &&str| matches.value_source(id) == Some(ValueSource::CommandLine);
        Given(command.get_arguments().map(|arg| arg.get_id().as_str()).filter(given).map(str::to_owned).collect())
    }

    /// Refuses what a run that has begun cannot change; `more` is what this kind of run can change beside the usual.
    pub fn may_change(&self, more: &[&str]) -> Result<(), Failure> {
        const CHANGEABLE: [&str; 33] = [
            "resume",
            "changed_data",
            "dry_run",
            "epochs",
            "steps",
            "lr",
            "min_lr",
            "warmup_epochs",
            "weight_decay",
            "weight_decay_end",
            "clip_grad",
            "batch",
            "accumulate",
            "memory",
            "recompute",
            "no_recompute",
            "save_every",
            "save_minutes",
            "keep_last",
            "keep_every",
            "data",
            "root",
            "index",
            "threads",
            "max_bad",
            "adapter",
            "backend",
            "kernels",
            "precision",
            "no_autotune",
            "cache",
            "wire",
            "rank_timeout",
        ];
        let fixed = |id: &&String| !CHANGEABLE.contains(&id.as_str()) && !more.contains(&id.as_str());
        let fixed: Vec<String> = self.0.iter().filter(fixed).map(|id| format!("--{}", id.replace('_', "-"))).collect();
        if fixed.is_empty() {
            return Ok(());
        }
        let flags = fixed.join(", ");
        Err(format!("{flags}: would make it another run; leave it out with --resume, or begin a new run without")
            .into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_make_another_run_is_refused_by_name() {
        let given = |flags: &[&str]| Given(flags.iter().map(|flag| (*flag).to_owned()).collect());
        assert!(given(&["resume", "lr", "threads", "save_minutes"]).may_change(&[]).is_ok());
        let text = given(&["resume", "mask_ratio", "lr", "seed"]).may_change(&[]).unwrap_err().to_string();
        assert!(text.starts_with("--mask-ratio, --seed: would make it another run"), "{text}");
        assert!(given(&["val"]).may_change(&[]).is_err() && given(&["val"]).may_change(&["val"]).is_ok());
    }
}
