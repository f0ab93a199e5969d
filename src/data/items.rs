//! The videos of a set, stored so that tens of millions of them fit in memory.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::digest::Digest;

/// A part of a video: what lies outside is not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// First frame, from 0.
    pub start: u32,
    /// Frames; a video that has fewer ends earlier. `u32::MAX`: to its end.
    pub frames: u32,
}

impl Part {
    /// The whole of a video.
    pub const WHOLE: Part = Part { start: 0, frames: u32::MAX };

    /// Frames of it that a video of `len` frames has.
    pub fn len_of(self, len: usize) -> usize {
        len.saturating_sub(self.start as usize).min(self.frames as usize)
    }
}

/// One video of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The file, or the folder of images.
    pub path: PathBuf,
    /// The label that the list gives it.
    pub label: Option<u32>,
    /// Which frames of it are meant.
    pub part: Part,
}

impl Item {
    /// A whole video without a label.
    pub fn of(path: impl Into<PathBuf>) -> Item {
        Item { path: path.into(), label: None, part: Part::WHOLE }
    }
}

/// What stands for no label.
const NO_LABEL: u32 = u32::MAX;

/// Videos in the order of a list: their names in one buffer, 12 bytes more for each.
#[derive(Debug, Clone, Default)]
pub struct Items {
    base: PathBuf,
    names: Vec<u8>,
    ends: Vec<u64>,
    labels: Vec<u32>,
    /// Of the first videos; whole ones at the end are left out.
    parts: Vec<Part>,
}

impl Items {
    /// None yet; relative names will start at `base`.
    pub fn new(base: PathBuf) -> Items {
        Items { base, ..Items::default() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Adds a video by its name, relative to the base or absolute.
    pub fn push(&mut self, name: &Path, label: Option<u32>, part: Part) {
        if part != Part::WHOLE {
            self.parts.resize(self.len(), Part::WHOLE);
            self.parts.push(part);
        }
        self.names.extend(name.as_os_str().as_encoded_bytes());
        self.ends.push(self.names.len() as u64);
        self.labels.push(label.unwrap_or(NO_LABEL));
    }

    /// The name as it was added.
    ///
    /// # Panics
    /// There is no such video.
    pub fn name(&self, index: usize) -> &Path {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        let bytes = &self.names[start as usize..self.ends[index] as usize];
        // SAFETY: the bytes are those of one whole `OsStr`, as `as_encoded_bytes` of this same program gave them.
        Path::new(unsafe { OsStr::from_encoded_bytes_unchecked(bytes) })
    }

    /// The label, if there is one.
    ///
    /// # Panics
    /// There is no such video.
    pub fn label(&self, index: usize) -> Option<u32> {
        Some(self.labels[index]).filter(|label| *label != NO_LABEL)
    }

    /// One video.
    ///
    /// # Panics
    /// There is no such video.
    pub fn at(&self, index: usize) -> Item {
        let part = self.parts.get(index).copied().unwrap_or(Part::WHOLE);
        Item { path: self.base.join(self.name(index)), label: self.label(index), part }
    }

    /// All videos, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Item> {
        (0..self.len()).map(|index| self.at(index))
    }

    /// What tells this list of videos from others: a digest of names as they were added, labels and parts. The same files
    /// at another base have the same.
    pub fn digest(&self) -> String {
        let mut hash = Digest::default();
        hash.add(&self.names);
        self.ends.iter().for_each(|end| hash.add(&end.to_le_bytes()));
        self.labels.iter().for_each(|label| hash.add(&label.to_le_bytes()));
        for Part { start, frames } in &self.parts {
            hash.add(&start.to_le_bytes());
            hash.add(&frames.to_le_bytes());
        }
        hash.text()
    }

    /// Gives a video a label, or none.
    pub(super) fn set_label(&mut self, index: usize, label: Option<u32>) {
        self.labels[index] = label.unwrap_or(NO_LABEL);
    }

    /// Gives a video a label and a part in place of what it had.
    pub(super) fn set(&mut self, index: usize, label: Option<u32>, part: Part) {
        self.set_label(index, label);
        if part != Part::WHOLE && self.parts.len() <= index {
            self.parts.resize(index + 1, Part::WHOLE);
        }
        if let Some(old) = self.parts.get_mut(index) {
            *old = part;
        }
    }

    /// Replaces every label by what `new` makes of it.
    pub(super) fn relabel(&mut self, new: impl Fn(u32) -> Option<u32>) {
        for label in self.labels.iter_mut().filter(|label| **label != NO_LABEL) {
            *label = new(*label).unwrap_or(NO_LABEL);
        }
    }
}

impl FromIterator<Item> for Items {
    fn from_iter<I: IntoIterator<Item = Item>>(items: I) -> Items {
        let mut all = Items::default();
        items.into_iter().for_each(|item| all.push(&item.path, item.label, item.part));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_comes_back() {
        let item = |path: &str, label, part| Item { path: path.into(), label, part };
        let part = Part { start: 3, frames: 9 };
        let added = [
            item("/a/x.mp4", Some(7), Part::WHOLE),
            item("/a/y y.mp4", None, part),
            item("/b", Some(0), Part::WHOLE),
            item("/c", Some(1), part),
        ];
        let items: Items = added.iter().cloned().collect();
        assert_eq!(items.iter().collect::<Vec<_>>(), added);
        let mut items = Items::new("/base".into());
        items.push(Path::new("z.mp4"), None, Part::WHOLE);
        items.push(Path::new("/abs/z.mp4"), None, Part::WHOLE);
        assert_eq!(
            items.iter().map(|i| i.path).collect::<Vec<_>>(),
            [Path::new("/base/z.mp4"), Path::new("/abs/z.mp4")]
        );
    }

    #[test]
    fn a_digest_tells_lists_apart_wherever_they_lie() {
        let items = |base: &str, videos: &[(&str, u32, Part)]| {
            let mut items = Items::new(base.into());
            videos.iter().for_each(|(name, label, part)| items.push(Path::new(name), Some(*label), *part));
            items.digest()
        };
        let part = Part { start: 3, frames: 9 };
        let one = items("/here", &[("ab", 1, Part::WHOLE), ("c", 2, Part::WHOLE)]);
        assert_eq!(one, items("/there", &[("ab", 1, Part::WHOLE), ("c", 2, Part::WHOLE)]));
        for other in [
            items("/here", &[("a", 1, Part::WHOLE), ("bc", 2, Part::WHOLE)]),
            items("/here", &[("ab", 2, Part::WHOLE), ("c", 1, Part::WHOLE)]),
            items("/here", &[("ab", 1, Part::WHOLE), ("c", 2, part)]),
            items("/here", &[("ab", 1, Part::WHOLE)]),
        ] {
            assert_ne!(one, other);
        }
    }

    #[cfg(unix)]
    #[test]
    fn names_need_not_be_text() {
        use std::os::unix::ffi::OsStrExt;
        let name = Path::new(OsStr::from_bytes(b"v\xff\xfe.mp4"));
        let items: Items = [Item::of(name), Item::of("b")].into_iter().collect();
        assert_eq!((items.name(0), items.name(1)), (name, Path::new("b")));
    }

    #[test]
    fn parts_end_with_the_video() {
        assert_eq!(Part::WHOLE.len_of(20), 20);
        assert_eq!(Part { start: 15, frames: 9 }.len_of(20), 5);
        assert_eq!(Part { start: 25, frames: 9 }.len_of(20), 0);
    }
}
