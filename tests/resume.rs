//! Runs that are stopped, moved, changed, damaged or begun wrongly.

mod common;
#[path = "common/smallest.rs"]
mod smallest;

use std::io::BufRead as _;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use common::{failure, mvd, succeed};
use smallest::{distill, prepare};

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path.as_ref()).unwrap_or_else(|e| panic!("{}: {e}", path.as_ref().display()))
}

fn lines(path: impl AsRef<Path>) -> usize {
    read(path).lines().count()
}

fn resume(run: impl AsRef<Path>, flags: &[&str]) -> Command {
    let mut command = mvd();
    command.arg("distill").arg("--resume").arg(run.as_ref()).args(flags);
    command
}

/// Waits until a run has logged a step.
fn logged(run: &Path, child: &mut Child) {
    let log = run.join("log.jsonl");
    let end = Instant::now() + Duration::from_secs(300);
    while !log.metadata().is_ok_and(|about| about.len() > 0) {
        assert!(child.try_wait().unwrap().is_none(), "the run ended before it could be stopped");
        assert!(Instant::now() < end, "no step in five minutes");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[cfg(unix)]
fn send(child: &Child, signal: &str) {
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// The step of the newest checkpoint.
fn newest(run: &Path) -> usize {
    let steps = std::fs::read_dir(run.join("checkpoints")).unwrap();
    let step = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.unwrap().file_name().to_str().unwrap().strip_prefix("step-").unwrap().parse().unwrap()
    };
    steps.map(step).max().unwrap()
}

#[cfg(unix)]
#[test]
fn signals_end_a_run_with_a_checkpoint_and_one_process_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, run) = (dir.path(), dir.path().join("run"));
    prepare(dir);
    let mut child = distill(dir, "run", "1").args(["--steps", "100000", "--save-every", "100000"]).spawn().unwrap();
    logged(&run, &mut child);
    let text = failure(&mut resume(&run, &[]));
    assert!(text.contains(&format!("is being trained by process {}", child.id())), "{text}");
    send(&child, "-TERM");
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    let step = newest(&run);
    assert_eq!(ended.status.code(), Some(143), "{said}");
    assert!(
        said.contains(&format!("stopped by SIGTERM after step {step}; go on with `mvd distill --resume ")),
        "{said}"
    );
    assert!(said.contains("ends after the step at hand"), "{said}");
    assert_eq!(lines(run.join("log.jsonl")), step);
    // What is piped is told of steps and checkpoints.
    let told = String::from_utf8_lossy(&ended.stdout);
    assert!(told.contains("step 1 of 100000: image ") && told.contains("saved "), "{told}");

    let mut child = resume(&run, &[]).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(200));
    while lines(run.join("log.jsonl")) == step {
        assert!(child.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(50));
    }
    send(&child, "-INT");
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(130));
    assert!(newest(&run) > step);
    // A lock is gone with its process, however that ended.
    let mut child = resume(&run, &[]).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    child.kill().unwrap();
    child.wait().unwrap();
    let step = newest(&run) + 1;
    succeed(&mut resume(&run, &["--steps", &step.to_string()]));
    assert_eq!((newest(&run), lines(run.join("log.jsonl"))), (step, step));
}

#[cfg(unix)]
#[test]
fn a_second_signal_ends_at_once_and_time_makes_checkpoints() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, run) = (dir.path(), dir.path().join("run"));
    prepare(dir);
    // A step of minutes.
    let mut child = distill(dir, "run", "1").args(["--accumulate", "100000"]).spawn().unwrap();
    let end = Instant::now() + Duration::from_secs(300);
    while !run.join("config.toml").exists() {
        assert!(child.try_wait().unwrap().is_none() && Instant::now() < end);
        std::thread::sleep(Duration::from_millis(50));
    }
    // Within its first step: a signal before it would have nothing to wait for.
    std::thread::sleep(Duration::from_secs(2));
    send(&child, "-INT");
    std::thread::sleep(Duration::from_millis(400));
    assert!(child.try_wait().unwrap().is_none(), "the first signal ended it within its step");
    send(&child, "-INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(!run.join("checkpoints").exists());

    let by_time = ["--steps", "4", "--save-every", "1000", "--save-minutes", "0.00001", "--keep-last", "9"];
    succeed(distill(dir, "timely", "1").args(by_time));
    assert_eq!(std::fs::read_dir(dir.join("timely/checkpoints")).unwrap().count(), 4);
}

