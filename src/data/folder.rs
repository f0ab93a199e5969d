//! A folder as a set: which of the files below it are videos, and which folders are classes.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::error::{Error, Result};
use super::items::{Items, Part};
use super::list::Classes;
use super::video::{ending, is_image, is_video};

/// Endings of files whose content may look like a video's: sound, pictures, downloads that are not done.
const OTHERS: [&str; 18] = [
    "m4a",
    "m4b",
    "aac",
    "mp3",
    "wav",
    "oga",
    "opus",
    "flac",
    "wma",
    "mka",
    "heic",
    "heif",
    "avif",
    "part",
    "crdownload",
    "tmp",
    "ytdl",
    "download",
];
/// What systems and programs put beside a user's files.
const SYSTEM: [&str; 11] = [
    "__MACOSX",
    "@eaDir",
    "#recycle",
    "$RECYCLE.BIN",
    "System Volume Information",
    "lost+found",
    "Thumbs.db",
    "desktop.ini",
    "__pycache__",
    "thumbs",
    "thumbnails",
];

/// What a folder holds that is not part of the set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Passed {
    /// Hidden files and folders, and those of systems.
    pub hidden: usize,
    /// Images beside videos.
    pub images: usize,
    /// Files of other kinds, by ending.
    pub others: BTreeMap<String, usize>,
    /// Links to folders that are there already.
    pub links: usize,
    /// Videos at another depth than the classes': they have no label.
    pub unlabelled: usize,
}

impl fmt::Display for Passed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        let mut part = |count: usize, what: &str| {
            if count > 0 {
                parts.push(format!("{count} {what}"));
            }
        };
        part(self.hidden, "hidden or system files and folders");
        part(self.images, "images beside videos");
        let endings: Vec<String> =
            self.others.keys().map(|e| if e.is_empty() { "no ending".into() } else { format!(".{e}") }).collect();
        part(self.others.values().sum(), &format!("other files ({})", endings.join(", ")));
        part(self.links, "links to folders that are in the set already");
        if !parts.is_empty() {
            write!(f, "passed over: {}", parts.join(", "))?;
        }
        if self.unlabelled > 0 {
            let mark = if parts.is_empty() { "" } else { "; " };
            write!(f, "{mark}{} videos lie at another depth than the classes and have no label", self.unlabelled)?;
        }
        Ok(())
    }
}

/// A walk through folders.
struct Walk {
    found: Vec<PathBuf>,
    passed: Passed,
    /// Images are items of their own.
    images: bool,
    root: PathBuf,
    /// Real paths of the folders that were walked through.
    seen: HashSet<PathBuf>,
    /// Links to folders, not yet followed.
    links: BTreeSet<PathBuf>,
}

/// The first bytes of a file.
fn start(path: &Path) -> Result<Vec<u8>> {
    let mut start = Vec::new();
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    file.take(4096).read_to_end(&mut start).map_err(|e| Error::io(path, e))?;
    Ok(start)
}

/// Whether a file begins as containers of videos do.
fn begins_as_video(start: &[u8]) -> bool {
    const ASF: [u8; 8] = [0x30, 0x26, 0xb2, 0x75, 0x8e, 0x66, 0xcf, 0x11];
    let has = |at: usize, bytes: &[u8]| start.get(at..).is_some_and(|rest| rest.starts_with(bytes));
    let holds = |bytes: &[u8]| start.windows(bytes.len()).any(|window| window == bytes);
    let sound = ["M4A ", "M4B ", "heic", "heix", "mif1", "avif"].iter().any(|brand| has(8, brand.as_bytes()));
    let stream = |first: usize, packet: usize| (0..3).all(|i| has(first + i * packet, &[0x47]));
    (has(4, b"ftyp") && !sound)
        || [&b"moov"[..], b"mdat", b"wide"].iter().any(|kind| has(4, kind))
        || [&[0x1a, 0x45, 0xdf, 0xa3][..], &ASF, &[0, 0, 1, 0xba], &[0, 0, 1, 0xb3], &[6, 0x0e, 0x2b, 0x34]]
            .iter()
            .any(|magic| has(0, magic))
        || [&b"FLV\x01"[..], b"DKIF", b"YUV4MPEG2 ", b".RMF", b"GIF8"].iter().any(|magic| has(0, magic))
        || (has(0, b"RIFF") && has(8, b"AVI "))
        || (has(0, b"OggS") && (holds(b"theora") || holds(b"OVP80")))
        || stream(0, 188)
        || stream(4, 192)
}

/// Whether a file is a video: by its ending, or where that tells nothing by its content.
fn holds_video(path: &Path) -> Result<bool> {
    let ending = ending(path);
    match ending.as_str() {
        // Streams, and TypeScript.
        "ts" => Ok(start(path)
            .map_or(true, |start| start.is_empty() || std::str::from_utf8(&start).is_err() || start.contains(&0))),
        _ if is_video(path) => Ok(true),
        other if OTHERS.contains(&other) => Ok(false),
        // What cannot be read is no video, and is told as another file.
        _ => Ok(start(path).is_ok_and(|start| begins_as_video(&start))),
    }
}

