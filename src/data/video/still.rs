//! Images as videos: a still one is a single frame, an animated gif, png or webp as many as it has.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use image::codecs::gif::GifDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::metadata::Orientation;
use image::{AnimationDecoder, DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, ImageResult, Limits};

use super::{Facts, Frames, Reader, Video, span};
use crate::data::error::{Error, Result};

/// Bytes of the largest image file that is read.
const LARGEST_FILE: u64 = 256 << 20;

pub(super) struct Still {
    path: PathBuf,
    format: ImageFormat,
    size: (usize, usize),
    /// Frames and length in seconds; nothing of a single image.
    animated: Option<(usize, f64)>,
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

/// A decoder of an image, from memory, as decoders of files would all be compiled again in this crate.
fn decoder(bytes: &[u8]) -> ImageResult<impl ImageDecoder + '_> {
    ImageReader::new(Cursor::new(bytes)).with_guessed_format()?.into_decoder()
}

/// Reads a still image, turned upright as its orientation (EXIF) says.
pub(super) fn read(path: &Path) -> Result<image::RgbImage> {
    let bytes = bytes(path)?;
    let image = decoder(&bytes).and_then(|mut decoder| {
        // Damage to what is said of an image is none to the image.
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        let mut image = DynamicImage::from_decoder(decoder)?;
        image.apply_orientation(orientation);
        Ok(image)
    });
    Ok(image.map_err(|e| Error::video(path, e.to_string()))?.to_rgb8())
}

/// Width and height of a still image as `read` gives it.
pub(super) fn size(path: &Path) -> Result<(usize, usize)> {
    let bytes = bytes(path)?;
    let mut decoder = decoder(&bytes).map_err(|e| Error::video(path, e.to_string()))?;
    let (width, height) = decoder.dimensions();
    let size = (width as usize, height as usize);
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let turned = matches!(orientation, Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH);
    Ok(if turned { (size.1, size.0) } else { size })
}

/// The frames of an animation; nothing of a single image.
fn animation(format: ImageFormat, bytes: &[u8]) -> ImageResult<Option<image::Frames<'_>>> {
    let bytes = Cursor::new(bytes);
    match format {
        ImageFormat::Gif => {
            let mut decoder = GifDecoder::new(bytes)?;
            // Not over 512 MiB.
            decoder.set_limits(Limits::default())?;
            Ok(Some(decoder.into_frames()))
        }
        ImageFormat::Png => {
            let decoder = PngDecoder::with_limits(bytes, Limits::default())?;
            if decoder.is_apng()? { Ok(Some(decoder.apng()?.into_frames())) } else { Ok(None) }
        }
        ImageFormat::WebP => {
            let mut decoder = WebPDecoder::new(bytes)?;
            decoder.set_limits(Limits::default())?;
            Ok(decoder.has_animation().then(|| decoder.into_frames()))
        }
        _ => Ok(None),
    }
}

/// Walks through an animation's frames until `visit` has seen enough; whether it is one.
fn walk(path: &Path, format: ImageFormat, mut visit: impl FnMut(usize, image::Frame) -> bool) -> Result<bool> {
    let broken = |e: ImageError| Error::video(path, format!("{}: {e}", name(format)));
    let bytes = bytes(path)?;
    let Some(frames) = animation(format, &bytes).map_err(broken)? else { return Ok(false) };
    for (index, frame) in frames.enumerate() {
        let frame = match frame {
            Ok(frame) => frame,
            // An animation that was cut shows what is there.
            Err(_) if index > 0 => break,
            Err(error) => return Err(broken(error)),
        };
        if !visit(index, frame) {
            break;
        }
    }
    Ok(true)
}

fn name(format: ImageFormat) -> String {
    format!("{format:?}").to_lowercase()
}

