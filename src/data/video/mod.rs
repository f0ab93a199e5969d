//! Reading videos: mp4 with H.264, folders of images, and all else through the `ffmpeg` program where it is installed.

mod ffmpeg;
mod folder;
mod h264;
mod mp4;
mod rgb;

use std::path::Path;

use super::error::{Error, Result};

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

/// A video that is open: its frames have ranks 0, 1, ... in the order of presentation.
pub trait Video {
    /// How many frames there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
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
    match h264::Mp4Video::open(path) {
        Ok(video) => Ok(Box::new(video)),
        Err(Error::Unsupported { reason, .. }) => Ok(Box::new(ffmpeg::External::open(path, &reason)?)),
        Err(error) => Err(error),
    }
}

pub(crate) use folder::is_image;
