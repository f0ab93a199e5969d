//! `mvd show`

use std::path::PathBuf;

use clap::Args;

use super::{AdapterArgs, Failure, train};
use crate::config::PretrainConfig;
use crate::eval::reconstruct::{Sheet, Shown, reconstruct};
use crate::train::pretrain;
use crate::weights;

#[derive(Args)]
pub(super) struct ShowArgs {
    /// Run directory of `mvd pretrain`.
    run: PathBuf,
    /// A video.
    video: PathBuf,
    /// PNG to write.
    #[arg(long, default_value = "reconstruction.png")]
    out: PathBuf,
    /// Frames to show, of a model of images.
    #[arg(long, default_value_t = 8)]
    images: usize,
    /// Frames of the video from one to the next [default: the run's].
    #[arg(long)]
    stride: Option<usize>,
    /// Seed of the mask.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    gpu: AdapterArgs,
}

pub(super) fn run(args: &ShowArgs) -> Result<(), Failure> {
    let (config, checkpoint): (PretrainConfig, _) = train::newest(&args.run)?;
    let stride = args.stride.unwrap_or(config.data.stride);
    if args.images == 0 || stride == 0 {
        return Err(format!("--images, --stride: expected at least 1, got {} and {stride}", args.images).into());
    }
    let (arch, tensors) = (pretrain::arch(&config)?, weights::load(checkpoint)?);
    let mask = config.mask.masks(&arch.grid)?;
    let gpu = args.gpu.open()?;
    let shown = Shown { images: args.images, stride, seed: args.seed };
    let Sheet { width, height, rgb } = reconstruct(&gpu, &arch, &mask, tensors, &args.video, shown)?;
    image::save_buffer(&args.out, &rgb, width as u32, height as u32, image::ColorType::Rgb8)
        .map_err(|e| format!("cannot write {}: {e}", args.out.display()))?;
    println!("frames, what was seen, what was made of it: {}", args.out.display());
    Ok(())
}
