//! A labelled set made by code: glyphs that glide, grow and turn, written as real mp4 files.
//!
//! Labels are independent: `shape` (10), `direction` (8), `speed` (3), `order` (grows then turns, or turns then grows).
//! The start is uniform and the plane wraps around, so one frame tells nothing of direction and speed, and the mean over
//! time little of shape.

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
    /// Slow waves of grey.
    Smooth,
    /// Fixed noise, blockwise.
    Texture,
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
    /// Height and width in pixels; even, 16 to 4096.
    pub size: usize,
    /// Frames of a clip.
    pub frames: usize,
}

/// Writes `clips/N.mp4`, `list.txt` (path and shape) and `labels.csv` (all labels) into a folder.
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
        let labels = Labels::draw(&mut rng);
        let seed = rng.random();
        let frames: Vec<Vec<u8>> = render(&labels, config, seed);
        let path = clips.join(format!("{index:06}.mp4"));
        encode::write(&path, &frames, config.size)?;
        progress(done.fetch_add(1, Ordering::Relaxed) + 1);
        Ok(labels)
    });
    let labels = labels.collect::<Result<Vec<_>>>()?;
    let mut list = String::new();
    let mut table = String::from("path,shape,direction,speed,order\n");
    for (index, l) in labels.iter().enumerate() {
        let _ = writeln!(list, "clips/{index:06}.mp4 {}", l.shape);
        let _ = writeln!(table, "clips/{index:06}.mp4,{},{},{},{}", l.shape, l.direction, l.speed, l.order);
    }
    for (name, text) in [("list.txt", list), ("labels.csv", table)] {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(|e| Error::io(&path, e))?;
    }
    Ok(())
}
