//! A set of videos: a list file, a folder, or one video.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::error::{Error, Result};
use super::index::Index;
use super::items::{Item, Items, Part};
use super::list::{self, Classes};
use super::video::is_image;

/// What `--data` turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A text file of videos and labels.
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
    pub items: Items,
    /// Names of the classes, where labels are names; by label.
    pub classes: Vec<String>,
    /// What is known of its files beforehand.
    pub index: Index,
}

/// Extensions of videos; all but the first three want the `ffmpeg` program.
const VIDEOS: [&str; 14] =
    ["mp4", "mov", "m4v", "webm", "mkv", "avi", "mpg", "mpeg", "ts", "m2ts", "wmv", "flv", "3gp", "gif"];

pub(super) fn is_video(path: &Path) -> bool {
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
    /// Opens a list (`.txt`, `.csv`, `.list`, or any text; relative paths start at `root`, else at the list's folder), a
    /// folder of videos or of folders of images (searched through), or one video. In a folder whose videos all lie in
    /// folders one level down, those are their classes.
    ///
    /// # Errors
    /// Nothing there, nothing in it, or a line of a list that is of no known form.
    pub fn open(path: &Path, root: Option<&Path>) -> Result<Dataset> {
        if !path.exists() {
            return Err(Error::NotFound { path: path.to_owned() });
        }
        let (source, (items, classes)) = if path.is_dir() {
            (Source::Folder, folder(path)?)
        } else if is_list(path)? {
            (Source::List, list::read(path, root)?)
        } else {
            (Source::Single, ([Item::of(path)].into_iter().collect(), Vec::new()))
        };
        if items.is_empty() {
            let what = match source {
                Source::List => "the list names no video; expected one `path label` a line",
                _ => "no videos (mp4, mov, webm, mkv, avi, ...) and no folders of images (jpg, png, webp, bmp) in here",
            };
            return Err(Error::Empty { path: path.to_owned(), what: what.into() });
        }
        Ok(Dataset { source, items, classes, index: Index::default() })
    }

    /// The same set, with what an index file, if there is one, knows of its files.
    ///
    /// # Errors
    /// The file cannot be read, or is no index.
    pub fn with_index(self, path: Option<&Path>) -> Result<Dataset> {
        Ok(Dataset { index: path.map(Index::read).transpose()?.unwrap_or_default(), ..self })
    }

    /// Checks that every video has a label under `classes`, and that there are as many classes where they have names.
    ///
    /// # Errors
    /// The first video that has none, or too large a one; another number of names.
    pub fn expect_labels(&self, classes: usize) -> Result<()> {
        if !self.classes.is_empty() && self.classes.len() != classes {
            return Err(Error::Classes { names: self.classes.clone(), classes });
        }
        let fits = |index: &usize| self.items.label(*index).is_some_and(|label| (label as usize) < classes);
        match (0..self.items.len()).find(|index| !fits(index)) {
            Some(index) => {
                let Item { path, label, .. } = self.items.at(index);
                Err(Error::Label { path, label, classes })
            }
            None => Ok(()),
        }
    }
}