/// `mvd distill | head -1` ends with a checkpoint, and says why.
#[cfg(unix)]
#[test]
fn a_reader_that_goes_away_ends_a_run_with_a_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, run) = (dir.path(), dir.path().join("run"));
    prepare(dir);
    let mut child = distill(dir, "run", "1").args(["--steps", "100000"]).spawn().unwrap();
    let mut line = String::new();
    std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("12 videos, 100000 steps of 4 clips"), "{line}");
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(141), "{said}");
    // The pipe may be found closed before the first step is done, and never later than with the first checkpoint.
    assert!(said.contains("stopped by SIGPIPE: nobody reads its output") && !said.contains("panicked"), "{said}");
    assert!(!run.exists() || (1..=4).contains(&newest(&run)), "{said}");
}

#[test]
fn flags_change_a_run_or_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, run) = (dir.path(), dir.path().join("run"));
    prepare(dir);
    succeed(&mut distill(dir, "run", "1"));
    for (flags, expected) in [
        (&["--mask-ratio", "0.6"][..], "--mask-ratio: would make it another run"),
        (&["--student", "64,2,2", "--seed", "3"], "--student, --seed: would make it another run"),
        (&["--out", "elsewhere"], "--out: would make it another run"),
        (&["--steps", "5"], "12 steps are done, the run would end after 5"),
        (&["--lr=-1"], "--lr: expected 0 or more, got -1"),
    ] {
        let text = failure(&mut resume(&run, flags));
        assert!(text.contains(expected), "{flags:?}: {text}");
    }
    let config = read(run.join("config.toml"));
    assert!(!config.contains("[[changes]]"), "{config}");
    let text = succeed(&mut resume(&run, &["--dry-run", "--recompute"]));
    assert!(text.contains("one step of 4 clips, micro-batches of 2:") && text.contains("dim = 32"), "{text}");
    assert!(text.contains("recompute = true") && read(run.join("config.toml")) == config, "{text}");

    // The same four videos a step in one micro-batch.
    let changes = ["--steps", "14", "--lr", "0.05", "--batch", "4", "--accumulate", "1", "--no-recompute"];
    let text = succeed(&mut resume(&run, &changes));
    assert!(text.contains("from step 12 on: ") && text.contains("optim.lr 0.05 (was 0.1)"), "{text}");
    assert!(text.contains("going on after step 12") && text.contains("goes on in pass "), "{text}");
    assert_eq!((newest(&run), lines(run.join("log.jsonl"))), (14, 14));
    let config: toml::Table = read(run.join("config.toml")).parse().unwrap();
    let changed = config["changes"].as_array().unwrap();
    let of = |key: &str| changed.iter().find(|c| c["key"].as_str() == Some(key)).unwrap_or_else(|| panic!("{key}"));
    assert_eq!((of("optim.lr")["from"].as_str(), of("optim.lr")["to"].as_str()), (Some("0.1"), Some("0.05")));
    assert!(changed.iter().all(|c| c["step"].as_integer() == Some(12)) && changed.len() == 4, "{changed:?}");
    assert_eq!(config["optim"]["batch"].as_integer(), Some(4));
}

#[test]
fn a_set_that_changed_is_refused_unless_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, run) = (dir.path(), dir.path().join("run"));
    prepare(dir);
    succeed(&mut distill(dir, "run", "1"));
    let list = dir.join("set/list.txt");
    let whole = read(&list);
    // The same set elsewhere is the same set.
    let moved = dir.join("moved");
    std::fs::rename(dir.join("set"), &moved).unwrap();
    let moved_list = moved.join("list.txt").display().to_string();
    succeed(&mut resume(&run, &["--data", &moved_list, "--steps", "13"]));
    let less: String = whole.lines().take(7).map(|line| format!("{line}\n")).collect();
    std::fs::write(&moved_list, less).unwrap();
    let text = failure(&mut resume(&run, &["--steps", "20"]));
    assert!(
        text.contains("it had 12 videos") && text.contains("there are 7") && text.contains("--changed-data"),
        "{text}"
    );
    assert_eq!(lines(run.join("log.jsonl")), 13);
    let text = succeed(&mut resume(&run, &["--steps", "20", "--changed-data"]));
    assert!(
        text.contains(
            "the checkpoint is of 12 videos in steps of 2 x 2 (4 clips), now it is 7 videos in steps of 2 x 2"
        ),
        "{text}"
    );
    // Passes go on to end: three micro-batches of two each.
    let log = read(run.join("log.jsonl"));
    let epochs: Vec<u64> = log
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["epoch"].as_u64().unwrap())
        .collect();
    assert!(epochs.is_sorted() && epochs[19] >= epochs[13] + 3, "{epochs:?}");
}

