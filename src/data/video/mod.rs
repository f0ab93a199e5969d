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
mod name;
mod rgb;
mod source;
mod still;
mod track;
mod vp9;
mod webm;

use std::fs::File;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

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

    /// Width and height of its frames, where they are known without decoding one.
    fn size(&self) -> Option<(usize, usize)> {
        None
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
    /// Damaged data, naming the file. Where `len` is another than before, only its frames were counted wrongly: what is asked
    /// of them now can be had.
    fn frames(&mut self, ranks: &[usize]) -> Result<Frames>;
}

/// Reads from a video, again if its frames turn out to be more or fewer.
pub(super) fn reading<T>(video: &mut dyn Video, mut read: impl FnMut(&mut dyn Video) -> Result<T>) -> Result<T> {
    loop {
        let len = video.len();
        match read(video) {
            // Each way to count is tried once.
            Err(_) if video.len() != len => {}
            other => return other,
        }
    }
}

/// A video that is decoded here, and by FFmpeg where that gives up.
struct Tried {
    path: PathBuf,
    video: Box<dyn Video>,
    is_own: bool,
}

impl Video for Tried {
    fn len(&self) -> usize {
        self.video.len()
    }

    fn size(&self) -> Option<(usize, usize)> {
        self.video.size()
    }

    fn facts(&self) -> Facts {
        self.video.facts()
    }

    fn known(&self) -> Option<Known> {
        self.video.known()
    }

    fn frames(&mut self, ranks: &[usize]) -> Result<Frames> {
        if !self.is_own || ranks.iter().any(|rank| *rank >= self.video.len()) {
            return self.video.frames(ranks);
        }
        let decoded = catch_unwind(AssertUnwindSafe(|| self.video.frames(ranks)));
        let error = match decoded.unwrap_or_else(|_| Err(Error::video(&self.path, "the decoder panicked"))) {
            Err(error) if error.is_of_content() => error,
            other => return other,
        };
        let (len, reason) = (self.len(), error.reason());
        self.video = open_other(&self.path, &reason)?;
        self.is_own = false;
        if self.len() == len { self.video.frames(ranks) } else { Err(error) }
    }
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
    if start.starts_with(&[0, 5, 0x16, 7]) {
        return Err(Error::video(
            path,
            "an AppleDouble file, what macOS keeps beside a file of that name, and no video",
        ));
    }
    let opened = match still::format(&start) {
        Some(format) => still::Still::open(path, format).map(boxed),
        None if start.starts_with(&[0x1a, 0x45, 0xdf, 0xa3]) => coded::Coded::open(path, webm::parse).map(boxed),
        None => coded::Coded::open(path, mp4::parse).map(boxed),
    };
    match opened {
        Ok(video) => Ok(Box::new(Tried { path: path.to_owned(), video, is_own: true })),
        // What is damaged for us may be read by FFmpeg, which conceals.
        Err(error) if error.is_of_content() => open_other(path, &error.reason()),
        Err(error) => Err(error),
    }
}

fn boxed(video: impl Video + 'static) -> Box<dyn Video> {
    Box::new(video)
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

/// Opens a video of which something may be known.
pub(super) fn open_known(path: &Path, known: Option<&Known>) -> Result<Box<dyn Video>> {
    match known {
        #[cfg(feature = "ffmpeg")]
        Some(known) => Ok(Box::new(linked::Linked::of(path, known))),
        #[cfg(not(feature = "ffmpeg"))]
        Some(known) => Ok(Box::new(ffmpeg::External::of(path, known))),
        None => open(path),
    }
}

pub use ffmpeg::Known;
pub(super) use ffmpeg::{is_installed, local, mapped, passthrough};
pub(crate) use name::{ending, is_image, is_video};
