//! Tests of classifiers on sets: ended and gone on with, whatever the batch, and always under the right names.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{failure, mvd, succeed};
use serde_json::Value;

/// Size of the clips, and of the smallest encoder.
const SMALL: [&str; 10] = ["--size", "32,1,2", "--input-size", "32", "--patch", "16", "--frames", "4", "--stride", "2"];

/// A folder of classes: each gets as many of the set's clips as it says, and one clip is in one class alone.
fn tree(dir: &Path, name: &str, classes: &[(&str, usize)]) -> PathBuf {
    let root = dir.join(name);
    let mut clip = 0;
    for (class, count) in classes {
        std::fs::create_dir_all(root.join(class)).unwrap();
        for _ in 0..*count {
            let file = format!("{clip:06}.mp4");
            std::fs::copy(dir.join("set/clips").join(&file), root.join(class).join(&file)).unwrap();
            clip += 1;
        }
    }
    root
}

fn synth(dir: &Path, count: usize) {
    succeed(
        mvd().args(["synth", "--size", "32", "--frames", "12", "--count", &count.to_string()]).arg(dir.join("set")),
    );
}

/// A fine-tuning of a step on a set.
fn tune(data: &Path, out: &Path, more: &[&str]) -> Command {
    let mut command = mvd();
    command.args(["finetune", "--recipe", "finetune-tiny", "--steps", "1", "--batch", "2"]).args(SMALL);
    command.arg("--data").arg(data).arg("--out").arg(out).args(more);
    command
}

fn eval(model: &Path, more: &[&str]) -> Command {
    let mut command = mvd();
    command.arg("eval").arg(model).args(more);
    command
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned()).concat()
}

/// The result of a test, without what may be otherwise from one to another.
fn result(text: &str) -> Value {
    let mut value: Value = serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"));
    value["settings"].as_object_mut().unwrap().remove("batch");
    value
}

fn lines(path: &Path) -> usize {
    std::fs::read_to_string(path).map_or(0, |text| text.lines().count())
}

fn text_of(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_killed_test_goes_on_to_the_same_result() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    synth(dir, 40);
    let (list, run) = (dir.join("set/list.txt"), dir.join("run"));
    succeed(&mut tune(&list, &run, &[]));
    let views = ["--data", text_of(&list), "--clips", "5", "--crops", "3", "--json"];
    let whole = dir.join("whole.jsonl");
    let expected = result(&succeed(eval(&run, &views).arg("--out").arg(&whole)));
    assert_eq!((&expected["count"], lines(&whole)), (&40.into(), 41));
    let killed = dir.join("killed.jsonl");
    let clip_by_clip = || {
        let mut command = eval(&run, &views);
        command.args(["--batch", "1", "--out"]).arg(&killed);
        command
    };
    for moment in [3, 12, 30] {
        let mut child = clip_by_clip().spawn().unwrap();
        while lines(&killed) < moment {
            assert!(child.try_wait().unwrap().is_none(), "the test ended before it could be killed");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!((moment..41).contains(&lines(&killed)), "{} lines", lines(&killed));
    }
    let output = clip_by_clip().output().unwrap();
    assert!(said(&output).contains("goes on after "), "{}", said(&output));
    // One clip at once or many, in one go or in four: the same to the bit, also the shares.
    assert_eq!(result(&String::from_utf8_lossy(&output.stdout)), expected);
    assert_eq!(std::fs::read_to_string(&killed).unwrap(), std::fs::read_to_string(&whole).unwrap());

    // Nothing is left to do, and nothing of it counts for other views.
    assert_eq!(result(&succeed(&mut clip_by_clip())), expected);
    // A file that has changed since is scored anew, once.
    let clip = std::fs::File::options().append(true).open(dir.join("set/clips/000007.mp4")).unwrap();
    clip.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000)).unwrap();
    for (lines_after, said_of_it) in [(42, true), (42, false)] {
        let output = clip_by_clip().output().unwrap();
        let text = said(&output);
        assert_eq!(text.contains("scores anew 1 file that has changed since: "), said_of_it, "{text}");
        assert!(text.contains(if said_of_it { "goes on after 39 of 40" } else { "goes on after 40 of 40" }), "{text}");
        assert_eq!((result(&String::from_utf8_lossy(&output.stdout)), lines(&killed)), (expected.clone(), lines_after));
    }
    let mut other = eval(&run, &["--data", text_of(&list), "--clips", "1", "--crops", "1", "--out"]);
    let text = failure(other.arg(&killed));
    assert!(text.contains("another test (clips 5 there, 1 here; crops 3 there, 1 here)"), "{text}");
    assert!(succeed(other.arg("--fresh")).contains("40 videos, 1 x 1 views"));
    assert_eq!(lines(&killed), 41);
}

