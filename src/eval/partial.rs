//! Results of a test as they come, one line a video, so that a test that was killed goes on where it was.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::score::Outcome;
use crate::digest::Digest;
use crate::lock::Locked;

/// Why results cannot be kept or gone on with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system.
    #[error("{}: cannot keep the results of the test: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it says.
        source: io::Error,
    },
    /// Another process writes there.
    #[error("{}: another `mvd eval` writes there; wait for it, or name another file with --out", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// Results of something else.
    #[error(
        "{}: holds results of another test ({what}); name another file with --out, or begin anew over them with --fresh",
        path.display()
    )]
    Other {
        /// The file.
        path: PathBuf,
        /// What differs.
        what: String,
    },
    /// A file of something else.
    #[error("{}: expected the results of a test that `mvd eval` wrote, got another file; name another with --out", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A line that is none of ours.
    #[error("{}, line {line}: expected the result of a video, got {got}; begin anew with --fresh", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong with it.
        got: String,
    },
}

/// All that a result depends on: by name, what it is. Written as the first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Test(pub BTreeMap<String, String>);

impl Test {
    /// A few digits that tell this test from others.
    pub fn key(&self) -> String {
        let mut hash = Digest::default();
        for (name, value) in &self.0 {
            hash.add(format!("{name}={value}\n").as_bytes());
        }
        hash.text().trim_start_matches("sha256:").chars().take(12).collect()
    }

    /// What is otherwise in another test, for people.
    fn differences(&self, other: &Test) -> String {
        let value = |of: &Test, name: &str| of.0.get(name).map_or_else(|| "nothing".to_owned(), Clone::clone);
        let names = self.0.keys().chain(other.0.keys().filter(|name| !self.0.contains_key(*name)));
        let differs = names.filter(|name| self.0.get(*name) != other.0.get(*name));
        let count = |of: &Test| of.0.get("videos").and_then(|count| count.parse::<usize>().ok());
        let said = differs.filter_map(|name| match (name.as_str(), count(other), count(self)) {
            ("model", ..) => Some("of other weights".to_owned()),
            // Their number says it.
            ("set", Some(there), Some(here)) if there != here => None,
            ("set", ..) => Some("as many videos, with another name, label or part of at least one".to_owned()),
            ("videos", Some(there), Some(here)) => {
                let (by, how) = (there.abs_diff(here), if there > here { "more" } else { "fewer" });
                Some(format!("{by} {} {how} there", if by == 1 { "video" } else { "videos" }))
            }
            _ => Some(format!("{name} {} there, {} here", value(other, name), value(self, name))),
        });
        said.collect::<Vec<_>>().join("; ")
    }

    fn line(&self) -> String {
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }
}

/// The results of a test so far.
pub struct Partial {
    path: PathBuf,
    file: Locked,
    /// What was there when it was opened.
    pub before: Vec<Outcome>,
}

impl Partial {
    /// Opens the results of a test, or begins them; with `fresh` anew in any case. A last line that is not whole is taken away.
    ///
    /// # Errors
    /// The file is another test's or none of results, cannot be written, or another process has it.
    pub fn open(path: &Path, test: &Test, fresh: bool) -> Result<Partial, Error> {
        let failed = |source| Error::Io { path: path.to_owned(), source };
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
        let Some(file) = Locked::new(file, path).map_err(failed)? else {
            return Err(Error::Busy { path: path.to_owned() });
        };
        let mut text = Vec::new();
        (&*file).read_to_end(&mut text).map_err(failed)?;
        if !is_ours(&text) {
            return Err(Error::Foreign { path: path.to_owned() });
        }
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let mut before = Vec::new();
        let mut keep = whole;
        if fresh || whole == 0 {
            keep = 0;
        } else {
            before = read(path, &text[..whole], test)?;
        }
        file.set_len(keep as u64).map_err(failed)?;
        (&*file).seek(SeekFrom::Start(keep as u64)).map_err(failed)?;
        if keep == 0 {
            (&*file).write_all(test.line().as_bytes()).map_err(failed)?;
        }
        Ok(Partial { path: path.to_owned(), file, before })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds results: each line is there as a whole or is taken away when the file is opened again.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn add(&mut self, outcomes: &[Outcome]) -> Result<(), Error> {
        let lines: String = outcomes.iter().map(|o| serde_json::to_string(o).unwrap_or_default() + "\n").collect();
        (&*self.file).write_all(lines.as_bytes()).map_err(|source| Error::Io { path: self.path.clone(), source })
    }
}

/// Whether a file may be written over: it is empty, or begins with the description of a test, which may be cut off.
fn is_ours(text: &[u8]) -> bool {
    let mut lines = text.splitn(2, |byte| *byte == b'\n');
    let header = lines.next().unwrap_or_default();
    let is_whole = lines.next().is_some();
    text.is_empty()
        || serde_json::from_slice::<Test>(header).is_ok()
        || (!is_whole && (header == b"{" || header.starts_with(b"{\"")))
}

/// The results that whole lines hold.
fn read(path: &Path, text: &[u8], test: &Test) -> Result<Vec<Outcome>, Error> {
    let wrong = |line: usize, got: String| Error::Line { path: path.to_owned(), line: line + 1, got };
    let mut lines = text.split(|byte| *byte == b'\n').enumerate();
    let header = lines.next().map_or(&[][..], |(_, line)| line);
    let found: Test = serde_json::from_slice(header).map_err(|e| wrong(0, e.to_string()))?;
    if found != *test {
        return Err(Error::Other { path: path.to_owned(), what: test.differences(&found) });
    }
    let lines = lines.filter(|(_, line)| !line.is_empty());
    lines.map(|(number, line)| serde_json::from_slice(line).map_err(|e| wrong(number, e.to_string()))).collect()
}

/// Results of other tests beside those of this one: files in its folder with the same name but for the key, and what differs.
pub fn others(path: &Path, test: &Test) -> Vec<String> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Vec::new() };
    let name = name.to_string_lossy();
    let key = test.key();
    let Some((start, end)) = name.split_once(key.as_str()) else { return Vec::new() };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let mut said = Vec::new();
    for other in std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        let own = other.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if own == name || !own.starts_with(start) || !own.ends_with(end) {
            continue;
        }
        let text = std::fs::read_to_string(&other).unwrap_or_default();
        if let Some(found) = text.lines().next().and_then(|line| serde_json::from_str::<Test>(line).ok()) {
            said.push(format!("{}: of another test, not used ({})", other.display(), test.differences(&found)));
        }
    }
    said.sort();
    said
}

