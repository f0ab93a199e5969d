//! A folder of images as a video: frames in the order of their names.

use std::path::{Path, PathBuf};

use super::{Frames, Video};
use crate::data::error::{Error, Result};

pub(super) struct Folder {
    path: PathBuf,
    images: Vec<PathBuf>,
}

/// Whether a file's name is that of an image.
pub(crate) fn is_image(path: &Path) -> bool {
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    extension.is_some_and(|e| matches!(e.as_str(), "jpg" | "jpeg" | "png" | "webp" | "bmp"))
}

impl Folder {
    pub fn open(path: &Path) -> Result<Self> {
        let entries = std::fs::read_dir(path).map_err(|e| Error::io(path, e))?;
        let mut images = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|e| Error::io(path, e))?.path();
            if is_image(&entry) {
                images.push(entry);
            }
        }
        if images.is_empty() {
            return Err(Error::video(path, "the folder has no images (jpg, png, webp, bmp)"));
        }
        images.sort();
        Ok(Folder { path: path.to_owned(), images })
    }
}

impl Video for Folder {
    fn len(&self) -> usize {
        self.images.len()
    }

    fn frames(&mut self, ranks: &[usize]) -> Result<Frames> {
        let mut frames = Frames { width: 0, height: 0, rgb: Vec::new() };
        for &rank in ranks {
            let count = self.images.len();
            let missing = || Error::video(&self.path, format!("frame {rank} of {count} was asked for"));
            let file = self.images.get(rank).ok_or_else(missing)?;
            let image = image::open(file).map_err(|e| Error::video(file, e.to_string()))?.to_rgb8();
            let size = (image.width() as usize, image.height() as usize);
            if !frames.rgb.is_empty() && (frames.width, frames.height) != size {
                let first = (frames.width, frames.height);
                return Err(Error::video(file, format!("is {size:?} pixels, the frames before it are {first:?}")));
            }
            (frames.width, frames.height) = size;
            frames.rgb.push(image.into_raw());
        }
        Ok(frames)
    }
}
