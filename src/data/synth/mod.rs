//! A labelled set made by code: glyphs that glide, grow and turn, written as real mp4 files.
//!
//! Labels are independent: `shape` (10), `direction` (8), `speed` (3), `order` (grows then turns, or turns then grows).
//! At the easy level there are 5 large shapes that only glide, faster.
//! The start is uniform and the plane wraps around, so one frame tells nothing of direction and speed, and the mean over
//! time little of a small shape.

mod encode;
mod glyph;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::RngExt;
use rayon::prelude::*;

use super::error::{Error, Result};
use super::rng;

pub use glyph::{Labels, SHAPES, render};

/// What lies behind the glyphs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Background {
    /// Black.
    Black,
    /// ImageNet's mean grey: empty patches are 0 to a model, which learns far faster than from black ones.
    Grey,
    /// Slow waves of grey.
    Smooth,
    /// Fixed noise, blockwise.
    Texture,
}

/// How much varies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Five large shapes that glide fast: a small encoder learns them in minutes.
    Easy,
    /// Ten small shapes that glide, grow and turn.
    Full,
}

/// A set to write.
#[derive(Debug, Clone, Copy)]
pub struct SynthConfig {
    /// Clips.
    pub count: usize,
    /// Seed of all draws.
    pub seed: u64,
    /// What lies behind the glyphs.
    pub background: Background,
    /// How much varies.
    pub level: Level,
    /// Height and width in pixels; even, 16 to 4096.
    pub size: usize,
    /// Frames of a clip.
    pub frames: usize,
}

/// Writes `clips/N.mp4`, `list.txt` (path and shape) and `labels.csv` (all labels; `order` at the full level) into a
/// folder.
///
/// # Errors
/// A size that is odd or outside 16 to 4096, no frames, or a folder that cannot be written to.
pub fn write(folder: &Path, config: &SynthConfig, progress: impl Fn(usize) + Sync) -> Result<()> {
    if !config.size.is_multiple_of(2) || !(16..=4096).contains(&config.size) || config.frames == 0 {
        return Err(Error::Synth { size: config.size, frames: config.frames });
    }
    let clips = folder.join("clips");
    std::fs::create_dir_all(&clips).map_err(|e| Error::io(&clips, e))?;
    let done = AtomicUsize::new(0);
    let labels = (0..config.count).into_par_iter().map(|index| {
        let mut rng = rng(config.seed, 0, index, 2);
        let labels = Labels::draw(config.level, &mut rng);
        let seed = rng.random();
        let frames: Vec<Vec<u8>> = render(&labels, config, seed);
        let path = clips.join(format!("{index:06}.mp4"));
        encode::write(&path, &frames, config.size)?;
        progress(done.fetch_add(1, Ordering::Relaxed) + 1);
        Ok(labels)
    });
    let labels = labels.collect::<Result<Vec<_>>>()?;
    let mut list = String::new();
    let ordered = config.level == Level::Full;
    let mut table = format!("path,shape,direction,speed{}\n", if ordered { ",order" } else { "" });
    for (index, l) in labels.iter().enumerate() {
        let _ = writeln!(list, "clips/{index:06}.mp4 {}", l.shape);
        let _ = write!(table, "clips/{index:06}.mp4,{},{},{}", l.shape, l.direction, l.speed);
        let _ = if ordered { writeln!(table, ",{}", l.order) } else { writeln!(table) };
    }
    for (name, text) in [("list.txt", list), ("labels.csv", table)] {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(|e| Error::io(&path, e))?;
    }
    Ok(())
}
