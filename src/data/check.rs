//! Looks at every video of a set before a run does: what it is, and whether it can be read.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use rayon::prelude::*;

use super::error::{Error, Result};
use super::items::{Item, Items, Part};
use super::list::{self, Entry};
use super::video::{self, Facts, Known, Video};

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

/// What is at fault where a video cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The file: no part of it can be read.
    File,
    /// The part of it that the list takes.
    Part,
    /// Neither: a program that is not installed, the system.
    Other,
}

/// Why a video cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The reason, naming the file.
    pub reason: String,
    /// What is at fault.
    pub fault: Fault,
}

impl Unreadable {
    fn new(error: &Error, content: Fault) -> Unreadable {
        let fault = match error {
            Error::Part { .. } => Fault::Part,
            error if error.is_of_content() => content,
            _ => Fault::Other,
        };
        Unreadable { reason: error.to_string(), fault }
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// What a video turned out to be, or why it cannot be read.
pub type Outcome = std::result::Result<Found, Unreadable>;

/// Frames decoded at once, which bounds memory.
const AT_ONCE: usize = 64;

fn look(item: &Item, depth: Depth) -> Outcome {
    let mut source = video::open(&item.path).map_err(|error| Unreadable::new(&error, Fault::File))?;
    let read = video::reading(&mut *source, |source| decode(source, item, depth));
    let (frames, size) = read.map_err(|error| Unreadable::new(&error, Fault::Part))?;
    Ok(Found { facts: source.facts(), frames, size, known: source.known() })
}

/// Decodes some frames of an item; how many it has, and their size.
fn decode(source: &mut dyn Video, item: &Item, depth: Depth) -> Result<(usize, Option<(usize, usize)>)> {
    let Part { start, .. } = item.part;
    let frames = item.part.len_of(source.len());
    if frames == 0 {
        return Err(Error::Part { path: item.path.clone(), frames: source.len(), start });
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
    Ok((frames, size))
}

/// Looks at all videos with as many threads as there are cores; `progress` is called after each.
pub fn check(items: &Items, depth: Depth, progress: impl Fn() + Sync) -> Vec<Outcome> {
    let one = |index| {
        let item = items.at(index);
        let found = catch_unwind(AssertUnwindSafe(|| look(&item, depth)));
        progress();
        let panicked = || Unreadable::new(&Error::video(&item.path, "the decoder panicked"), Fault::Part);
        found.unwrap_or_else(|_| Err(panicked()))
    };
    (0..items.len()).into_par_iter().map(one).collect()
}

/// Writes a list of the videos that can be read, with absolute paths, their labels and parts; gives how many those are.
///
/// # Errors
/// The list cannot be written.
pub fn write_clean(path: &Path, items: &Items, classes: &[String], found: &[Outcome]) -> Result<usize> {
    let mut entries = Vec::new();
    for (Item { path, label, part }, _) in items.iter().zip(found).filter(|(_, found)| found.is_ok()) {
        entries.push(Entry { name: std::path::absolute(&path).map_err(|e| Error::io(&path, e))?, label, part });
    }
    list::write(path, &entries, classes)?;
    Ok(entries.len())
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
                let text = found[index].as_ref().unwrap_err().to_string();
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
