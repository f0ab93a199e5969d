//! What was found out about the files of a set, so that a run need not find it out again: which ones cannot be read,
//! and what the `ffprobe` program says of those that the `ffmpeg` program reads. One JSON object a line.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::check::Found;
use super::error::{Error, Result};
use super::items::Items;
use super::video::Known;

/// One file. A file of another size or age than here is looked at anew.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    path: PathBuf,
    bytes: u64,
    /// Seconds since 1970.
    modified: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unreadable: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    known: Option<Known>,
}

/// What is known of files; of none by default.
#[derive(Debug, Clone, Default)]
pub struct Index {
    entries: HashMap<PathBuf, Entry>,
}

/// Size and age of a file.
fn stamp(path: &Path) -> Option<(u64, u64)> {
    let about = path.metadata().ok()?;
    let modified = about.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some((about.len(), modified.as_secs()))
}

impl Index {
    /// Makes an index of what a check found. Files that the program itself reads need no entry.
    pub fn of(items: &Items, found: &[std::result::Result<Found, String>]) -> Index {
        let mut entries = HashMap::new();
        for (item, found) in items.iter().zip(found) {
            let (unreadable, known) = match found {
                Err(reason) => (Some(reason.clone()), None),
                Ok(Found { known: Some(known), .. }) => (None, Some(known.clone())),
                Ok(_) => continue,
            };
            // A file that is not there may be there later.
            let (Some((bytes, modified)), Ok(path)) = (stamp(&item.path), std::path::absolute(&item.path)) else {
                continue;
            };
            entries.insert(path.clone(), Entry { path, bytes, modified, unreadable, known });
        }
        Index { entries }
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
        let mut entries: Vec<&Entry> = self.entries.values().collect();
        entries.sort_by(|a, b| a.path.cmp(&b.path));
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
        let mut entries = HashMap::new();
        for (number, line) in BufReader::new(file).lines().enumerate() {
            let line = line.map_err(|e| Error::io(path, e))?;
            let entry: Entry = serde_json::from_str(&line).map_err(|e| Error::Index {
                path: path.to_owned(),
                line: number + 1,
                got: e.to_string(),
            })?;
            entries.insert(entry.path.clone(), entry);
        }
        Ok(Index { entries })
    }

    /// What is known of a file, or the error that it is known to give.
    pub(super) fn get(&self, path: &Path) -> Result<Option<&Known>> {
        if self.entries.is_empty() {
            return Ok(None);
        }
        let entry = std::path::absolute(path).ok().and_then(|path| self.entries.get(&path));
        match entry.filter(|entry| stamp(path) == Some((entry.bytes, entry.modified))) {
            Some(Entry { unreadable: Some(reason), .. }) => Err(Error::Known { reason: reason.clone() }),
            Some(entry) => Ok(entry.known.as_ref()),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Item;
    use crate::data::check::{Depth, check};

    #[test]
    fn what_is_known_counts_until_a_file_changes() {
        let dir = tempfile::tempdir().unwrap();
        let broken = dir.path().join("broken.mp4");
        std::fs::write(&broken, b"\0\0\0\x08ftyp").unwrap();
        let items: Items = [Item::of("assets/clips/baseline.mp4"), Item::of(&broken)].into_iter().collect();
        let index = Index::of(&items, &check(&items, Depth::Some, || {}));
        assert_eq!(index.len(), 1);
        let file = dir.path().join("index.jsonl");
        index.write(&file).unwrap();
        let index = Index::read(&file).unwrap();
        assert!(index.get(Path::new("assets/clips/baseline.mp4")).unwrap().is_none());
        let error = index.get(&broken).unwrap_err().to_string();
        assert!(error.contains("broken.mp4") && error.contains("no moov"), "{error}");
        std::fs::write(&broken, b"something longer now").unwrap();
        assert!(index.get(&broken).unwrap().is_none());
        std::fs::write(&file, "{\"path\": 3}\n").unwrap();
        let error = Index::read(&file).unwrap_err().to_string();
        assert!(error.contains("index.jsonl, line 1"), "{error}");
    }
}
