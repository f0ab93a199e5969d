//! A set of videos: a list file, a folder, or one video.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::error::{Error, Result};
use super::folder::{self, Passed};
use super::index::Index;
use super::items::{Item, Items, Part};
use super::list::{self, Names};
use super::video::is_video;

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
    /// Names of the classes by label, where labels have names; an empty one is not known.
    pub classes: Vec<String>,
    /// Whether a list gives the labels as numbers, with names beside them: otherwise they are places of names in their order.
    pub numbered: bool,
    /// What a folder holds beside them.
    pub passed: Passed,
    /// What is known of its files beforehand.
    pub index: Index,
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
    Ok(!is_video(path) && (list::is_wide_text(&start) || (text && !start.contains(&0))))
}

/// What labels of a set are.
#[derive(Debug)]
pub struct Labels {
    /// Names of the classes; see the fields of a set.
    pub names: Vec<String>,
    /// Whether they stand beside numbers.
    pub numbered: bool,
    /// The smallest and the largest label; none where no video has one.
    pub range: Option<(u32, u32)>,
}

/// Why a set has no labels, or one class alone, and what to do.
fn why_unlabelled(path: &Path, source: Source, classes: &[String]) -> Result<String> {
    if source == Source::List {
        return list::why_unlabelled(path);
    }
    let why = match classes {
        [] => "its videos do not lie in folders of classes".to_owned(),
        all => format!("all of its videos lie in one folder, {}", all.join(", ")),
    };
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    // Files that are lists and have labels.
    let labelled = |file: &PathBuf| {
        let is_list = file.is_file() && is_list(file).unwrap_or(false);
        is_list && list::read(file, None).is_ok_and(|(items, _)| items.iter().any(|item| item.label.is_some()))
    };
    let mut lists: Vec<PathBuf> = entries.filter(labelled).collect();
    lists.sort();
    Ok(match lists.first() {
        Some(list) => format!("{why}; name the list that lies there instead: {}", list.display()),
        None => format!("{why}; expected a folder for each class, or a list of `path label` lines"),
    })
}

impl Dataset {
    /// Opens a list (`.txt`, `.csv`, `.list`, or any text; relative paths start at `root`, else at the list's folder), a
    /// folder of videos or of folders of images (searched through), or one video. In a folder most of whose videos lie in
    /// folders one level down, those are their classes. What a folder holds beside is named once, as a warning.
    ///
    /// # Errors
    /// Nothing there, nothing in it, or a line of a list that is of no known form.
    pub fn open(path: &Path, root: Option<&Path>) -> Result<Dataset> {
        Dataset::open_as(path, root, false)
    }

    /// The same for a model of single images: every image of a folder is an item of its own, not a frame of a video.
    ///
    /// # Errors
    /// See `open`.
    pub fn open_images(path: &Path, root: Option<&Path>) -> Result<Dataset> {
        Dataset::open_as(path, root, true)
    }

    /// What a set's labels are. Nothing is said of what else a folder holds.
    ///
    /// # Errors
    /// See `open`; no video has a label, or all are of one folder.
    pub fn labels(path: &Path, root: Option<&Path>) -> Result<Labels> {
        let Dataset { source, items, classes: names, numbered, .. } = Dataset::read(path, root, false)?;
        let labels = || (0..items.len()).filter_map(|index| items.label(index));
        let range = labels().min().zip(labels().max());
        let one = source == Source::Folder && names.len() == 1;
        if !items.is_empty() && (range.is_none() || one) {
            return Err(Error::Unlabelled { path: path.to_owned(), why: why_unlabelled(path, source, &names)? });
        }
        Ok(Labels { names, numbered, range })
    }

    fn open_as(path: &Path, root: Option<&Path>, images: bool) -> Result<Dataset> {
        let set = Dataset::read(path, root, images)?;
        if set.passed != Passed::default() {
            log::warn!("{}: {}", path.display(), set.passed);
        }
        if set.items.is_empty() {
            let what = match set.source {
                Source::List => "the list names no video; expected one `path label` a line",
                _ => "no videos (mp4, mov, webm, mkv, avi, ...) and no folders of images (jpg, png, webp, bmp) in here",
            };
            return Err(Error::Empty { path: path.to_owned(), what: what.into() });
        }
        Ok(set)
    }

