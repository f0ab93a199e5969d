//! Kernels chosen by timing: kept, listed, cleared, and never a reason to fail.

use std::path::Path;
use std::process::Command;

fn mvd(cache: &Path, args: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mvd"));
    let output = command.args(args).arg("--cache").arg(cache).env_remove("MVD_NO_AUTOTUNE").output().unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (output.status.success(), text)
}

#[test]
fn choices_are_made_once_listed_and_cleared() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let ok = |args: &[&str]| {
        let (ok, text) = mvd(&cache, args);
        assert!(ok, "{args:?}: {text}");
        text
    };
    let tune = ["autotune", "--kernels", "portable", "--only", "demo"];
    let text = ok(&tune);
    let questions = text.lines().filter(|line| line.starts_with("product ")).count();
    assert!(questions > 20 && text.contains("matmul_32x32 "), "{text}");
    assert!(ok(&tune).contains("nothing to choose"));
    let listed = ok(&["autotune", "--list"]);
    assert_eq!(listed.lines().filter(|line| line.starts_with("  product ")).count(), questions, "{listed}");
    // A broken file is named, and the choices are made anew.
    let kernels = std::fs::read_dir(cache.join("kernels")).unwrap().next().unwrap().unwrap().path();
    std::fs::write(&kernels, "no choices").unwrap();
    let (done, text) = mvd(&cache, &["autotune", "--list"]);
    assert!(done && text.contains("expected choices of kernels"), "{text}");
    assert!(ok(&["autotune", "--clear"]).contains("files deleted"));
    assert_eq!(ok(&["autotune", "--list"]), "");
    let (done, text) = mvd(&cache, &["autotune", "--only", "huge"]);
    assert!(!done && text.contains("--only huge"), "{text}");
}
