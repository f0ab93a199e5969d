//! `mvd bench data`

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::args::threads;
use super::{Failure, report};
use crate::data::bench::{Stages, measure};
use crate::data::{ClipConfig, Dataset, RandAugment, Training, View};

#[derive(Args)]
pub(super) struct BenchDataArgs {
    /// A list, a folder of videos or of image folders, or one video.
    data: PathBuf,
    /// Where a list's relative paths start.
    #[arg(long)]
    root: Option<PathBuf>,
    /// What `mvd check-data --index` wrote of the set.
    #[arg(long, value_name = "FILE")]
    index: Option<PathBuf>,
    /// Clips to draw.
    #[arg(long, default_value_t = 200)]
    clips: usize,
    /// Frames of a clip.
    #[arg(long, default_value_t = 16)]
    frames: usize,
    /// Frames of the video from one of the clip's to the next.
    #[arg(long, default_value_t = 4)]
    stride: usize,
    /// Height and width of the frames.
    #[arg(long, default_value_t = 224)]
    input_size: usize,
    /// RandAugment of the last stage.
    #[arg(long, default_value_t = RandAugment::PUBLISHED)]
    augment: RandAugment,
    /// Decoding threads [default: as many as cores, 8 at most].
    #[arg(long)]
    threads: Option<usize>,
}

pub(super) fn run(args: &BenchDataArgs) -> Result<(), Failure> {
    let set = Dataset::open(&args.data, args.root.as_deref())?.with_index(args.index.as_deref())?;
    for (flag, value) in [("--clips", args.clips), ("--frames", args.frames), ("--stride", args.stride)] {
        if value == 0 {
            return Err(format!("{flag}: expected at least 1, got 0").into());
        }
    }
    let view = View::Training(Training { augment: args.augment, flip: true, ..Training::crops(0.08) });
    let config = ClipConfig::new(args.frames, args.stride, args.input_size, view);
    let threads = args.threads.unwrap_or_else(threads).max(1);
    let bar = report::bar(args.clips, "clips");
    let Stages { decode, crop, augment, elapsed, clips, bad } =
        measure(&set, &config, args.clips, threads, &|| bar.inc(1));
    bar.finish_and_clear();
    if clips == 0 {
        return Err(format!("none of the {bad} videos drawn could be read").into());
    }
    let row = |name: &str, time: Duration| {
        let each = time.as_secs_f64() / clips as f64;
        // A stage that does nothing has no rate.
        let rate = if time.is_zero() { "-".to_owned() } else { format!("{:.1}", 1.0 / each) };
        println!("{name:<16} {rate:>8} clips/s a thread  {:>8.2} ms a clip", 1000.0 * each);
    };
    row("decode", decode);
    row("crop and resize", crop);
    row("augment", if args.augment == RandAugment::NONE { Duration::ZERO } else { augment });
    row("all", decode + crop + augment);
    let rate = clips as f64 / elapsed.as_secs_f64().max(1e-9);
    println!("{rate:.1} clips/s by {threads} threads: {clips} clips of {} videos, {bad} unreadable", set.items.len());
    Ok(())
}
