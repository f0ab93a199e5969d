//! A folder of images as a video: frames in the order of their names, numbers in them counted as numbers.

use std::path::{Path, PathBuf};

use super::name::is_image;
use super::{Facts, Frames, Reader, Video, still};
use crate::data::error::{Error, Result};

pub(super) struct Folder {
    path: PathBuf,
    images: Vec<PathBuf>,
}

/// A key that sorts `frame2` before `frame10`: runs of digits count as numbers.
fn in_order(path: &Path) -> Vec<(String, u64)> {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let (mut key, mut rest) = (Vec::new(), name.as_str());
    while !rest.is_empty() {
        let text = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let digits = rest[text..].find(|c: char| !c.is_ascii_digit()).map_or(rest.len(), |n| text + n);
        key.push((rest[..text].to_owned(), rest[text..digits].parse().unwrap_or(0)));
        rest = &rest[digits..];
    }
    key
}

impl Folder {
    pub fn open(path: &Path) -> Result<Self> {
        let entries = std::fs::read_dir(path).map_err(|e| Error::io(path, e))?;
        let mut images = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|e| Error::io(path, e))?.path();
            // What systems keep beside a file has its name behind a point and an underline.
            let is_hidden = entry.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            if is_image(&entry) && !is_hidden {
                images.push(entry);
            }
        }
        if images.is_empty() {
            return Err(Error::video(path, "the folder has no images (jpg, png, webp, bmp)"));
        }
        // Optical flow beside the frames, as mmaction writes it, is no part of them.
        let is_flow = |path: &PathBuf| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("flow_"));
        if !images.iter().all(is_flow) {
            images.retain(|image| !is_flow(image));
        }
        images.sort_by_cached_key(|image| (in_order(image), image.clone()));
        Ok(Folder { path: path.to_owned(), images })
    }
}

impl Video for Folder {
    fn len(&self) -> usize {
        self.images.len()
    }

    fn size(&self) -> Option<(usize, usize)> {
        still::size(self.images.first()?).ok()
    }

    fn facts(&self) -> Facts {
        Facts { container: "folder".into(), codec: "images".into(), seconds: 0.0, reader: Reader::Own, missing: 0 }
    }

    fn frames(&mut self, ranks: &[usize]) -> Result<Frames> {
        let mut frames = Frames { width: 0, height: 0, rgb: Vec::new() };
        for &rank in ranks {
            let count = self.images.len();
            let missing = || Error::video(&self.path, format!("frame {rank} of {count} was asked for"));
            let file = self.images.get(rank).ok_or_else(missing)?;
            let image = still::read(file)?;
            let size = (image.width() as usize, image.height() as usize);
            if !frames.rgb.is_empty() && (frames.width, frames.height) != size {
                let first = (frames.width, frames.height);
                let hint =
                    "images of several sizes are no frames of one video; for a model of single images each is a sample";
                return Err(Error::video(
                    file,
                    format!("is {size:?} pixels, the frames before it are {first:?}: {hint}"),
                ));
            }
            (frames.width, frames.height) = size;
            frames.rgb.push(image.into_raw());
        }
        Ok(frames)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flow_beside_frames_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["img_00001.png", "img_00002.png", "flow_x_00001.png", "flow_y_00001.png"] {
            image::RgbImage::new(2, 1).save(dir.path().join(name)).unwrap();
        }
        assert_eq!(Folder::open(dir.path()).unwrap().len(), 2);
        std::fs::remove_file(dir.path().join("img_00001.png")).unwrap();
        std::fs::remove_file(dir.path().join("img_00002.png")).unwrap();
        assert_eq!(Folder::open(dir.path()).unwrap().len(), 2);
    }

    #[test]
    fn frames_come_in_the_order_of_their_numbers() {
        let dir = tempfile::tempdir().unwrap();
        for i in [10u8, 9, 1, 100] {
            image::RgbImage::from_pixel(2, 1, image::Rgb([i; 3])).save(dir.path().join(format!("f{i}.png"))).unwrap();
        }
        let frames = Folder::open(dir.path()).unwrap().frames(&[0, 1, 2, 3, 3]).unwrap();
        assert_eq!((frames.width, frames.height), (2, 1));
        assert_eq!(frames.rgb.iter().map(|rgb| rgb[0]).collect::<Vec<_>>(), [1, 9, 10, 100, 100]);
    }
}
