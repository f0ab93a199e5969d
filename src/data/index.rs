//! What was found out about the files of a set, so that a run need not find it out again: which ones cannot be read,
//! and what the `ffprobe` program says of those that the `ffmpeg` program reads. One JSON object a line.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::check::{Fault, Found, Outcome, Unreadable};
use super::error::{Error, Result};
use super::items::{Item, Items, Part};
use super::video::Known;

/// One file, or one part of one. A file of another size or age than here is looked at anew.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    path: PathBuf,
    bytes: u64,
    /// Seconds since 1970, and nanoseconds more, which earlier versions did not write.
    modified: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nanoseconds: Option<u32>,
    /// First frame and frames of the part of which alone this is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    part: Option<(u32, u32)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unreadable: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    known: Option<Known>,
}

/// What is known of files; of none by default.
#[derive(Debug, Clone, Default)]
pub struct Index {
    entries: HashMap<PathBuf, Vec<Entry>>,
}

/// Size and age of a file. Those of a folder say nothing of the files in it.
pub(crate) fn stamp(path: &Path) -> Option<(u64, u64, u32)> {
    let about = path.metadata().ok().filter(|about| about.is_file())?;
    let modified = about.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some((about.len(), modified.as_secs(), modified.subsec_nanos()))
}

fn as_pair(part: Part) -> (u32, u32) {
    (part.start, part.frames)
}

impl Index {
    /// Makes an index of what a check found. Files that the program itself reads need no entry.
    /// What may be otherwise another time, as what a missing program would say, has none.
    pub fn of(items: &Items, found: &[Outcome]) -> Index {
        let mut index = Index::default();
        for (item, found) in items.iter().zip(found) {
            let (part, unreadable, known) = match found {
                Err(Unreadable { fault: Fault::Other, .. }) => continue,
                Err(Unreadable { reason, fault: Fault::File }) => (None, Some(reason.clone()), None),
                Err(Unreadable { reason, fault: Fault::Part }) => {
                    (Some(as_pair(item.part)), Some(reason.clone()), None)
                }
                Ok(Found { known: Some(known), .. }) => (None, None, Some(known.clone())),
                Ok(_) => continue,
            };
            // A file that is not there may be there later.
            let (Some(stamp), Ok(path)) = (stamp(&item.path), std::path::absolute(&item.path)) else { continue };
            let (bytes, modified, nanoseconds) = (stamp.0, stamp.1, Some(stamp.2));
            index.add(Entry { path, bytes, modified, nanoseconds, part, unreadable, known });
        }
        index
    }

    /// Adds what is known of a file or a part, in place of what was.
    fn add(&mut self, entry: Entry) {
        let of_file = self.entries.entry(entry.path.clone()).or_default();
        of_file.retain(|other| other.part != entry.part);
        of_file.push(entry);
    }

