//! Looks at every video of a set before a run does: what it is, and whether it can be read.

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use rayon::prelude::*;

use super::error::{Error, Result};
use super::items::{Item, Items, Part};
use super::video::{self, Facts, Known};

/// How much of each video is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Depth {
    /// Nothing: containers alone are read.
    Nothing,
    /// The first frame, the middle one and the last.
    Some,
    /// Every frame.
    All,
}

/// What a video turned out to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Container, codec, length.
    pub facts: Facts,
    /// Frames.
    pub frames: usize,
    /// Width and height in pixels; of a video of which nothing was decoded unknown.
    pub size: Option<(usize, usize)>,
    /// What took another program to find out, if anything did.
    pub known: Option<Known>,
}

/// Frames decoded at once, which bounds memory.
const AT_ONCE: usize = 64;

fn look(item: &Item, depth: Depth) -> Result<Found> {
    let mut source = video::open(&item.path)?;
    let (len, facts) = (source.len(), source.facts());
    let Part { start, .. } = item.part;
    let frames = item.part.len_of(len);
    if frames == 0 {
        let reason = format!("has {len} frames, the list takes them from frame {start}");
        return Err(Error::video(&item.path, reason));
    }
    let first = start as usize;
    let ranks: Vec<usize> = match depth {
        Depth::Nothing => Vec::new(),
        Depth::Some => vec![first, first + frames / 2, first + frames - 1],
        Depth::All => (first..first + frames).collect(),
    };
    let mut size = None;
    for some in ranks.chunks(AT_ONCE) {
        let decoded = source.frames(some)?;
        size = Some((decoded.width, decoded.height));
    }
    Ok(Found { facts, frames, size, known: source.known() })
}

/// Looks at all videos with as many threads as there are cores; `progress` is called after each. The reasons why some
/// cannot be read name them.
pub fn check(items: &Items, depth: Depth, progress: impl Fn() + Sync) -> Vec<std::result::Result<Found, String>> {
    let one = |index| {
        let item = items.at(index);
        let found = catch_unwind(AssertUnwindSafe(|| look(&item, depth)));
        progress();
        let found = found.unwrap_or_else(|_| Err(Error::video(&item.path, "the decoder panicked")));
        found.map_err(|error| error.to_string())
    };
    (0..items.len()).into_par_iter().map(one).collect()
}

/// Writes a list of the videos that can be read, with absolute paths, their labels and parts; gives how many those are.
///
/// # Errors
/// The list cannot be written.
pub fn write_clean(
    path: &Path,
    items: &Items,
    classes: &[String],
    found: &[std::result::Result<Found, String>],
) -> Result<usize> {
    let mut text = String::new();
    for (label, class) in classes.iter().enumerate() {
        let _ = writeln!(text, "# label {label}: {class}");
    }
    let mut count = 0;
    for (item, _) in items.iter().zip(found).filter(|(_, found)| found.is_ok()) {
        let place = std::path::absolute(&item.path).map_err(|e| Error::io(&item.path, e))?;
        let label = item.label.map_or(-1, i64::from);
        let _ = match item.part {
            Part::WHOLE => writeln!(text, "{} {label}", place.display()),
            Part { start, frames: u32::MAX } => writeln!(text, "{} {start} -1 {label}", place.display()),
            Part { start, frames } => writeln!(text, "{} {start} {frames} {label}", place.display()),
        };
        count += 1;
    }
    std::fs::write(path, text).map_err(|e| Error::io(path, e))?;
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Dataset;

    #[test]
    fn a_set_is_told_apart_and_the_clean_list_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let clips = std::path::absolute("assets/clips").unwrap();
        std::fs::write(dir.path().join("broken.mp4"), b"nothing").unwrap();
        let list = dir.path().join("list.txt");
        let text = format!(
            "{0}/baseline.mp4 3\nbroken.mp4 1\n{0}/vp9.webm 2 9 5\n{0}/high_bframes.mp4 99 9 5\n{0}/audio_only.mp4 0\n",
            clips.display()
        );
        std::fs::write(&list, text).unwrap();
        let set = Dataset::open(&list, None).unwrap();
        for depth in [Depth::Nothing, Depth::Some, Depth::All] {
            let found = check(&set.items, depth, || {});
            let ok: Vec<bool> = found.iter().map(|f| f.is_ok()).collect();
            assert_eq!(ok, [true, false, true, false, false], "{found:?}");
            let vp9 = found[2].as_ref().unwrap();
            assert_eq!((vp9.facts.container.as_str(), vp9.facts.codec.as_str(), vp9.frames), ("webm", "vp9", 9));
            assert_eq!(vp9.size, (depth != Depth::Nothing).then_some((96, 72)));
            assert!((vp9.facts.seconds - 2.0).abs() < 0.05, "{vp9:?}");
            for (index, reason) in [(1, "not an mp4"), (3, "from frame 99"), (4, "no video track")] {
                let text = found[index].as_ref().unwrap_err();
                assert!(text.contains(reason) && text.contains(".mp4"), "{text}");
            }
        }
        let found = check(&set.items, Depth::Some, || {});
        let clean = dir.path().join("clean.txt");
        assert_eq!(write_clean(&clean, &set.items, &[], &found).unwrap(), 2);
        let again: Vec<Item> = Dataset::open(&clean, None).unwrap().items.iter().collect();
        assert_eq!(again, [set.items.at(0), set.items.at(2)]);
    }
}