impl Walk {
    /// Collects what lies below a folder; whether videos do.
    fn folder(&mut self, folder: &Path) -> Result<bool> {
        let real = folder.canonicalize().map_err(|e| Error::io(folder, e))?;
        if !self.seen.insert(real) {
            self.passed.links += 1;
            return Ok(false);
        }
        let (mut folders, mut images, before, mut has_videos) = (Vec::new(), Vec::new(), self.found.len(), false);
        for entry in std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
            let entry = entry.map_err(|e| Error::io(folder, e))?;
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            if name.starts_with('.') || SYSTEM.contains(&&*name) {
                self.passed.hidden += 1;
            } else if path.is_dir() {
                let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
                if is_link {
                    self.links.insert(path);
                } else {
                    folders.push(path);
                }
            } else if is_image(&path) {
                images.push(path);
            } else if holds_video(&path)? {
                has_videos = true;
                self.found.push(path);
            } else {
                *self.passed.others.entry(ending(&path)).or_default() += 1;
            }
        }
        // By name, so that of two ways to one folder the same is taken each time.
        folders.sort();
        for below in folders {
            has_videos |= self.folder(&below)?;
        }
        let is_above = folder == self.root && self.found.len() > before;
        match images.is_empty() {
            true => {}
            false if self.images => self.found.extend(images),
            false if has_videos || is_above => self.passed.images += images.len(),
            false => self.found.push(folder.to_owned()),
        }
        Ok(has_videos)
    }

    /// Follows links to folders, each folder once; those that lead to a folder above the set lead nowhere.
    fn follow(&mut self) -> Result<()> {
        let root = self.root.canonicalize().map_err(|e| Error::io(&self.root, e))?;
        while let Some(link) = self.links.pop_first() {
            let real = link.canonicalize().map_err(|e| Error::io(&link, e))?;
            if root.starts_with(&real) {
                self.passed.links += 1;
            } else {
                self.folder(&link)?;
            }
        }
        Ok(())
    }
}