#[test]
fn a_teacher_is_pinned_when_training_begins() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    prepare(dir);
    let mut teacher = mvd();
    teacher.args([
        "pretrain",
        "image",
        "--size",
        "32,1,2",
        "--decoder",
        "16,1,1",
        "--mask-ratio",
        "0.5",
        "--batch",
        "4",
    ]);
    teacher.args(["--input-size", "32", "--patch", "16", "--save-every", "1", "--steps", "2", "--keep-last", "9"]);
    teacher.current_dir(dir).args(["--data", "set/list.txt", "--out", "teacher"]);
    succeed(&mut teacher);
    // Relative paths, gone on with from elsewhere.
    let mut student = mvd();
    student.args([
        "distill",
        "--steps",
        "3",
        "--batch",
        "4",
        "--save-every",
        "2",
        "--patch",
        "16",
        "--student",
        "32,2,2",
    ]);
    student.args(["--decoder", "16,1,1", "--image-teacher-size", "32,1,2", "--video-weight", "0", "--frames", "4"]);
    student.args(["--stride", "3", "--input-size", "32", "--mask-ratio", "0.5", "--data", "set/list.txt"]);
    let text = succeed(student.current_dir(dir).args(["--image-teacher", "teacher", "--out", "run"]));
    assert!(text.contains("image teacher ") && text.contains("no video teacher"), "{text}");
    let run = dir.join("run");
    let weights = dir.join("teacher/checkpoints/step-2/weights.safetensors");
    let config: toml::Table = read(run.join("config.toml")).parse().unwrap();
    let pinned = &config["image_teacher"];
    assert!(Path::new(pinned["weights"].as_str().unwrap()).is_absolute());
    assert_eq!(Path::new(pinned["weights"].as_str().unwrap()).canonicalize().unwrap(), weights.canonicalize().unwrap());
    let digest = pinned["digest"].as_str().unwrap().to_owned();
    assert!(digest.starts_with("sha256:") && digest.len() == 71, "{digest}");

    // The teacher goes on; the student keeps to what it began with.
    let mut further = mvd();
    succeed(further.args(["pretrain", "image", "--resume"]).arg(dir.join("teacher")).args(["--steps", "4"]));
    succeed(&mut resume(&run, &["--steps", "4"]));
    let newer = dir.join("teacher/checkpoints/step-4/weights.safetensors");
    let text = failure(&mut resume(&run, &["--steps", "5", "--image-teacher", newer.to_str().unwrap()]));
    for part in ["--image-teacher ", "step-4", &digest, "this is sha256:"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // The same file at another place will do.
    let copy = dir.join("copy.safetensors");
    std::fs::copy(&weights, &copy).unwrap();
    std::fs::copy(&newer, &weights).unwrap();
    let text = failure(&mut resume(&run, &["--steps", "5"]));
    assert!(text.contains(&digest) && text.contains("weights.safetensors"), "{text}");
    succeed(&mut resume(&run, &["--steps", "5", "--image-teacher", copy.to_str().unwrap()]));
    assert_eq!(newest(&run), 5);
}

#[test]
fn without_a_whole_checkpoint_nothing_is_lost_silently() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, run) = (dir.path(), dir.path().join("run"));
    prepare(dir);
    succeed(&mut distill(dir, "run", "1"));
    let weights = |step: usize| run.join(format!("checkpoints/step-{step}/weights.safetensors"));
    for step in [6, 9, 12] {
        std::fs::write(weights(step), "cut").unwrap();
    }
    let text = failure(&mut resume(&run, &[]));
    assert!(text.contains("no checkpoint is whole") && text.contains("step-12: "), "{text}");
    assert_eq!(lines(run.join("log.jsonl")), 12);
    std::fs::remove_dir_all(run.join("checkpoints")).unwrap();
    let text = succeed(&mut resume(&run, &[]));
    assert!(text.contains("has no checkpoint: training starts again at step 0"), "{text}");
    assert!(text.contains("before-1"), "{text}");
    assert_eq!((lines(run.join("before-1/log.jsonl")), lines(run.join("log.jsonl"))), (12, 12));
}

