//! `mvd pretrain`

use std::path::PathBuf;

use clap::Args;

use super::args::{DataArgs, MaskArgs, OptimArgs, RunArgs, set, threads};
use super::{AdapterArgs, Failure, train};
use crate::config::{OptimConfig, PretrainConfig, PretrainKind, size};
use crate::gpu::Recorder;
use crate::model::Vit;
use crate::recipes;
use crate::train::session::Session;
use crate::train::{groups, pretrain};

/// Flags left out take the published recipe's values (MAE base, VideoMAE base).
#[derive(Args)]
#[command(args_override_self = true)]
pub(super) struct PretrainArgs {
    /// Which teacher.
    #[arg(value_enum)]
    kind: PretrainKind,
    /// Run directory to make.
    #[arg(long, default_value = "runs/pretrain")]
    out: PathBuf,
    /// Encoder: tiny, small, base, large, huge, or dim,depth,heads.
    #[arg(long, value_parser = size)]
    size: Option<Vit>,
    /// Decoder, as --size.
    #[arg(long, value_parser = size)]
    decoder: Option<Vit>,
    /// Smallest share of the frame's short side that a crop keeps, of 1, 0.875, 0.75 and 0.66.
    #[arg(long)]
    crop_min: Option<f64>,
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
    fn config(&self) -> Result<PretrainConfig, Failure> {
        let preset = || {
            let name = if self.kind == PretrainKind::Image { "mae-base-in1k" } else { "videomae-base-k400" };
            let published = recipes::pretrain(name)?;
            // A batch that fits one GPU.
            let batch = if self.optim.is_auto() { published.optim.batch } else { 8 };
            Ok(PretrainConfig { optim: OptimConfig { batch, ..published.optim.clone() }, ..published })
        };
        let mut config = train::base(&self.run, recipes::pretrain, preset)?;
        if config.kind != self.kind {
            return Err(format!("--recipe, --config: expected one of {:?}, got {:?}", self.kind, config.kind).into());
        }
        config.data.threads = threads();
        self.data.apply(&mut config.data);
        self.mask.apply(&mut config.mask);
        self.optim.apply(&mut config.optim);
        self.run.apply(&mut config.save);
        set(&mut config.seed, &self.run.seed);
        set(&mut config.crop_min, &self.crop_min);
        set(&mut config.encoder, &self.size);
        set(&mut config.decoder, &self.decoder);
        let base = config.clone();
        self.optim.fit(&mut config.optim, 1, &self.gpu, |optim, rec| record(&base, optim, rec))?;
        Ok(config)
    }
}

/// Records a step of this optimiser.
fn record(config: &PretrainConfig, optim: &OptimConfig, rec: &mut Recorder) -> Result<(), Failure> {
    let arch = pretrain::arch(&PretrainConfig { optim: optim.clone(), ..config.clone() })?;
    arch.record(rec, groups::pixels)?;
    Ok(())
}

pub(super) fn run(args: &PretrainArgs) -> Result<(), Failure> {
    if args.run.dry_run {
        let config = args.config()?;
        return train::dry_run(&args.gpu, &config, &config.optim, |optim, rec| record(&config, optim, rec));
    }
    let Session { dir, config, from } = train::open(&args.run, &args.out, || {
        let config = args.config()?;
        if config.data.path.as_os_str().is_empty() {
            return Err("--data: expected a list, a folder or a video, got none".into());
        }
        config.validate()?;
        Ok(config)
    })?;
    let gpu = args.gpu.open()?;
    let outcome = train::report("pretrain", |bar| pretrain::train(&gpu, &config, &dir, from, bar))?;
    println!("teacher: {}", outcome.checkpoint.join("weights.safetensors").display());
    Ok(())
}
