//! `mvd pretrain`

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::args::{DataArgs, Given, MaskArgs, OptimArgs, RunArgs, set, threads};
use super::report::say;
use super::stop::Stop;
use super::train::Flags;
use super::{AdapterArgs, Failure, cost, ranks, train};
use crate::config::{Crop, OptimConfig, PretrainConfig, PretrainKind, VideoModel, size};
use crate::gpu::Recorder;
use crate::model::Vit;
use crate::recipes;
use crate::train::session::Session;
use crate::train::{groups, pretrain};

/// Which teacher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Teacher {
    /// Of images: MAE, on single frames.
    Image,
    /// Of videos: VideoMAE or ST-MAE, on clips.
    Video,
}

/// Flags left out take the published recipe's values (MAE base, VideoMAE base, ST-MAE large).
#[derive(Args)]
#[command(args_override_self = true)]
pub(super) struct PretrainArgs {
    /// Which teacher.
    #[arg(value_enum)]
    teacher: Teacher,
    /// Which video teacher [default: the recipe's, VideoMAE].
    #[arg(long, value_enum)]
    model: Option<VideoModel>,
    /// Run directory to make.
    #[arg(long, default_value = "runs/pretrain")]
    out: PathBuf,
    /// Encoder: tiny, small, base, large, huge, or dim,depth,heads.
    #[arg(long, value_parser = size)]
    size: Option<Vit>,
    /// Decoder, as --size.
    #[arg(long, value_parser = size)]
    decoder: Option<Vit>,
    /// How a region of a frame is drawn.
    #[arg(long, value_enum)]
    crop: Option<Crop>,
    /// Smallest share that it keeps: of the frame's short side if multi-scale, of its area if random resized.
    #[arg(long)]
    crop_min: Option<f64>,
    /// Mirror half of the clips.
    #[arg(long)]
    flip: Option<bool>,
    /// Clips drawn from a video each time it is decoded, each of its own frames; --batch counts videos.
    #[arg(long)]
    repeats: Option<usize>,
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    mask: MaskArgs,
    #[command(flatten)]
    optim: OptimArgs,
    #[command(flatten)]
    gpu: AdapterArgs,
}

impl PretrainArgs {
    fn of_kind(&self, config: &PretrainConfig, place: &str) -> Result<(), Failure> {
        let fits = match (self.teacher, self.model) {
            (Teacher::Image, None) => config.kind == PretrainKind::Image,
            (Teacher::Image, Some(_)) => {
                return Err("--model: expected `mvd pretrain video` beside it, got image".into());
            }
            (Teacher::Video, None) => config.kind != PretrainKind::Image,
            (Teacher::Video, Some(VideoModel::Videomae)) => config.kind == PretrainKind::Video,
            (Teacher::Video, Some(VideoModel::StMae)) => config.kind == PretrainKind::StMae,
        };
        if fits {
            return Ok(());
        }
        let (teacher, got) = (format!("{:?}", self.teacher).to_lowercase(), config.kind.family().name());
        let model = self.model.map_or_else(String::new, |model| format!(" of {}", model.family().name()));
        Err(format!("{place}: expected a config of `mvd pretrain {teacher}`{model}, got one of {got}").into())
    }

    fn fitted(&self, config: &mut PretrainConfig) -> Result<(), Failure> {
        let base = config.clone();
        self.optim.fit(&mut config.optim, &self.gpu, |optim, rec| record(&base, optim, rec))
    }
}

impl Flags<PretrainConfig> for PretrainArgs {
    const CHANGEABLE: &[&str] = &["teacher", "model"];

    fn run(&self) -> &RunArgs {
        &self.run
    }

    fn out(&self) -> &Path {
        &self.out
    }

    fn config(&self) -> Result<PretrainConfig, Failure> {
        let preset = || {
            let name = match (self.teacher, self.model) {
                (Teacher::Image, _) => "mae-base-in1k",
                (Teacher::Video, None | Some(VideoModel::Videomae)) => "videomae-base-k400",
                (Teacher::Video, Some(VideoModel::StMae)) => "st-mae-large-k400",
            };
            let published = recipes::pretrain(name)?;
            // A batch that fits one GPU: eight clips.
            let batch = if self.optim.is_auto() { published.optim.batch } else { 8 / published.repeats };
            Ok(PretrainConfig { optim: OptimConfig { batch, ..published.optim.clone() }, ..published })
        };
        let mut config = train::base(&self.run, recipes::pretrain, preset)?;
        self.of_kind(&config, "--recipe, --config")?;
        config.data.threads = threads();
        self.data.apply(&mut config.data);
        self.mask.apply(&mut config.mask);
        self.optim.apply(&mut config.optim, false)?;
        self.run.apply(&mut config.save);
        set(&mut config.seed, &self.run.seed);
        set(&mut config.crop, &self.crop);
        set(&mut config.crop_min, &self.crop_min);
        set(&mut config.flip, &self.flip);
        set(&mut config.repeats, &self.repeats);
        set(&mut config.encoder, &self.size);
        set(&mut config.decoder, &self.decoder);
        self.fitted(&mut config)?;
        Ok(config)
    }

    fn complete(&self, _stop: &Stop) -> Result<PretrainConfig, Failure> {
        let config = self.config()?;
        if config.data.path.as_os_str().is_empty() {
            return Err("--data: expected a list, a folder or a video, got none".into());
        }
        config.validate()?;
        Ok(config)
    }

    fn change(&self, config: &mut PretrainConfig) -> Result<(), Failure> {
        self.of_kind(config, "--resume")?;
        self.data.apply(&mut config.data);
        self.optim.apply(&mut config.optim, true)?;
        self.run.apply(&mut config.save);
        self.fitted(config)?;
        Ok(config.validate()?)
    }
}

/// Records a step of this optimiser.
fn record(config: &PretrainConfig, optim: &OptimConfig, rec: &mut Recorder) -> Result<(), Failure> {
    let arch = pretrain::arch(&PretrainConfig { optim: optim.clone(), ..config.clone() })?;
    arch.record(rec, groups::pixels(config.kind.family()))?;
    Ok(())
}

pub(super) fn run(args: &PretrainArgs, given: &Given) -> Result<(), Failure> {
    ranks::together(&args.run.ranks, |ranks, stop| {
        if args.run.dry_run {
            let config = train::planned_config(args, given)?;
            return cost::dry_run(&args.gpu, &config, (&config.optim, config.repeats), |optim, rec| {
                record(&config, optim, rec)
            });
        }
        let Session { dir, config, from, .. } = train::open(args, given, ranks, stop)?;
        let gpu = args.gpu.open_as(ranks)?;
        let outcome = train::report("pretrain", stop, |bar| pretrain::train(&gpu, ranks, &config, &dir, from, bar))?;
        say(&format!("teacher: {}", outcome.checkpoint.join("weights.safetensors").display()));
        Ok(())
    })
}
