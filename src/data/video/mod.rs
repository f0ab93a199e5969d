//! Reading videos: mp4, mov, webm and mkv with H.264 or VP9, images, folders of them, and all else through FFmpeg: its
//! libraries where they are linked in, else the `ffmpeg` program where it is installed. What a file is, its content tells
//! and not its name.

mod coded;
mod ffmpeg;
mod folder;
mod h264;
#[cfg(feature = "ffmpeg")]
mod linked;
mod mp4;
mod rgb;
mod still;
mod track;
mod vp9;
mod webm;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::error::{Error, Result};
use super::index::Index;

/// Frames of one size, RGB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frames {
    /// Pixels a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// One buffer a frame, (height, width, 3).
    pub rgb: Vec<Vec<u8>>,
}

impl Frames {
    /// No frame.
    fn none() -> Frames {
        Frames { width: 0, height: 0, rgb: Vec::new() }
    }

    /// Holds a frame's size against that of those before.
    fn expect_size(&mut self, path: &Path, (width, height): (usize, usize)) -> Result<()> {
        let Frames { width: w, height: h, .. } = *self;
        if w != 0 && (w, h) != (width, height) {
            return Err(Error::video(path, format!("frame size changes from {w}x{h} to {width}x{height}")));
        }
        (self.width, self.height) = (width, height);
        Ok(())
    }

    /// Puts a frame to all of its places.
    fn put(&mut self, path: &Path, places: &[usize], size: (usize, usize), rgb: Vec<u8>) -> Result<()> {
        let Some((end, others)) = places.split_last() else { return Ok(()) };
        self.expect_size(path, size)?;
        others.iter().for_each(|i| self.rgb[*i].clone_from(&rgb));
        self.rgb[*end] = rgb;
        Ok(())
    }
}

/// First and last of the ranks that are wanted of `len` frames; none where none is.
///
/// # Errors
/// What `broken` makes of it that there is no such frame.
fn span(ranks: &[usize], len: usize, broken: impl FnOnce(String) -> Error) -> Result<Option<(usize, usize)>> {
    match (ranks.iter().min(), ranks.iter().max()) {
        (_, Some(&last)) if last >= len => Err(broken(format!("frame {last} of {len} was asked for"))),
        (Some(&first), Some(&last)) => Ok(Some((first, last))),
        _ => Ok(None),
    }
}

/// Who reads a video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reader {
    /// This program's own decoders.
    Own,
    /// FFmpeg's libraries, linked in.
    Linked,
    /// The `ffmpeg` program.
    Program,
}

/// What is known of a video without decoding it.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// The container: mp4, webm, ...
    pub container: String,
    /// The codec: h264, vp9, ...
    pub codec: String,
    /// Length in seconds; 0 where nothing tells.
    pub seconds: f64,
    /// Who reads it.
    pub reader: Reader,
    /// Frames that a cut file has no more.
    pub missing: usize,
}

/// A video that is open: its frames have ranks 0, 1, ... in the order of presentation.
pub trait Video {
    /// How many frames there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What kind of video it is.
    fn facts(&self) -> Facts;

    /// What took another program to find out, if anything did.
    fn known(&self) -> Option<Known> {
        None
    }

    /// The frames of these ranks, in the order given; a rank may repeat. Only what they need is decoded.
    ///
    /// # Errors
    /// Damaged data, naming the file.
    fn frames(&mut self, ranks: &[usize]) -> Result<Frames>;
}

/// Opens a video file, or a folder whose images are its frames.
///
/// # Errors
/// A file that is not there, is broken, has no video or one that cannot be decoded here.
pub fn open(path: &Path) -> Result<Box<dyn Video>> {
    if path.is_dir() {
        return Ok(Box::new(folder::Folder::open(path)?));
    }
    let mut start = Vec::new();
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    file.take(64).read_to_end(&mut start).map_err(|e| Error::io(path, e))?;
    if start.is_empty() {
        return Err(Error::video(path, "an empty file"));
    }
    if let Some(format) = still::format(&start) {
        return Ok(Box::new(still::Still::open(path, format)?));
    }
    let opened = match start.starts_with(&[0x1a, 0x45, 0xdf, 0xa3]) {
        true => coded::Coded::open(path, webm::parse),
        false => coded::Coded::open(path, mp4::parse),
    };
    match opened {
        Ok(video) => Ok(Box::new(video)),
        Err(Error::Unsupported { reason, .. }) => open_other(path, &reason),
        Err(error) => Err(error),
    }
}

/// Opens what is not decoded here, and `why`.
fn open_other(path: &Path, why: &str) -> Result<Box<dyn Video>> {
    #[cfg(feature = "ffmpeg")]
    match linked::Linked::open(path, why) {
        Err(Error::Unsupported { .. }) => {}
        opened => return Ok(Box::new(opened?)),
    }
    Ok(Box::new(ffmpeg::External::open(path, why)?))
}

/// Opens a video of which an index may know something.
pub(super) fn open_known(path: &Path, index: &Index) -> Result<Box<dyn Video>> {
    match index.get(path)? {
        #[cfg(feature = "ffmpeg")]
        Some(known) => Ok(Box::new(linked::Linked::of(path, known))),
        #[cfg(not(feature = "ffmpeg"))]
        Some(known) => Ok(Box::new(ffmpeg::External::of(path, known))),
        None => open(path),
    }
}

pub use ffmpeg::Known;
pub(super) use ffmpeg::local;
pub(crate) use folder::is_image;