#[test]
fn a_start_that_fails_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, run) = (dir.path(), dir.path().join("run"));
    prepare(dir);
    let gone = dir.join("gone.txt");
    std::fs::write(&gone, "nowhere/1.mp4\nnowhere/2.mp4\nnowhere/3.mp4\n").unwrap();
    let [nosuch, gone] = [dir.join("nosuch"), gone].map(|path| path.display().to_string());
    for flags in [["--data", &nosuch], ["--data", &gone], ["--image-teacher", &nosuch], ["--batch", "2000000"]] {
        failure(distill(dir, "run", "1").args(flags));
        assert!(!run.exists(), "{flags:?}");
    }
    let mut tuning = mvd();
    tuning.args(["finetune", "--recipe", "finetune-tiny", "--size", "32,1,2", "--steps", "1", "--batch", "4"]);
    tuning.args(["--input-size", "32", "--patch", "16", "--frames", "4", "--stride", "3"]);
    tuning.arg("--data").arg(dir.join("set/list.txt")).arg("--out").arg(&run);
    let text = failure(tuning.args(["--classes", "3"]));
    assert!(text.contains("there are 3 classes: say --classes") && !run.exists(), "{text}");
    // The corrected command is the next one.
    succeed(tuning.args(["--classes", "10"]));
}

#[test]
fn what_is_not_finite_is_never_the_best() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    succeed(mvd().args(["synth", "--count", "12"]).arg(dir.join("set")));
    let tune = |out: &str, flags: &[&str]| {
        let mut tuning = mvd();
        tuning.args(["finetune", "--recipe", "finetune-tiny", "--size", "32,1,2", "--steps", "6", "--batch", "4"]);
        tuning.args(["--input-size", "32", "--patch", "16", "--frames", "4", "--stride", "3", "--warmup-epochs", "0"]);
        tuning.arg("--data").arg(dir.join("set/list.txt")).arg("--val").arg(dir.join("set/list.txt"));
        tuning.args(flags).arg("--out").arg(dir.join(out));
        tuning
    };
    let text = failure(&mut tune("nan", &["--lr", "1e30"]));
    assert!(text.contains("not finite") && text.contains("No checkpoint was written before: begin again"), "{text}");
    assert!(text.contains("--clip-grad 1") && !dir.join("nan/best.safetensors").exists(), "{text}");

    // With a checkpoint, the advice names it, and can be followed.
    succeed(&mut tune("run", &["--clip-grad", "1"]));
    let run = dir.join("run");
    let on = |flags: &[&str]| {
        let mut command = mvd();
        command.args(["finetune", "--resume"]).arg(&run).args(flags);
        command
    };
    let best = std::fs::read(run.join("best.safetensors")).unwrap();
    let text = failure(&mut on(&["--steps", "20", "--lr", "1e30"]));
    assert!(text.contains("The checkpoint step-6 is kept: go on from it with `mvd finetune --resume "), "{text}");
    assert!(text.contains("a lower --lr (it is 1e30)") && !text.contains("--clip-grad"), "{text}");
    assert!(best == std::fs::read(run.join("best.safetensors")).unwrap());
    succeed(&mut on(&["--steps", "8", "--lr", "0.001"]));
    assert_eq!(newest(&run), 8);

    // Nothing that could be read is no result; nor is one clip in three a multiple of anything.
    let missing = dir.join("missing.txt");
    std::fs::write(&missing, "a.mp4 1\nb.mp4 2\n").unwrap();
    let text = failure(mvd().arg("eval").arg(&run).arg("--data").arg(&missing));
    assert!(text.contains("none of its 2 videos could be read"), "{text}");
    succeed(&mut tune("thrice", &["--batch", "8", "--repeats", "3", "--steps", "1"]));
    let text = succeed(mvd().arg("eval").arg(dir.join("thrice")));
    assert!(text.contains("12 videos, 1 x 1 views"), "{text}");
    succeed(mvd().arg("predict").arg(dir.join("thrice")).arg(dir.join("set/clips/000000.mp4")));
}
