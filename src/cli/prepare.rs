//! `mvd prepare`

use std::path::PathBuf;

use clap::Args;

use super::{Failure, report};
use crate::data::Dataset;
use crate::data::prepare::{PrepareConfig, Prepared, ffmpeg_encodes, prepare};

#[derive(Args)]
pub(super) struct PrepareArgs {
    /// A list, a folder of videos or of image folders, or one video.
    data: PathBuf,
    /// Folder to write, with a list.txt; what was made there from the same file, in the same way, is not made again.
    out: PathBuf,
    /// Where a list's relative paths start.
    #[arg(long)]
    root: Option<PathBuf>,
    /// Length of the short side in pixels.
    #[arg(long, default_value_t = 256)]
    side: usize,
    /// Frames from one key frame to the next.
    #[arg(long, default_value_t = 16)]
    keyint: usize,
    /// x264's constant rate factor: lower is better and larger.
    #[arg(long, default_value_t = 20)]
    crf: u32,
    /// Write frames as JPEG even where the ffmpeg program is installed.
    #[arg(long)]
    jpeg: bool,
}

pub(super) fn run(args: &PrepareArgs) -> Result<(), Failure> {
    let PrepareArgs { side, keyint, crf, .. } = *args;
    for (flag, value, least, most) in
        [("--side", side, 16, 4096), ("--keyint", keyint, 1, 1000), ("--crf", crf as usize, 0, 51)]
    {
        if !(least..=most).contains(&value) {
            return Err(format!("{flag}: expected from {least} to {most}, got {value}").into());
        }
    }
    let set = Dataset::open(&args.data, args.root.as_deref())?;
    let by_ffmpeg = !args.jpeg && ffmpeg_encodes();
    if !by_ffmpeg && !args.jpeg {
        println!("no ffmpeg program that encodes H.264: frames are written as JPEG");
    }
    let bar = report::bar(set.items.len(), "prepare");
    let config = PrepareConfig { side, keyint, crf };
    let prepared = prepare(&set.items, &set.classes, &args.out, &config, by_ffmpeg, || bar.inc(1))?;
    bar.finish_and_clear();
    let count = |what: &Prepared| prepared.iter().filter(|p| *p == what).count();
    let (made, found) = (count(&Prepared::Made), count(&Prepared::Found));
    println!(
        "{made} made, {found} were there, {} failed; the list is {}",
        prepared.len() - made - found,
        args.out.join("list.txt").display()
    );
    for one in &prepared {
        if let Prepared::Failed(why) = one {
            println!("  {why}");
        }
    }
    match prepared.len() - made - found {
        0 => Ok(()),
        failed if failed == prepared.len() => Err("none of the videos could be prepared".into()),
        failed => Err(format!("{failed} of {} videos could not be prepared", prepared.len()).into()),
    }
}
