//! `mvd demo`

use std::path::PathBuf;

use clap::Args;

use super::args::threads;
use super::report::{StudyBar, say};
use super::{AdapterArgs, Failure};
use crate::config::size;
use crate::demo::{self, Options, Sizes};
use crate::model::Vit;

#[derive(Args)]
pub(super) struct DemoArgs {
    /// Folder of the page and of all that it is made from; what is there of the same demo is gone on with.
    #[arg(long, default_value = "runs/demo")]
    out: PathBuf,
    /// Time that it may take; step counts follow from the adapter's speed.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Seed of clips, weights and order.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Height and width of the clips, a multiple of 8.
    #[arg(long, default_value_t = Sizes::default().size)]
    input_size: usize,
    /// Encoders: tiny, small, base, large, huge, or dim,depth,heads.
    #[arg(long, value_parser = size, default_value = "96,2,3")]
    size: Vit,
    #[command(flatten)]
    gpu: AdapterArgs,
}

pub(super) fn run(args: &DemoArgs) -> Result<(), Failure> {
    let DemoArgs { out, minutes, seed, .. } = args;
    if !(minutes.is_finite() && *minutes > 0.0) {
        return Err(format!("--minutes: expected over 0, got {minutes}").into());
    }
    if args.input_size < 16 || !args.input_size.is_multiple_of(8) {
        return Err(format!("--input-size: expected a multiple of 8, 16 at least, got {}", args.input_size).into());
    }
    let sizes = Sizes { size: args.input_size, encoder: args.size, ..Sizes::default() };
    let gpu = args.gpu.open()?;
    let mut progress = StudyBar::new()?;
    let options = Options { out: out.clone(), minutes: *minutes, seed: *seed, threads: threads(), sizes };
    let page = demo::run(&gpu, &options, &mut progress);
    progress.finish();
    say(&format!("the page: {}", page?.display()));
    Ok(())
}
