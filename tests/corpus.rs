//! What fuzzing has found worth keeping: never a panic, never slow.

#[path = "../fuzz/fuzz_targets/archive.rs"]
mod archive;
#[path = "../fuzz/fuzz_targets/header.rs"]
mod header;

use std::path::Path;
use std::time::Instant;

use mvd::weights;

/// Reads every file of a target's corpus; gives how many there were and how many could be read.
fn replay(target: &str, around: fn(&[u8]) -> Vec<u8>) -> (usize, usize) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let (mut all, mut read) = (0, 0);
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let data = around(&std::fs::read(&path).unwrap());
        let clock = Instant::now();
        let found = weights::from_bytes(&path, &data);
        assert!(clock.elapsed().as_secs_f64() < 1.0, "{}", path.display());
        all += 1;
        match found {
            Ok(_) => read += 1,
            Err(error) => assert!(error.to_string().starts_with(&path.display().to_string()), "{error}"),
        }
    }
    (all, read)
}

#[test]
fn checkpoints() {
    let (all, read) = replay("pth", archive::around);
    assert!(all > 20 && read > 3, "{read} of {all}");
}

#[test]
fn safetensors_files() {
    let (all, read) = replay("safetensors", header::around);
    assert!(all > 20 && read > 3, "{read} of {all}");
}
