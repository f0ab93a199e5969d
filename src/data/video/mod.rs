//! Reading videos: mp4, mov, webm and mkv with H.264 or VP9, images, folders of them, and all else through the `ffmpeg`
//! program where it is installed. What a file is, its content tells and not its name.

mod coded;
mod ffmpeg;
mod folder;
mod h264;
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

/// What is known of a video without decoding it.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// The container: mp4, webm, ...
    pub container: String,
    /// The codec: h264, vp9, ...
    pub codec: String,
    /// Length in seconds; 0 where nothing tells.
    pub seconds: f64,
    /// Read by the program itself, not through `ffmpeg`.
    pub built_in: bool,
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
        Err(Error::Unsupported { reason, .. }) => Ok(Box::new(ffmpeg::External::open(path, &reason)?)),
        Err(error) => Err(error),
    }
}

/// Opens a video of which an index may know something.
pub(super) fn open_known(path: &Path, index: &Index) -> Result<Box<dyn Video>> {
    match index.get(path)? {
        Some(known) => Ok(Box::new(ffmpeg::External::of(path, known))),
        None => open(path),
    }
}

pub use ffmpeg::Known;
pub(super) use ffmpeg::local;
pub(crate) use folder::is_image;