#[cfg(unix)]
#[test]
fn a_signal_ends_a_test_that_the_same_command_goes_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    synth(dir, 40);
    let (list, run) = (dir.join("set/list.txt"), dir.join("run"));
    succeed(&mut tune(&list, &run, &[]));
    let kept = || {
        let files = std::fs::read_dir(&run).unwrap().map(|entry| entry.unwrap().path());
        files
            .filter(|path| path.extension().is_some_and(|ending| ending == "jsonl"))
            .find(|path| path.file_name().unwrap().to_string_lossy().starts_with("eval-"))
    };
    let test = || eval(&run, &["--data", text_of(&list), "--clips", "5", "--crops", "3", "--batch", "1"]);
    let mut child = test().spawn().unwrap();
    while kept().is_none_or(|path| lines(&path) < 5) {
        assert!(child.try_wait().unwrap().is_none(), "the test ended before it could be stopped");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let (text, done) = (said(&output), lines(&kept().unwrap()) - 1);
    assert_eq!(output.status.code(), Some(143), "{text}");
    assert!(
        text.contains(&format!("stopped by SIGTERM after {done} of 40 videos; the same command goes on")),
        "{text}"
    );
    assert!(text.contains("top-1") && text.contains("of 600: "), "a line of what is out so far: {text}");

    // Another test says that it has no use for it, and leaves it there.
    let mut other = eval(&run, &["--data", text_of(&list), "--clips", "1", "--crops", "1"]);
    assert!(succeed(&mut other).contains("of another test, not used (clips 5 there, 1 here"), "{other:?}");
    let text = succeed(&mut test());
    assert!(
        text.contains(&format!("goes on after {done} of 40 videos")) && text.contains("40 videos, 5 x 3"),
        "{text}"
    );
    assert!(kept().is_none(), "what nobody asked for is removed at the end");
}

#[test]
fn what_is_missing_or_unreadable_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    synth(dir, 8);
    let train = tree(dir, "train", &[("clap", 2), ("run, fast", 2), ("wave", 2)]);
    let run = dir.join("run");
    succeed(&mut tune(&train, &run, &[]));
    let test = tree(dir, "test", &[("clap", 3), ("wave", 2)]);
    std::fs::write(test.join("wave/broken.mp4"), b"nothing").unwrap();
    let (table, picture) = (dir.join("confusion.csv"), dir.join("confusion.png"));
    let text = succeed(eval(&run, &["--data", text_of(&test), "--confusion"]).arg(&table));
    for part in [
        "5 videos, 1 x 1 views: top-1",
        "top-5 100.00 %",
        "over the 2 of 3 classes that have videos",
        "1 videos could not be read and are not counted",
        "class    1 run, fast: no samples",
    ] {
        assert!(text.contains(part), "no `{part}` in {text}");
    }
    let table = std::fs::read_to_string(&table).unwrap();
    let rows: Vec<&str> = table.lines().collect();
    assert!(rows[0] == "label,clap,\"run, fast\",wave" && rows[2] == "\"run, fast\",0,0,0", "{table}");
    let value = result(&succeed(eval(&run, &["--data", text_of(&test), "--json", "--confusion"]).arg(&picture)));
    assert!(image::open(&picture).unwrap().width() > 3 * 44);
    let classes = value["classes"].as_array().unwrap();
    let of = |key: &str| classes.iter().map(|class| class[key].clone()).collect::<Vec<_>>();
    assert_eq!(of("name"), ["clap", "run, fast", "wave"]);
    assert_eq!((&of("count")[..], &classes[1]["top1"]), (&[3.into(), 0.into(), 2.into()][..], &Value::Null));
    let right: u64 = classes.iter().map(|class| class["correct"].as_u64().unwrap()).sum();
    assert_eq!(value["top1"].as_f64().unwrap(), 100.0 * right as f64 / 5.0);
    assert_eq!(
        (&value["count"], &value["unreadable"], &value["classes_with_videos"]),
        (&5.into(), &1.into(), &2.into())
    );
    assert!(value["unreadable_videos"][0].as_str().unwrap().ends_with("broken.mp4"));
    assert_eq!((&value["settings"]["clips"], &value["settings"]["sampling"]), (&1.into(), &"dense".into()));

    let broken = dir.join("broken");
    std::fs::create_dir_all(broken.join("clap")).unwrap();
    std::fs::write(broken.join("clap/1.mp4"), b"nothing").unwrap();
    let output = eval(&run, &["--data", text_of(&broken)]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("none of its 1 videos could be read"), "{}", said(&output));
    let text = failure(&mut eval(&run, &["--data", text_of(&test), "--memory", "0"]));
    assert!(text.contains("--memory: a test of one clip at once is planned to take"), "{text}");
}