impl Still {
    pub fn open(path: &Path, format: ImageFormat) -> Result<Self> {
        let (mut frames, mut seconds, mut size) = (0, 0.0, (0, 0));
        let is_animated = walk(path, format, |index, frame| {
            let (milliseconds, of) = frame.delay().numer_denom_ms();
            seconds += f64::from(milliseconds) / f64::from(of.max(1)) / 1000.0;
            size = (frame.buffer().width() as usize, frame.buffer().height() as usize);
            frames = index + 1;
            true
        })?;
        if is_animated && frames == 0 {
            return Err(Error::video(path, format!("{}: an animation without frames", name(format))));
        }
        let size = if is_animated { size } else { self::size(path)? };
        Ok(Still { path: path.to_owned(), format, size, animated: is_animated.then_some((frames, seconds)) })
    }
}

impl Video for Still {
    fn len(&self) -> usize {
        self.animated.map_or(1, |(frames, _)| frames)
    }

    fn size(&self) -> Option<(usize, usize)> {
        Some(self.size)
    }

    fn facts(&self) -> Facts {
        let (name, seconds) = (name(self.format), self.animated.map_or(0.0, |(_, seconds)| seconds));
        Facts { container: name.clone(), codec: name, seconds, reader: Reader::Own, missing: 0 }
    }

    fn frames(&mut self, ranks: &[usize]) -> Result<Frames> {
        let span = span(ranks, self.len(), |reason| Error::video(&self.path, reason))?;
        let Some((_, last)) = span else { return Ok(Frames::none()) };
        let mut frames = Frames { width: 0, height: 0, rgb: vec![Vec::new(); ranks.len()] };
        let mut take = |index: usize, rgb: image::RgbImage| {
            (frames.width, frames.height) = (rgb.width() as usize, rgb.height() as usize);
            let wanted = ranks.iter().zip(&mut frames.rgb).filter(|(rank, _)| **rank == index);
            wanted.for_each(|(_, slot)| slot.clone_from(rgb.as_raw()));
        };
        if self.animated.is_none() {
            take(0, read(&self.path)?);
            return Ok(frames);
        }
        walk(&self.path, self.format, |index, frame| {
            if ranks.contains(&index) {
                take(index, DynamicImage::from(frame.into_buffer()).to_rgb8());
            }
            index < last
        })?;
        Ok(frames)
    }
}

#[cfg(test)]
mod tests {
    use image::codecs::png::PngEncoder;
    use image::{ExtendedColorType, ImageEncoder};

    use super::*;

    /// A png of two rows of three greys, with this orientation in its EXIF.
    fn turned(path: &Path, orientation: u8) {
        let mut exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
        exif.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
        let mut encoder = PngEncoder::new(File::create(path).unwrap());
        encoder.set_exif_metadata(exif).unwrap();
        encoder.write_image(&[1, 2, 3, 4, 5, 6], 3, 2, ExtendedColorType::L8).unwrap();
    }

    #[test]
    fn all_orientations_are_shown_upright() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("turned.png");
        let expected = [
            ((3, 2), [1, 2, 3, 4, 5, 6]),
            ((3, 2), [3, 2, 1, 6, 5, 4]),
            ((3, 2), [6, 5, 4, 3, 2, 1]),
            ((3, 2), [4, 5, 6, 1, 2, 3]),
            ((2, 3), [1, 4, 2, 5, 3, 6]),
            ((2, 3), [4, 1, 5, 2, 6, 3]),
            ((2, 3), [6, 3, 5, 2, 4, 1]),
            ((2, 3), [3, 6, 2, 5, 1, 4]),
        ];
        for (orientation, (size, greys)) in (1..).zip(expected) {
            turned(&path, orientation);
            let mut still = Still::open(&path, ImageFormat::Png).unwrap();
            assert_eq!(still.size(), Some(size), "orientation {orientation}");
            let frames = still.frames(&[0]).unwrap();
            assert_eq!((frames.width, frames.height), size, "orientation {orientation}");
            let got: Vec<u8> = frames.rgb[0].iter().copied().step_by(3).collect();
            assert_eq!(got, greys, "orientation {orientation}");
        }
    }
}
