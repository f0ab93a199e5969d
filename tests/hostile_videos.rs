//! Hostile files: the corpus of the fuzz targets, and mutations of real clips. Whatever the bytes, opening one never
//! panics, and nothing takes over 20 seconds, the `ffmpeg` program included. (A decoder's panic is caught and named where clips are drawn.)

use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mvd::data::{Dataset, video};

const LIMIT: Duration = Duration::from_secs(20);
/// Mutations of each real clip.
const MUTATIONS: usize = 120;

/// Opens a file and decodes some of it; what it is matters not.
fn exercise(path: &Path, what: &str) {
    let clock = Instant::now();
    let opened = catch_unwind(|| video::open(path).ok()).unwrap_or_else(|_| panic!("{what}: opening panics"));
    if let Some(mut video) = opened {
        let len = video.len();
        // Decoders are others' work: their panics count as errors.
        let _ = catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _ = video.frames(&[0, len / 2, len.saturating_sub(1)]);
        }));
    }
    assert!(clock.elapsed() < LIMIT, "{what}: takes {:?}", clock.elapsed());
}

fn files(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{folder}: {e}"));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
    files.sort();
    assert!(!files.is_empty(), "{folder} is empty");
    files
}

#[test]
fn the_corpus_of_videos_is_harmless() {
    for kind in ["mp4", "webm"] {
        for file in files(&format!("fuzz/corpus/{kind}")) {
            exercise(&file, &file.display().to_string());
        }
    }
    // Coded frames lie in a sound file, as the target has it.
    let dir = tempfile::tempdir().unwrap();
    let whole = std::fs::read("assets/clips/high_bframes.mp4").unwrap();
    let mdat = whole.windows(4).position(|kind| kind == b"mdat").unwrap() + 4;
    for file in files("fuzz/corpus/h264") {
        let (mut bytes, coded) = (whole.clone(), std::fs::read(&file).unwrap());
        let count = coded.len().min((bytes.len() - mdat) / 2);
        bytes[mdat..mdat + count].copy_from_slice(&coded[..count]);
        let path = dir.path().join("coded.mp4");
        std::fs::write(&path, &bytes).unwrap();
        exercise(&path, &file.display().to_string());
    }
}

#[test]
fn the_corpus_of_lists_is_harmless() {
    let dir = tempfile::tempdir().unwrap();
    for file in files("fuzz/corpus/list") {
        for name in ["list.txt", "list.csv"] {
            let copy = dir.path().join(name);
            std::fs::copy(&file, &copy).unwrap();
            let clock = Instant::now();
            if let Ok(set) = Dataset::open(&copy, None) {
                // Every video can be asked for.
                assert_eq!(set.items.iter().count(), set.items.len());
            }
            assert!(clock.elapsed() < LIMIT, "{}: takes {:?}", file.display(), clock.elapsed());
        }
    }
}

/// Deterministic numbers.
struct Draws(u64);

impl Draws {
    fn next(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n.max(1)
    }
}

/// Changes bytes, cuts, doubles or drops a stretch; often near the start or the end, where indexes are.
fn mutate(bytes: &mut Vec<u8>, draws: &mut Draws) {
    for _ in 0..1 + draws.next(6) {
        let len = bytes.len();
        let near = 1 + draws.next(1200.min(len));
        let at = match draws.next(3) {
            0 => near - 1,
            1 => len - near,
            _ => draws.next(len),
        };
        let stretch = at..(at + 1 + draws.next(64)).min(len);
        match draws.next(8) {
            0..=2 => bytes[at] = draws.next(256) as u8,
            3 => bytes[at] ^= 1 << draws.next(8),
            4 => bytes[stretch].fill([0, 0xff, 0x7f][draws.next(3)]),
            5 => bytes.truncate(at.max(16)),
            6 => drop(bytes.drain(stretch)),
            _ => {
                let copy = bytes[stretch].to_vec();
                let to = draws.next(len);
                bytes.splice(to..to, copy);
            }
        }
    }
}

#[test]
fn mutated_clips_are_harmless() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mutated");
    let mut draws = Draws(2);
    for name in ["high_bframes.mp4", "fragmented.mp4", "open_gop_odd.mp4", "vp9.webm"] {
        let whole = std::fs::read(format!("assets/clips/{name}")).unwrap();
        for round in 0..MUTATIONS {
            let mut bytes = whole.clone();
            mutate(&mut bytes, &mut draws);
            std::fs::write(&path, &bytes).unwrap();
            exercise(&path, &format!("{name}, mutation {round}"));
        }
    }
}