/// Names decide, wherever two sets meet.
#[test]
fn classes_are_matched_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    synth(dir, 8);
    let train = tree(dir, "train", &[("clap", 2), ("run", 2), ("wave", 2)]);
    let val = tree(dir, "val", &[("clap", 1), ("wave", 2)]);
    let run = dir.join("run");
    let text = succeed(&mut tune(&train, &run, &["--val", text_of(&val)]));
    assert!(
        text.contains("classes: 3, as ") && text.contains("val: classes matched by name with those of the run, 2 of 3"),
        "{text}"
    );
    let config = std::fs::read_to_string(run.join("config.toml")).unwrap();
    let config: toml::Table = config.parse().unwrap();
    assert_eq!(
        config["names"].as_array().unwrap().iter().map(|n| n.as_str().unwrap()).collect::<Vec<_>>(),
        ["clap", "run", "wave"]
    );

    // The same three videos by names in another order, by numbers beside names, and by numbers alone.
    let expected = result(&succeed(&mut eval(&run, &["--data", text_of(&val), "--json"])));
    let clip = |class: &str, n: usize| format!("val/{class}/{n:06}.mp4");
    let [a, b, c] = [clip("clap", 0), clip("wave", 1), clip("wave", 2)];
    let list = |name: &str, text: String| {
        std::fs::write(dir.join(name), text).unwrap();
        dir.join(name)
    };
    let beside = list("beside.csv", format!("path,label,class\n{a},1,clap\n{b},0,wave\n{c},0,wave\n"));
    let numbers = list("numbers.txt", format!("{a} 0\n{b} 2\n{c} 2\n"));
    for (set, note) in [(beside, "which have another order"), (numbers, "taken as indices of the classes of ")] {
        let output = eval(&run, &["--data", text_of(&set), "--json"]).output().unwrap();
        assert!(output.status.success() && said(&output).contains(note), "{}", said(&output));
        let found = result(&String::from_utf8_lossy(&output.stdout));
        assert_eq!((&found["classes"], &found["top1"]), (&expected["classes"], &expected["top1"]));
    }
    let text = succeed(mvd().arg("predict").arg(&run).arg(dir.join(&a)).args(["--top", "3"]));
    assert!(["clap", "run", "wave"].iter().all(|name| text.contains(name)), "{text}");

    // What cannot be matched is refused with both lists, in training, testing and probing.
    let other = tree(dir, "other", &[("clap", 1), ("jump", 1)]);
    let differ = "only in the set: jump; only in ";
    let text = failure(&mut eval(&run, &["--data", text_of(&other)]));
    assert!(text.contains(differ) && text.contains("run: run, wave"), "{text}");
    let text = failure(&mut tune(&train, &dir.join("bad"), &["--val", text_of(&other)]));
    assert!(text.contains(differ) && !dir.join("bad").exists(), "{text}");
    let probe = |test: &Path| {
        let mut command = mvd();
        command.args(["probe", "--train", text_of(&train), "--test", text_of(test), "--weights", text_of(&run)]);
        command
    };
    assert!(failure(&mut probe(&other)).contains(differ));
    assert!(succeed(&mut probe(&val)).contains("classes matched by name with those of "));
    // A set of numbers alone gets its names by --names, as the message says.
    let unnamed = |more: &[&str]| {
        let mut command = mvd();
        command.args(["probe", "--train", text_of(&dir.join("numbers.txt")), "--test", text_of(&val)]);
        command.args(["--weights", text_of(&run)]).args(more);
        command
    };
    assert!(failure(&mut unnamed(&[])).contains("with --names FILE"));
    let all = list("all.txt", "clap\nrun\nwave\n".to_owned());
    assert!(succeed(&mut unnamed(&["--names", text_of(&all)])).contains("linear"));
    assert!(failure(probe(&val).arg("--names").arg(&all)).contains("both sets have names already"));
    let text = failure(&mut tune(&train, &dir.join("bad"), &["--classes", "4"]));
    assert!(text.contains("expected 4 classes, ") && text.contains("has 3: clap, run, wave"), "{text}");
    let names = list("names.txt", "wave\nclap\n".to_owned());
    for command in
        [&mut tune(&train, &dir.join("bad"), &["--classes", "3"]), &mut eval(&run, &["--data", text_of(&val)])]
    {
        let text = failure(command.arg("--names").arg(&names));
        assert!(text.contains("names.txt: expected 3 lines, one for each class, got 2"), "{text}");
    }

    // A classifier trained further on a set in another order keeps its head and its order.
    let more = list("more.csv", format!("path,class\n{b},wave\n{a},clap\n"));
    let kept = dir.join("kept");
    let text = succeed(tune(&more, &kept, &["--keep-head", "--lr", "0", "--min-lr", "0", "--init"]).arg(&run));
    assert!(text.contains("more.csv: classes matched by name with those of the run, 2 of 3"), "{text}");
    let head = |run: &Path| {
        let bytes = std::fs::read(run.join("checkpoints/step-1/weights.safetensors")).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        tensors.tensor("head.weight").unwrap().data().to_vec()
    };
    assert!(head(&kept) == head(&run));
    let text = failure(tune(&other, &dir.join("bad"), &["--keep-head", "--init"]).arg(&run));
    assert!(text.contains(differ), "{text}");
}

