//! The commands that look at sets and prepare them: exit statuses, other `ffmpeg` programs, none.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mvd::data::video;

fn case(name: &str) -> PathBuf {
    Path::new("assets/cases").join(name)
}

/// How many frames a video has, all of them decoded.
fn frames(path: &Path) -> usize {
    let mut video = video::open(path).unwrap_or_else(|error| panic!("{error}"));
    video.frames(&(0..video.len()).collect::<Vec<_>>()).unwrap_or_else(|error| panic!("{error}")).rgb.len()
}

/// The program, with `PATH` as given.
fn mvd(args: &[&str], path: Option<&Path>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mvd"));
    if let Some(path) = path {
        command.env("PATH", path);
    }
    command.args(args).output().unwrap()
}

/// Frames of the cases of a decoder of our own, without the program: those of other sizes are scaled.
#[test]
fn most_need_no_program() {
    let dir = tempfile::tempdir().unwrap();
    let names = [
        "first_track_disabled.mp4",
        "two_descriptions.mp4",
        "size_changes.mp4",
        "block_groups.mkv",
        "all_marked_sync.mp4",
    ];
    for name in names {
        std::fs::copy(case(name), dir.path().join(name)).unwrap();
    }
    let output = mvd(&["check-data", "--decode", "all", dir.path().to_str().unwrap()], Some(dir.path()));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("0 of 5 cannot be read"), "{text}");
    assert!(text.contains("160x120") && !text.contains(" to 160x120") && !text.contains("ffmpeg"), "{text}");
}

/// An older program is asked in its own terms: 4.x knows `-vsync` and no `-fps_mode`.
#[cfg(unix)]
#[test]
fn older_ffmpeg_programs_do() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let real = |name: &str| {
        let found = Command::new("sh").args(["-c", &format!("command -v {name}")]).output().unwrap();
        String::from_utf8(found.stdout).unwrap().trim().to_owned()
    };
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in\n-version) echo 'ffmpeg version 4.4.2 Copyright'; exit 0;;\n\
         *-fps_mode*) echo 'Unrecognized option fps_mode.' >&2; exit 1;;\nesac\nexec {} \"$@\"\n",
        real("ffmpeg")
    );
    let write = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).unwrap();
        std::fs::set_permissions(dir.path().join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    write("ffmpeg", &script);
    write("ffprobe", &format!("#!/bin/sh\nexec {} \"$@\"\n", real("ffprobe")));
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
    let clip = case("starts_inside_gop.ts");
    let output = mvd(&["check-data", "--decode", "all", clip.to_str().unwrap()], Some(Path::new(&path)));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("0 of 1 cannot be read") && text.contains(" 50 "), "{text}");
    let out = dir.path().join("out");
    let output = mvd(&["prepare", clip.to_str().unwrap(), out.to_str().unwrap()], Some(Path::new(&path)));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(frames(&out.join("starts_inside_gop.mp4")), 50);
}

/// Commands that find nothing usable, or leave something out, say so by their exit status.
#[test]
fn failures_are_exit_statuses() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::create_dir(dir.path().join("set")).unwrap();
    std::fs::write(dir.path().join("set/a.mp4"), b"nothing").unwrap();
    for command in [vec!["check-data".to_owned(), path("set")], vec!["prepare".to_owned(), path("set"), path("out")]] {
        let output = mvd(&command.iter().map(String::as_str).collect::<Vec<_>>(), None);
        assert_eq!(output.status.code(), Some(1), "{command:?}");
    }
    std::fs::copy("assets/clips/baseline.mp4", dir.path().join("set/b.mp4")).unwrap();
    let output = mvd(&["prepare", &path("set"), &path("out")], None);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("1 of 2 videos could not be prepared"), "{text}");
    // The rest is done all the same.
    assert_eq!(frames(&dir.path().join("out/b.mp4")), 24);
    assert!(std::fs::read_to_string(dir.path().join("out/list.txt")).unwrap().ends_with("path,label\nb.mp4,\n"));
    let output = mvd(&["check-data", &path("set")], None);
    assert!(output.status.success());
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    assert_eq!(mvd(&["check-data", &path("empty")], None).status.code(), Some(1));
    // Without the program that reads a file, the file is not at fault.
    std::fs::copy("assets/clips/xvid.avi", dir.path().join("set/c.avi")).unwrap();
    mvd(&["check-data", &path("set"), "--index", &path("index.jsonl")], Some(dir.path()));
    let index = std::fs::read_to_string(dir.path().join("index.jsonl")).unwrap();
    assert!(!index.contains("c.avi"), "{index}");
}

#[test]
fn a_stage_that_does_nothing_has_no_rate() {
    let output = mvd(&["bench", "data", "assets/clips/baseline.mp4", "--clips", "2", "--augment", "none"], None);
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find(|line| line.starts_with("augment")).unwrap_or_else(|| panic!("{text}"));
    assert_eq!(line.split_whitespace().collect::<Vec<_>>()[..2], ["augment", "-"], "{line}");
}

#[test]
fn switches_of_the_environment_are_0_and_1() {
    for (value, works) in [("1", true), ("0", true), ("true", true), ("maybe", false)] {
        let output =
            Command::new(env!("CARGO_BIN_EXE_mvd")).args(["adapters"]).env("MVD_NO_AUTOTUNE", value).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(!text.contains("invalid value"), works, "{value}: {text}");
    }
}