    /// How many files it knows something of.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it knows of none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Writes the index.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let failed = |e| Error::io(path, e);
        let mut file = BufWriter::new(File::create(path).map_err(failed)?);
        let mut entries: Vec<&Entry> = self.entries.values().flatten().collect();
        entries.sort_by(|a, b| (&a.path, a.part).cmp(&(&b.path, b.part)));
        for entry in entries {
            serde_json::to_writer(&mut file, entry).map_err(|e| failed(e.into()))?;
            file.write_all(b"\n").map_err(failed)?;
        }
        file.flush().map_err(failed)
    }

    /// Reads an index.
    ///
    /// # Errors
    /// The file cannot be read, or a line is not as `write` makes them.
    pub fn read(path: &Path) -> Result<Index> {
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        let mut index = Index::default();
        for (number, line) in BufReader::new(file).lines().enumerate() {
            let line = line.map_err(|e| Error::io(path, e))?;
            let entry: Entry = serde_json::from_str(&line).map_err(|e| Error::Index {
                path: path.to_owned(),
                line: number + 1,
                got: e.to_string(),
            })?;
            index.add(entry);
        }
        Ok(index)
    }

    /// What is known of an item's file, or the error that the file or that part of it is known to give.
    pub(super) fn get(&self, item: &Item) -> Result<Option<&Known>> {
        if self.entries.is_empty() {
            return Ok(None);
        }
        let Some(entries) = std::path::absolute(&item.path).ok().and_then(|path| self.entries.get(&path)) else {
            return Ok(None);
        };
        let Some((bytes, modified, nanoseconds)) = stamp(&item.path) else { return Ok(None) };
        let is_same = |entry: &&Entry| {
            (entry.bytes, entry.modified) == (bytes, modified) && entry.nanoseconds.is_none_or(|own| own == nanoseconds)
        };
        let mut known = None;
        for entry in entries.iter().filter(is_same) {
            match (&entry.unreadable, entry.part) {
                (Some(_), Some(part)) if part != as_pair(item.part) => {}
                (Some(reason), _) => return Err(Error::Known { reason: reason.clone() }),
                (None, _) => known = entry.known.as_ref(),
            }
        }
        Ok(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::check::{Depth, check};
    use crate::data::video;

    #[test]
    fn what_is_known_counts_until_a_file_changes() {
        let dir = tempfile::tempdir().unwrap();
        let broken = Item::of(dir.path().join("broken.mp4"));
        std::fs::write(&broken.path, b"\0\0\0\x08ftyp").unwrap();
        let sound = Item::of("assets/clips/baseline.mp4");
        let items: Items = [sound.clone(), broken.clone()].into_iter().collect();
        let mut found = check(&items, Depth::Some, || {});
        // Where no ffmpeg program is there to say so too, it is not the file that is at fault.
        assert_eq!(
            found[1].as_ref().unwrap_err().fault,
            if video::is_installed() { Fault::File } else { Fault::Other }
        );
        found[1] = found[1].clone().map_err(|other| Unreadable { fault: Fault::File, ..other });
        let index = Index::of(&items, &found);
        assert_eq!(index.len(), 1);
        let file = dir.path().join("index.jsonl");
        index.write(&file).unwrap();
        let index = Index::read(&file).unwrap();
        assert!(index.get(&sound).unwrap().is_none());
        let error = index.get(&broken).unwrap_err().to_string();
        assert!(error.contains("broken.mp4") && error.contains("no moov"), "{error}");
        // Of the same size, a moment later.
        std::fs::write(&broken.path, b"\0\0\0\x08ftYp").unwrap();
        assert!(index.get(&broken).unwrap().is_none());
        std::fs::write(&file, "{\"path\": 3}\n").unwrap();
        let error = Index::read(&file).unwrap_err().to_string();
        assert!(error.contains("index.jsonl, line 1"), "{error}");
        // As earlier versions wrote it, in seconds alone.
        let (bytes, modified, _) = stamp(&broken.path).unwrap();
        for (modified, counts) in [(modified, true), (modified - 1, false)] {
            let path = &broken.path;
            let line =
                format!("{{\"path\":{path:?},\"bytes\":{bytes},\"modified\":{modified},\"unreadable\":\"x\"}}\n");
            std::fs::write(&file, line).unwrap();
            assert_eq!(Index::read(&file).unwrap().get(&broken).is_err(), counts);
        }
    }

    #[test]
    fn a_part_condemns_itself_alone_and_what_is_missing_nothing() {
        let part = |start| Item { part: Part { start, frames: 8 }, ..Item::of("assets/clips/baseline.mp4") };
        let items: Items = [part(0), part(8), part(100), Item::of("/no/such.mp4")].into_iter().collect();
        let found = check(&items, Depth::Some, || {});
        let faults: Vec<Option<Fault>> = found.iter().map(|found| found.as_ref().err().map(|e| e.fault)).collect();
        assert_eq!(faults, [None, None, Some(Fault::Part), Some(Fault::Other)]);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("index.jsonl");
        Index::of(&items, &found).write(&file).unwrap();
        let index = Index::read(&file).unwrap();
        assert_eq!(index.len(), 1);
        let error = index.get(&items.at(2)).unwrap_err().to_string();
        assert!(error.contains("baseline.mp4: has 24 frames, the list takes them from frame 100"), "{error}");
        for item in [items.at(0), items.at(1), Item::of("assets/clips/baseline.mp4")] {
            assert!(index.get(&item).unwrap().is_none());
        }
        // What the system or a missing program is to blame for is known of no file.
        let blamed = |fault| vec![Err(Unreadable { reason: "x".into(), fault })];
        let one: Items = [part(0)].into_iter().collect();
        assert!(Index::of(&one, &blamed(Fault::Other)).is_empty());
        let index = Index::of(&one, &blamed(Fault::File));
        assert!(index.get(&part(8)).is_err());
        // A folder of images may be mended without a trace of its own.
        let folder: Items = [Item::of("assets/clips")].into_iter().collect();
        assert!(Index::of(&folder, &blamed(Fault::File)).is_empty());
    }
}
