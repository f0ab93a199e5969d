//! Images as videos: a still one is a single frame, a gif as many as it has.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use image::codecs::gif::GifDecoder;
use image::{AnimationDecoder, ImageDecoder, ImageFormat};

use super::{Facts, Frames, Reader, Video, span};
use crate::data::error::{Error, Result};

/// Bytes of the largest image file that is read.
const LARGEST_FILE: u64 = 256 << 20;

pub(super) struct Still {
    path: PathBuf,
    format: ImageFormat,
    /// Frames and length in seconds; one of no length is decoded when it is asked for.
    frames: usize,
    seconds: f64,
}

/// What kind of image a file is by its first bytes, if it is one that is read here.
pub(super) fn format(start: &[u8]) -> Option<ImageFormat> {
    let format = image::guess_format(start).ok()?;
    use ImageFormat::{Bmp, Gif, Jpeg, Png, WebP};
    matches!(format, Bmp | Gif | Jpeg | Png | WebP).then_some(format)
}

/// The bytes of an image file.
fn bytes(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    file.take(LARGEST_FILE).read_to_end(&mut bytes).map_err(|e| Error::io(path, e))?;
    Ok(bytes)
}

/// Reads a still image.
pub(super) fn read(path: &Path) -> Result<image::RgbImage> {
    // From memory, as decoders of files would all be compiled again in this crate.
    let image = image::load_from_memory(&bytes(path)?);
    Ok(image.map_err(|e| Error::video(path, e.to_string()))?.to_rgb8())
}

/// Walks through a gif's frames until `visit` has seen enough.
fn walk(path: &Path, mut visit: impl FnMut(usize, image::Frame) -> bool) -> Result<()> {
    let broken = |e: image::ImageError| Error::video(path, format!("gif: {e}"));
    let mut decoder = GifDecoder::new(Cursor::new(bytes(path)?)).map_err(broken)?;
    // Not over 512 MiB.
    decoder.set_limits(image::Limits::default()).map_err(broken)?;
    for (index, frame) in decoder.into_frames().enumerate() {
        let frame = match frame {
            Ok(frame) => frame,
            // A gif that was cut shows what is there.
            Err(_) if index > 0 => break,
            Err(error) => return Err(broken(error)),
        };
        if !visit(index, frame) {
            break;
        }
    }
    Ok(())
}

impl Still {
    pub fn open(path: &Path, format: ImageFormat) -> Result<Self> {
        let (mut frames, mut seconds) = (1, 0.0);
        if format == ImageFormat::Gif {
            walk(path, |index, frame| {
                let (milliseconds, of) = frame.delay().numer_denom_ms();
                seconds += f64::from(milliseconds) / f64::from(of.max(1)) / 1000.0;
                frames = index + 1;
                true
            })?;
        }
        Ok(Still { path: path.to_owned(), format, frames, seconds })
    }
}

impl Video for Still {
    fn len(&self) -> usize {
        self.frames
    }

    fn facts(&self) -> Facts {
        let name = format!("{:?}", self.format).to_lowercase();
        Facts { container: name.clone(), codec: name, seconds: self.seconds, reader: Reader::Own, missing: 0 }
    }

    fn frames(&mut self, ranks: &[usize]) -> Result<Frames> {
        let span = span(ranks, self.frames, |reason| Error::video(&self.path, reason))?;
        let Some((_, last)) = span else { return Ok(Frames::none()) };
        let mut frames = Frames { width: 0, height: 0, rgb: vec![Vec::new(); ranks.len()] };
        let mut take = |index: usize, rgb: image::RgbImage| {
            (frames.width, frames.height) = (rgb.width() as usize, rgb.height() as usize);
            let wanted = ranks.iter().zip(&mut frames.rgb).filter(|(rank, _)| **rank == index);
            wanted.for_each(|(_, slot)| slot.clone_from(rgb.as_raw()));
        };
        match self.format {
            ImageFormat::Gif => walk(&self.path, |index, frame| {
                if ranks.contains(&index) {
                    take(index, image::DynamicImage::from(frame.into_buffer()).to_rgb8());
                }
                index < last
            })?,
            _ => take(0, read(&self.path)?),
        }
        Ok(frames)
    }
}
