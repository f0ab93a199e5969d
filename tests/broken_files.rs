//! A training run over a folder in which one file in 200 is broken, each in another way: it ends, and says which.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const FILES: usize = 1200;
const BROKEN: [&str; 6] = ["empty", "page", "cut", "sound", "damaged", "lying"];

fn mvd() -> Command {
    Command::new(env!("CARGO_BIN_EXE_mvd"))
}

/// The bytes of a whole clip, broken in one way.
fn broken(kind: &str, whole: &[u8]) -> Vec<u8> {
    let at = |name: &[u8]| whole.windows(4).position(|w| w == name).unwrap();
    let mut bytes = whole.to_vec();
    match kind {
        "empty" => bytes.clear(),
        "page" => bytes = b"<html>403 Forbidden</html>".to_vec(),
        // The index of the frames stands at the end.
        "cut" => bytes.truncate(whole.len() / 3),
        "sound" => bytes = std::fs::read("assets/clips/audio_only.mp4").unwrap(),
        "damaged" => {
            // Behind the longer of the two forms of the box's size.
            let (start, end) = (at(b"mdat") + 12, at(b"moov") - 4);
            bytes[start..end].fill(0xff);
        }
        // Frames that are said to stand behind the file's end.
        "lying" => {
            let entry = at(b"stco") + 12;
            bytes[entry..entry + 4].fill(0xff);
        }
        _ => unreachable!(),
    }
    bytes
}

/// A folder of `FILES` videos, a few of them broken; the paths of those.
fn folder(dir: &Path, broken_each: usize) -> Vec<PathBuf> {
    let synth = mvd().args(["synth", "--count", "12", "--size", "32"]).arg(dir.join("set")).output().unwrap();
    assert!(synth.status.success(), "{}", String::from_utf8_lossy(&synth.stderr));
    let list = std::fs::read_to_string(dir.join("set/list.txt")).unwrap();
    let clips: Vec<PathBuf> = list.lines().map(|l| dir.join("set").join(l.split(' ').next().unwrap())).collect();
    let whole = std::fs::read(&clips[0]).unwrap();
    let videos = dir.join("videos");
    std::fs::create_dir(&videos).unwrap();
    let bad: Vec<PathBuf> = (0..broken_each)
        .flat_map(|i| BROKEN.map(|kind| (kind, format!("{kind}_{i}.mp4"))))
        .map(|(kind, name)| {
            let path = videos.join(name);
            std::fs::write(&path, broken(kind, &whole)).unwrap();
            path
        })
        .collect();
    for i in bad.len()..FILES {
        std::fs::hard_link(&clips[i % clips.len()], videos.join(format!("clip_{i}.mp4"))).unwrap();
    }
    bad
}

/// One pass over the folder.
fn train(dir: &Path) -> Output {
    let mut command = mvd();
    command.args(["pretrain", "video", "--size", "32,1,2", "--decoder", "16,1,1", "--frames", "4", "--stride", "2"]);
    command.args(["--input-size", "32", "--patch", "16", "--batch", "16", "--epochs", "1", "--warmup-epochs", "0"]);
    command.args(["--mask-ratio", "0.5", "--save-every", "1000", "--threads", "2"]);
    command.arg("--data").arg(dir.join("videos")).arg("--out").arg(dir.join("run")).output().unwrap()
}

#[test]
fn a_run_survives_one_broken_file_in_two_hundred_and_reports_each() {
    let dir = tempfile::tempdir().unwrap();
    let bad = folder(dir.path(), 1);
    let output = train(dir.path());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let log = std::fs::read_to_string(dir.path().join("run/log.jsonl")).unwrap();
    assert_eq!(log.lines().count(), FILES / 16);
    for path in &bad {
        let name = path.display().to_string();
        let lines: Vec<&str> = text.lines().filter(|line| line.contains(&name)).collect();
        assert_eq!(lines.len(), 2, "{name}: {lines:?}");
        assert!(lines[0].contains("skipped, another clip takes its place"), "{}", lines[0]);
        assert!(lines[1].starts_with("could not be read, other clips took its place"), "{}", lines[1]);
    }
    assert_eq!(text.matches("could not be read, other clips").count(), bad.len(), "{text}");
}

#[test]
fn a_run_over_too_many_broken_files_stops_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    folder(dir.path(), 4);
    let output = train(dir.path());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{text}");
    let last = text.lines().last().unwrap();
    assert!(last.contains("13 of 1200") && last.contains("share of 0.01"), "{last}");
}
