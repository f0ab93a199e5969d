//! `mvd claims` at the smallest sizes: killed at three moments, then ended by two processes that share the folder, it writes
//! the same numbers as one that was left alone.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const EXPERIMENT: &str = r#"
level = "easy"
train = 24
test = 8
labelled = 20
few = 1
topics = 1
teacher = 4
student = 4
budgets = [2, 4]
shapes = { size = 16, batch = 4, encoder = { dim = 32, depth = 1, heads = 2, mlp_ratio = 2 }, decoder = { dim = 16, depth = 1, heads = 2, mlp_ratio = 2 } }
large = { dim = 64, depth = 1, heads = 2, mlp_ratio = 2 }
"#;

fn claims(folder: &Path, out: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mvd"));
    command.args(["claims", "--seeds", "1", "--minutes", "1000", "--experiment", "experiment.toml", "--out", out]);
    command.current_dir(folder).env("MVD_NO_AUTOTUNE", "1").env("MVD_CACHE", folder.join("cache"));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn ended(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// Results that are there.
fn results(out: &Path) -> usize {
    let all = std::fs::read_dir(out.join("100/results")).into_iter().flatten().flatten();
    all.filter(|entry| entry.path().extension().is_some_and(|ending| ending == "json")).count()
}

#[test]
fn killed_thrice_and_shared_it_finds_the_same() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("experiment.toml"), EXPERIMENT).unwrap();
    let said = ended(claims(dir.path(), "whole").spawn().unwrap());
    for part in ["a full run of 1 seeds", "seed 100: balanced-x1", "seed 100: plain-features", "the page: "] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let page = std::fs::read_to_string(dir.path().join("whole/claims.html")).unwrap();
    assert!(!["http:", "https:", "<script", "<link"].iter().any(|part| page.contains(part)), "something is loaded");
    // One seed decides nothing.
    assert!(page.contains("is not decided at this budget") && !page.contains("<b>holds</b>"));
    assert!(page.find("<h2>Verdicts") < page.find("<h2>Every comparison") && page.contains("<img "));

    let out = dir.path().join("killed");
    for done in [0, 5, 11] {
        let mut child = claims(dir.path(), "killed").spawn().unwrap();
        let begun = Instant::now();
        // In the middle of a cell: its run is there, its result is not.
        while results(&out) < done || (done == 0 && !out.join("100/runs/image-teacher/log.jsonl").exists()) {
            assert!(child.try_wait().unwrap().is_none(), "ended before {done} results");
            assert!(begun.elapsed() < Duration::from_secs(400), "{} results", results(&out));
            std::thread::sleep(Duration::from_millis(20));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let before = results(&out);
    let both = [(); 2].map(|()| claims(dir.path(), "killed").spawn().unwrap());
    let said = both.map(ended);
    assert!(before >= 11 && results(&out) == 18, "{before} before, {} at the end", results(&out));
    assert!(
        said.iter().all(|said| !said.contains("seed 100: image-teacher\n")),
        "what is done is done again: {said:?}"
    );
    let read = |out: &str| std::fs::read_to_string(dir.path().join(out).join("claims.json")).unwrap();
    assert_eq!(read("whole"), read("killed"));

    let other = claims(dir.path(), "whole").args(["--seed", "7"]).output().unwrap();
    let text = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(!other.status.success() && text.contains("was begun with --minutes 1000 --seeds 1 --seed 100"), "{text}");
}