#[cfg(test)]
mod tests {
    use super::super::score::Stamp;
    use super::*;

    fn test(clips: &str) -> Test {
        Test([("model", "sha256:1"), ("clips", clips)].map(|(k, v)| (k.to_owned(), v.to_owned())).into_iter().collect())
    }

    fn outcome(video: usize) -> Outcome {
        Outcome {
            video,
            label: 1,
            rank: Some(0),
            top: vec![(1, 0.25 * video as f64)],
            stamp: Stamp { bytes: Some(7), modified: None },
        }
    }

    #[test]
    fn lines_are_whole_or_absent() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results.jsonl");
        let mut partial = Partial::open(&path, &test("5"), false).unwrap();
        assert!(matches!(Partial::open(&path, &test("5"), false), Err(Error::Busy { .. })));
        partial.add(&[outcome(0), outcome(2)]).unwrap();
        drop(partial);
        let whole = std::fs::read(&path).unwrap();
        let lines: Vec<usize> = (0..whole.len()).filter(|i| whole[*i] == b'\n').map(|i| i + 1).collect();
        assert_eq!(lines.len(), 3);
        // Cut at every byte: what is left is a prefix of the results, and the rest is added behind it.
        for cut in 0..=whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let mut partial = Partial::open(&path, &test("5"), false).unwrap();
            let kept = lines[1..].iter().filter(|end| **end <= cut).count();
            assert_eq!(partial.before, [outcome(0), outcome(2)][..kept], "cut at {cut}");
            partial.add(&[outcome(0), outcome(2)][kept..]).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), whole, "cut at {cut}");
        }
    }

    #[test]
    fn another_test_is_told_and_damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results.jsonl");
        Partial::open(&path, &test("5"), false).unwrap().add(&[outcome(0)]).unwrap();
        let text = Partial::open(&path, &test("1"), false).err().unwrap().to_string();
        assert!(text.contains("clips 5 there, 1 here") && text.contains("--fresh"), "{text}");
        assert_eq!(Partial::open(&path, &test("1"), true).unwrap().before, []);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), test("1").line());
        std::fs::write(&path, test("1").line() + "{}\n").unwrap();
        let text = Partial::open(&path, &test("1"), false).err().unwrap().to_string();
        assert!(text.contains("results.jsonl, line 2") && text.contains("--fresh"), "{text}");
        std::fs::write(&path, "my notes\n").unwrap();
        for fresh in [false, true] {
            let text = Partial::open(&path, &test("1"), fresh).err().unwrap().to_string();
            assert!(text.contains("got another file"), "{text}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), "my notes\n", "a file of others is left alone");
        }
        // What digests stand for is said in words.
        let set = |model: &str, set: &str, videos: &str| {
            let facts = [("model", model), ("set", set), ("videos", videos)];
            Test(facts.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect())
        };
        let here = set("sha256:1", "sha256:2", "3");
        for (there, expected) in [
            (set("sha256:1", "sha256:4", "4"), "1 video more there"),
            (set("sha256:1", "sha256:4", "1"), "2 videos fewer there"),
            (set("sha256:1", "sha256:4", "3"), "as many videos, with another name, label or part of at least one"),
            (set("sha256:5", "sha256:2", "3"), "of other weights"),
        ] {
            assert_eq!(here.differences(&there), expected);
        }
        // Beside results named by their key.
        let named = |clips| dir.path().join(format!("eval-{}.jsonl", test(clips).key()));
        drop(Partial::open(&named("5"), &test("5"), false).unwrap());
        let said = others(&named("1"), &test("1"));
        assert!(said.len() == 1 && said[0].contains("clips 5 there, 1 here"), "{said:?}");
        assert!(others(&named("5"), &test("5")).is_empty());
    }
}