/// A classifier of Hugging Face's is tested on a folder by names, its own names going with it.
#[test]
fn names_go_to_hugging_face_and_back() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    synth(dir, 8);
    let train = tree(dir, "train", &[("Wave", 2), ("clap", 2), ("run", 2)]);
    let (run, folder) = (dir.join("run"), dir.join("hf"));
    succeed(&mut tune(&train, &run, &["--model", "videomae"]));
    succeed(mvd().arg("convert").arg(&run).arg(&folder).args(["--to", "hf"]));
    let config: Value = serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap();
    assert_eq!((&config["id2label"]["0"], &config["label2id"]["run"]), (&"Wave".into(), &2.into()));
    let test = tree(dir, "test", &[("clap", 1), ("wave", 1)]);
    let output = eval(&folder, &["--data", text_of(&test)]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let text = said(&output);
    for part in [
        "2 of 3, which have another order; but for capital letters: wave = Wave",
        "class    0 Wave: ",
        "class    2 run: no samples",
    ] {
        assert!(text.contains(part), "no `{part}` in {text}");
    }
    // Without names nothing is guessed; names given by hand are as good.
    let bare = dir.join("bare.pth");
    succeed(mvd().arg("convert").arg(&folder).arg(&bare).args(["--to", "videomae"]));
    let mut test = eval(
        &bare,
        &[
            "--model",
            "videomae",
            "--frames",
            "4",
            "--stride",
            "2",
            "--input-size",
            "32",
            "--heads",
            "2",
            "--data",
            text_of(&test),
        ],
    );
    let text = failure(&mut test);
    assert!(text.contains("have none, so labels cannot be told") && text.contains("--names FILE"), "{text}");
    let names = dir.join("names.txt");
    std::fs::write(&names, "Wave\nclap\nrun\n").unwrap();
    assert!(succeed(test.arg("--names").arg(&names)).contains("class    1 clap: "));
}
