//! Every recipe, as `mvd recipes NAME` prints it, is a config that its command takes back.

use std::path::Path;
use std::process::{Command, Output, Stdio};

fn mvd(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mvd")).args(args).output().unwrap()
}

fn printed(args: &[&str]) -> String {
    let output = mvd(args);
    assert!(output.status.success(), "{args:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What a command says to the file of a config that lacks nothing but data.
fn taken(command: &str, file: &Path, nowhere: &Path) -> String {
    let (file, out) = (file.display().to_string(), nowhere.display().to_string());
    let words: Vec<&str> = command.split(' ').chain(["--config", &file, "--out", &out]).collect();
    String::from_utf8(mvd(&words).stderr).unwrap()
}

#[test]
fn all_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let (file, nowhere) = (dir.path().join("recipe.toml"), dir.path().join("run"));
    let list = printed(&["recipes"]);
    // What a recipe's teachers are stands below it.
    let recipes: Vec<&str> = list.lines().filter(|line| !line.starts_with(' ')).collect();
    assert!(recipes.len() >= 40, "{list}");
    for line in recipes {
        let name = line.split_whitespace().next().unwrap();
        let toml = printed(&["recipes", name]);
        let stated = |what: &str| {
            let line = toml.lines().find_map(|l| l.strip_prefix(&format!("# {what}: ")));
            line.filter(|l| !l.is_empty()).unwrap_or_else(|| panic!("{name} states no {what}: {toml}")).to_owned()
        };
        let (command, batch) = (stated(name), stated("batch"));
        let command = command.strip_prefix("mvd ").and_then(|c| c.split_once(" --recipe ")).unwrap().0;
        let batch = batch.split(' ').next().unwrap();
        assert!(line.contains(command) && line.contains(&format!("batch {batch:>5}")), "{line}: {command}, {batch}");
        assert!(line.contains(&stated("expected")) && !stated("source").is_empty(), "{line}");

        std::fs::write(&file, &toml).unwrap();
        let said = taken(command, &file, &nowhere);
        assert!(said.contains("--data: expected a list"), "{name}: {said}");
        // Another stage does not take it, and says so.
        let other = if command == "finetune" { "distill" } else { "finetune" };
        assert!(taken(other, &file, &nowhere).contains("recipe.toml"), "{name}");
        // Edited wrongly, it is an error with a suggestion.
        std::fs::write(&file, toml.replace("weight_decay =", "weight_decai =")).unwrap();
        let said = taken(command, &file, &nowhere);
        assert!(said.contains("did you mean weight_decay?"), "{name}: {said}");
    }
    assert!(!nowhere.exists());
}

#[cfg(unix)]
#[test]
fn a_closed_pipe_is_no_panic() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mvd"));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ended = command.arg("recipes").stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert!(!ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
}
