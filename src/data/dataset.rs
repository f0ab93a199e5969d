//! A set of videos: a list file, a folder, or one video.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::error::{Error, Result};
use super::video::is_image;

/// One video of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The file, or the folder of images.
    pub path: PathBuf,
    /// The label that the list gives it.
    pub label: Option<u32>,
}

/// What `--data` turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A text file of `path label` lines.
    List,
    /// A folder of videos or of folders of images.
    Folder,
    /// One video.
    Single,
}

/// Videos and labels.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// What was opened.
    pub source: Source,
    /// Every video, in the list's order or sorted by path.
    pub items: Vec<Item>,
}

/// Extensions of videos; all but the first three want the `ffmpeg` program.
const VIDEOS: [&str; 14] =
    ["mp4", "mov", "m4v", "webm", "mkv", "avi", "mpg", "mpeg", "ts", "m2ts", "wmv", "flv", "3gp", "gif"];

fn is_video(path: &Path) -> bool {
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    extension.is_some_and(|e| VIDEOS.contains(&e.as_str()))
}

/// A list is told by its name, or by being text: videos have zeros in their first bytes.
fn is_list(path: &Path) -> Result<bool> {
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    if extension.is_some_and(|e| matches!(e.as_str(), "txt" | "csv" | "list")) {
        return Ok(true);
    }
    let mut start = Vec::new();
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    file.take(4096).read_to_end(&mut start).map_err(|e| Error::io(path, e))?;
    let text = std::str::from_utf8(&start).map_or_else(|e| e.error_len().is_none(), |_| true);
    Ok(!is_video(path) && text && !start.contains(&0))
}

impl Dataset {
    /// Opens a list (`.txt`, `.csv`, `.list`, or any text; relative paths start at `root`, else at the list's folder), a folder of
    /// videos or of folders of images (searched through), or one video.
    ///
    /// # Errors
    /// Nothing there, nothing in it, or a line that is not `path label`.
    pub fn open(path: &Path, root: Option<&Path>) -> Result<Dataset> {
        if !path.exists() {
            return Err(Error::NotFound { path: path.to_owned() });
        }
        let (source, items) = if path.is_dir() {
            let mut items = Vec::new();
            walk(path, &mut items)?;
            items.sort_by(|a, b| a.path.cmp(&b.path));
            (Source::Folder, items)
        } else if is_list(path)? {
            (Source::List, list(path, root)?)
        } else {
            (Source::Single, vec![Item { path: path.to_owned(), label: None }])
        };
        if items.is_empty() {
            let what = match source {
                Source::List => "the list names no video; expected one `path label` a line",
                _ => "no videos (mp4, mov, webm, mkv, avi, ...) and no folders of images (jpg, png, webp, bmp) in here",
            };
            return Err(Error::Empty { path: path.to_owned(), what: what.into() });
        }
        Ok(Dataset { source, items })
    }
}

impl Dataset {
    /// Checks that every video has a label under `classes`.
    ///
    /// # Errors
    /// The first that has none, or too large a one.
    pub fn expect_labels(&self, classes: usize) -> Result<()> {
        let wrong = self.items.iter().find(|item| item.label.is_none_or(|label| label as usize >= classes));
        wrong.map_or(Ok(()), |item| Err(Error::Label { path: item.path.clone(), label: item.label, classes }))
    }
}

fn list(path: &Path, root: Option<&Path>) -> Result<Vec<Item>> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
    let base = root.or(path.parent()).unwrap_or(Path::new("")).to_owned();
    let mut items = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = || Error::List { path: path.to_owned(), line: index + 1, got: line.to_owned() };
        // Paths may hold spaces: the label is the last word, if that is a number.
        let (name, label) = match line.rsplit_once([' ', '\t', ',']) {
            Some((name, label)) => match label.parse() {
                Ok(label) => (name.trim(), Some(label)),
                Err(_) if is_video(Path::new(line)) => (line, None),
                Err(_) => return Err(wrong()),
            },
            None => (line, None),
        };
        items.push(Item { path: base.join(name), label });
    }
    Ok(items)
}

fn walk(folder: &Path, items: &mut Vec<Item>) -> Result<()> {
    let mut has_images = false;
    for entry in std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
        let path = entry.map_err(|e| Error::io(folder, e))?.path();
        if path.is_dir() {
            walk(&path, items)?;
        } else if is_video(&path) {
            items.push(Item { path, label: None });
        } else {
            has_images |= is_image(&path);
        }
    }
    if has_images {
        items.push(Item { path: folder.to_owned(), label: None });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(text: &str) -> Result<Dataset> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("list.txt");
        std::fs::write(&file, text).unwrap();
        Dataset::open(&file, Some(Path::new("/root")))
    }

    #[test]
    fn lists_give_paths_and_labels() {
        let set = open("# a set\na b.mp4 3\n\nc.mp4\nd.mp4,7\n").unwrap();
        let item = |path: &str, label| Item { path: path.into(), label };
        let expected = [item("/root/a b.mp4", Some(3)), item("/root/c.mp4", None), item("/root/d.mp4", Some(7))];
        assert_eq!(set.items, expected);
    }

    #[test]
    fn lists_are_told_by_content_and_what_is_wrong_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("train"), "a.mp4 1\n").unwrap();
        assert_eq!(Dataset::open(&path("train"), None).unwrap().source, Source::List);
        std::fs::write(path("video"), b"\0\0\0\x20ftypisom").unwrap();
        assert_eq!(Dataset::open(&path("video"), None).unwrap().source, Source::Single);
        std::fs::create_dir(path("nothing")).unwrap();
        let error = Dataset::open(&path("nothing"), None).unwrap_err().to_string();
        assert!(error.contains("nothing") && error.contains("no videos"), "{error}");
        let error = open("").unwrap_err().to_string();
        assert!(error.contains("list.txt") && error.contains("names no video"), "{error}");
        let error = open("a.mp4 1\nb.mp4 dog\n").unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("b.mp4 dog"), "{error}");
        let error = Dataset::open(Path::new("/no/such"), None).unwrap_err().to_string();
        assert!(error.contains("/no/such") && error.contains("no such file"), "{error}");
    }
}
