//! `mvd synth`

use std::path::PathBuf;

use clap::Args;

use super::{Failure, report};
use crate::data::synth::{Background, Level, SynthConfig, write};

#[derive(Args)]
pub(super) struct SynthArgs {
    /// Folder to write: clips/, list.txt and labels.csv.
    out: PathBuf,
    /// Clips.
    #[arg(long, default_value_t = 512)]
    count: usize,
    /// Height and width in pixels, even.
    #[arg(long, default_value_t = 64)]
    size: usize,
    /// Frames of a clip.
    #[arg(long, default_value_t = 16)]
    frames: usize,
    /// What lies behind the glyphs.
    #[arg(long, value_enum, default_value = "black")]
    background: Background,
    /// How much varies: easy is what `mvd demo` learns from.
    #[arg(long, value_enum, default_value = "full")]
    level: Level,
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

pub(super) fn run(args: &SynthArgs) -> Result<(), Failure> {
    let SynthArgs { count, size, frames, background, level, seed, .. } = *args;
    for (flag, value, holds) in [
        ("--count", count, count > 0),
        ("--size", size, size >= 16 && size.is_multiple_of(2) && size <= 4096),
        ("--frames", frames, frames > 0),
    ] {
        if !holds {
            let expected = if flag == "--size" { "an even number from 16 to 4096" } else { "at least 1" };
            return Err(format!("{flag}: expected {expected}, got {value}").into());
        }
    }
    let bar = report::bar(count, "synth");
    write(&args.out, &SynthConfig { count, seed, background, level, size, frames }, |done| {
        bar.set_position(done as u64)
    })?;
    bar.finish();
    println!("wrote {count} clips and list.txt, labels.csv to {}", args.out.display());
    Ok(())
}