/// Files found below a folder: videos and folders of frames, or with `images` each image by itself; the names of classes if
/// they lie in folders of classes; and what was passed over.
pub(super) fn read(path: &Path, images: bool) -> Result<(Items, Vec<String>, Passed)> {
    let (seen, links) = (HashSet::new(), BTreeSet::new());
    let mut walk = Walk { found: Vec::new(), passed: Passed::default(), images, root: path.to_owned(), seen, links };
    walk.folder(path)?;
    walk.follow()?;
    let Walk { mut found, mut passed, .. } = walk;
    found.sort();
    let (mut items, mut classes) = (Items::new(path.to_owned()), Classes::default());
    let names: Vec<&Path> = found.iter().map(|found| found.strip_prefix(path).unwrap_or(found)).collect();
    // Classes are folders one level down that hold items, where most items lie so. What lies deeper in one belongs to it.
    let is_in_class = |name: &&&Path| name.components().count() == 2;
    let own: BTreeSet<&Path> = names.iter().filter(is_in_class).filter_map(|name| name.parent()).collect();
    let has_classes = 2 * names.iter().filter(is_in_class).count() >= names.len().max(1);
    for name in names {
        let top = name
            .components()
            .next()
            .map(|top| Path::new(top.as_os_str()))
            .filter(|top| has_classes && own.contains(top));
        passed.unlabelled += usize::from(has_classes && top.is_none());
        items.push(name, top.map(|class| classes.id(&class.to_string_lossy())), Part::WHOLE);
    }
    let classes = classes.settle(&mut items);
    Ok((items, classes, passed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(root: &Path, name: &str) {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, b"").unwrap();
    }

    /// Names and labels.
    type Found = Vec<(String, Option<u32>)>;

    fn labels(root: &Path, images: bool) -> (Found, Vec<String>, Passed) {
        let (items, classes, passed) = read(root, images).unwrap();
        let one = |index| (items.name(index).to_string_lossy().into_owned(), items.label(index));
        ((0..items.len()).map(one).collect(), classes, passed)
    }

    fn expected(of: &[(&str, Option<u32>)]) -> Found {
        of.iter().map(|(name, label)| ((*name).to_owned(), *label)).collect()
    }

    #[test]
    fn folders_one_level_down_are_classes() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        ["wave/1.mp4", "clap/1.webm", "clap/2.avi", "wave/frames/1.jpg"].iter().for_each(|name| touch(root, name));
        let (found, classes, passed) = labels(root, false);
        assert_eq!(classes, ["clap", "wave"]);
        let all =
            [("clap/1.webm", Some(0)), ("clap/2.avi", Some(0)), ("wave/1.mp4", Some(1)), ("wave/frames", Some(1))];
        assert_eq!(found, expected(&all));
        assert_eq!(passed.to_string(), "");
        // One beside the folders, one deeper in a class, one deeper elsewhere: the classes stay as they are.
        ["x.mp4", "clap/more/3.mp4", "extra/deep/4.mp4"].iter().for_each(|name| touch(root, name));
        let (found, classes, passed) = labels(root, false);
        assert_eq!(classes, ["clap", "wave"]);
        let more = [("clap/more/3.mp4", Some(0)), ("extra/deep/4.mp4", None)];
        let all = [&all[..2], &more, &all[2..], &[("x.mp4", None)]].concat();
        assert_eq!(found, expected(&all));
        assert_eq!(passed.to_string(), "2 videos lie at another depth than the classes and have no label");
        // Where most lie elsewhere, folders are no classes.
        (0..9).for_each(|i| touch(root, &format!("{i}.mp4")));
        let (found, classes, passed) = labels(root, false);
        assert!(classes.is_empty() && found.iter().all(|(_, label)| label.is_none()) && passed.unlabelled == 0);
    }

    #[test]
    fn what_systems_and_viewers_leave_is_passed_over_and_counted() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for name in ["run/1.mp4", "walk/1.mp4", "walk/frames/1.jpg"] {
            touch(root, name);
        }
        let clean = labels(root, false);
        assert_eq!(clean.1, ["run", "walk"]);
        for name in [
            ".ipynb_checkpoints/1-checkpoint.mp4",
            "__MACOSX/walk/._1.mp4",
            "run/._1.mp4",
            "walk/._1.mp4",
            "walk/.x/2.mp4",
            "walk/@eaDir/1.mp4",
            "walk/thumb.jpg",
            "poster.png",
            "run/notes.txt",
            "run/1.mp4.part",
            "run/code.ts",
        ] {
            touch(root, name);
        }
        std::fs::write(root.join("run/code.ts"), "export const x = 1;\n").unwrap();
        let (found, classes, passed) = labels(root, false);
        assert_eq!((found, classes), (clean.0, clean.1));
        let text = "passed over: 6 hidden or system files and folders, 2 images beside videos, 3 other files (.part, .ts, .txt)";
        assert_eq!(passed.to_string(), text);
    }

    #[test]
    fn endings_of_all_kinds_and_content_tell_videos() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let names = ["a.MTS", "b.m2ts", "c.vob", "d.ogv", "e.asf", "f.mxf", "g.f4v", "h.3g2", "i.ts"];
        names.iter().for_each(|name| touch(root, name));
        std::fs::copy("assets/clips/baseline.mp4", root.join("j")).unwrap();
        std::fs::copy("assets/clips/xvid.avi", root.join("k.bin")).unwrap();
        std::fs::copy("assets/clips/baseline.mp4", root.join("l.mp4.part")).unwrap();
        std::fs::write(root.join("m.json"), "{}").unwrap();
        let (found, _, passed) = labels(root, false);
        let all: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(all, [&names[..], &["j", "k.bin"]].concat());
        assert_eq!(passed.to_string(), "passed over: 2 other files (.json, .part)");
    }

    #[test]
    fn images_are_samples_of_their_own_for_an_image_model() {
        let dir = tempfile::tempdir().unwrap();
        ["n01/1.jpg", "n01/2.jpg", "n02/1.png", "n02/.3.png"].iter().for_each(|name| touch(dir.path(), name));
        let (found, classes, _) = labels(dir.path(), true);
        assert_eq!(found, expected(&[("n01/1.jpg", Some(0)), ("n01/2.jpg", Some(0)), ("n02/1.png", Some(1))]));
        assert_eq!(classes, ["n01", "n02"]);
        assert_eq!(labels(dir.path(), false).0, expected(&[("n01", None), ("n02", None)]));
    }

    #[cfg(unix)]
    #[test]
    fn every_folder_is_walked_once() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().unwrap();
        let (root, other) = (dir.path().join("set"), dir.path().join("other"));
        ["run/1.mp4", "walk/1.mp4"].iter().for_each(|name| touch(&root, name));
        touch(&other, "1.mp4");
        symlink(&root, root.join("run/up")).unwrap();
        symlink(dir.path(), root.join("walk/above")).unwrap();
        symlink(root.join("run"), root.join("again")).unwrap();
        symlink(&other, root.join("jump")).unwrap();
        symlink(&root, other.join("back")).unwrap();
        let (found, classes, passed) = labels(&root, false);
        assert_eq!(found, expected(&[("jump/1.mp4", Some(0)), ("run/1.mp4", Some(1)), ("walk/1.mp4", Some(2))]));
        assert_eq!(classes, ["jump", "run", "walk"]);
        assert_eq!(passed.to_string(), "passed over: 4 links to folders that are in the set already");
    }
}