    fn read(path: &Path, root: Option<&Path>, images: bool) -> Result<Dataset> {
        if !path.exists() {
            return Err(Error::NotFound { path: path.to_owned() });
        }
        let mut passed = Passed::default();
        let (source, (items, Names { classes, numbered })) = if path.is_dir() {
            let (items, classes, beside) = folder::read(path, images)?;
            passed = beside;
            (Source::Folder, (items, Names { classes, numbered: false }))
        } else if is_list(path)? {
            (Source::List, list::read(path, root)?)
        } else {
            let mut items = Items::new(path.parent().unwrap_or(Path::new("")).to_owned());
            items.push(path.file_name().map_or(path, Path::new), None, Part::WHOLE);
            (Source::Single, (items, Names::default()))
        };
        Ok(Dataset { source, items, classes, numbered, passed, index: Index::default() })
    }

    /// The same set, with what an index file, if there is one, knows of its files.
    ///
    /// # Errors
    /// The file cannot be read, or is no index.
    pub fn with_index(self, path: Option<&Path>) -> Result<Dataset> {
        Ok(Dataset { index: path.map(Index::read).transpose()?.unwrap_or_default(), ..self })
    }

    /// Checks that every video has a label under `classes`. `path` is the set's, for messages.
    ///
    /// # Errors
    /// No video has one; the first video that has none, or too large a one.
    pub fn expect_labels(&self, path: &Path, classes: usize) -> Result<()> {
        if self.source != Source::Single && (0..self.items.len()).all(|index| self.items.label(index).is_none()) {
            return Err(Error::Unlabelled { path: path.to_owned(), why: why_unlabelled(path, self.source, &[])? });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_lie_under_the_number_of_classes() {
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join("list.txt");
        std::fs::write(&list, "a.mp4 0\nb.mp4 2\n").unwrap();
        let set = Dataset::open(&list, None).unwrap();
        set.expect_labels(&list, 3).unwrap();
        let error = set.expect_labels(&list, 2).unwrap_err();
        assert!(matches!(&error, Error::Label { label: Some(2), classes: 2, .. }), "{error}");
    }

    #[test]
    fn sets_without_labels_say_where_there_are_some() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        std::fs::create_dir(root.join("clips")).unwrap();
        std::fs::copy("assets/clips/baseline.mp4", root.join("clips/a.mp4")).unwrap();
        let error = |path: &Path| Dataset::labels(path, None).unwrap_err().to_string();
        assert!(error(root).contains("one folder, clips; expected a folder for each class"), "{}", error(root));
        std::fs::write(root.join("all.txt"), "clips/a.mp4\n").unwrap();
        std::fs::write(root.join("list.txt"), "clips/a.mp4 0\nclips/a.mp4 4\n").unwrap();
        let list = root.join("list.txt");
        let text = error(root);
        assert!(text.contains("one folder, clips") && text.ends_with(&list.display().to_string()), "{text}");
        assert_eq!(Dataset::labels(&list, None).unwrap().range, Some((0, 4)));
        let table = root.join("labels.csv");
        std::fs::write(&table, "path,Shape,speed\nclips/a.mp4,disc,2\n").unwrap();
        let text = error(&table);
        assert!(text.contains("none of its columns (path, Shape, speed) is one of labels"), "{text}");
        assert!(text.contains("label_id") && text.contains("class_name"), "{text}");
        let set = Dataset::open(&table, None).unwrap();
        assert_eq!(set.expect_labels(&table, 2).unwrap_err().to_string(), text);
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
        let error = Dataset::open(Path::new("/no/such"), None).unwrap_err().to_string();
        assert!(error.contains("/no/such") && error.contains("no such file"), "{error}");
    }
}