/// The videos of a folder, and its classes.
fn folder(path: &Path) -> Result<(Items, Vec<String>)> {
    let mut found = Vec::new();
    walk(path, &mut found)?;
    found.sort();
    let (mut items, mut classes) = (Items::new(path.to_owned()), Classes::default());
    let names: Vec<&Path> = found.iter().map(|found| found.strip_prefix(path).unwrap_or(found)).collect();
    let in_classes = names.iter().all(|name| name.components().count() == 2);
    for name in names {
        let class = name.parent().filter(|_| in_classes).map(|class| classes.id(&class.to_string_lossy()));
        items.push(name, class, Part::WHOLE);
    }
    let classes = classes.settle(&mut items);
    Ok((items, classes))
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let mut has_images = false;
    for entry in std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
        let path = entry.map_err(|e| Error::io(folder, e))?.path();
        if path.is_dir() {
            walk(&path, found)?;
        } else if is_video(&path) {
            found.push(path);
        } else {
            has_images |= is_image(&path);
        }
    }
    if has_images {
        found.push(folder.to_owned());
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
    fn lists_come_in_many_forms() {
        let part = |start, frames| Part { start, frames };
        let item = |path: &str, label, part| Item { path: path.into(), label, part };
        let set =
            open("# a set\na b.mp4 3\n\nc.mp4\nd.mp4,7\ne\t12\t4\nf 30 99 5\r\ng.mp4 0 -1 -1\nh 1.mp4  2\n").unwrap();
        let expected = [
            item("/root/a b.mp4", Some(3), Part::WHOLE),
            item("/root/c.mp4", None, Part::WHOLE),
            item("/root/d.mp4", Some(7), Part::WHOLE),
            item("/root/e", Some(4), part(0, 12)),
            item("/root/f", Some(5), part(30, 99)),
            item("/root/g.mp4", None, Part::WHOLE),
            item("/root/h 1.mp4", Some(2), Part::WHOLE),
        ];
        assert_eq!(set.items.iter().collect::<Vec<_>>(), expected);
        assert!(set.classes.is_empty());
    }

    #[test]
    fn tables_are_read_by_their_header() {
        let item = |path: &str, label, part| Item { path: path.into(), label, part };
        let set = open("label,Video_Path,num_frames\nwave,\"a,1.mp4\",\nclap,b.mp4,40\nwave,/c.mp4,\n").unwrap();
        let expected = [
            item("/root/a,1.mp4", Some(1), Part::WHOLE),
            item("/root/b.mp4", Some(0), Part { start: 0, frames: 40 }),
            item("/c.mp4", Some(1), Part::WHOLE),
        ];
        assert_eq!(set.items.iter().collect::<Vec<_>>(), expected);
        assert_eq!(set.classes, ["clap", "wave"]);
        assert!(set.expect_labels(2).is_ok());
        let error = set.expect_labels(3).unwrap_err().to_string();
        assert!(error.contains("clap, wave") && error.contains("expected 3"), "{error}");
        let set = open("path,class,start,frames\na.mp4,10,5,6\nb.mp4,2,,\nc.mp4,-1,,\n").unwrap();
        let expected = [
            item("/root/a.mp4", Some(10), Part { start: 5, frames: 6 }),
            item("/root/b.mp4", Some(2), Part::WHOLE),
            item("/root/c.mp4", None, Part::WHOLE),
        ];
        assert_eq!(set.items.iter().collect::<Vec<_>>(), expected);
        // A byte order mark, a quoted comma, rows that end in a carriage return alone.
        let set = open("\u{feff}\"a, b\",PATH,label\r1,x.mp4,3\r").unwrap();
        assert_eq!(set.items.iter().collect::<Vec<_>>(), [item("/root/x.mp4", Some(3), Part::WHOLE)]);
        let set = open("\u{feff}5\" disk.mp4 3\n").unwrap();
        assert_eq!(set.items.iter().collect::<Vec<_>>(), [item("/root/5\" disk.mp4", Some(3), Part::WHOLE)]);
        for (text, got) in [
            ("path,start\na.mp4,soon\n", "soon"),
            ("path,label\na.mp4\n", "1 fields, the header has 2"),
            ("path,label\n,1\n", "line 2"),
        ] {
            let error = open(text).unwrap_err().to_string();
            assert!(error.contains("list.txt, line") && error.contains(got), "{error}");
        }
    }

    #[test]
    fn folders_one_level_down_are_classes() {
        let dir = tempfile::tempdir().unwrap();
        let touch = |name: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"").unwrap();
        };
        ["wave/1.mp4", "clap/1.webm", "clap/2.avi", "wave/frames/1.jpg"].iter().for_each(|name| touch(name));
        let set = Dataset::open(dir.path(), None).unwrap();
        assert_eq!(set.classes, ["clap", "wave"]);
        let found: Vec<(PathBuf, Option<u32>)> = set.items.iter().map(|i| (i.path, i.label)).collect();
        let expected = [("clap/1.webm", 0), ("clap/2.avi", 0), ("wave/1.mp4", 1), ("wave/frames", 1)];
        assert_eq!(found, expected.map(|(name, label)| (dir.path().join(name), Some(label))));
        // One beside the folders: they are no classes.
        touch("x.mp4");
        let set = Dataset::open(dir.path(), None).unwrap();
        assert!(set.classes.is_empty() && set.items.iter().all(|i| i.label.is_none()));
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
