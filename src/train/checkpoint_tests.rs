//! Kills at every file operation, full disks, pruning.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::disk::Op;
use super::*;
use crate::weights::HostTensor;

const KEEP: Keep = Keep { last: 2, every: 0 };

fn checkpoint(step: u64) -> Checkpoint {
    let tensor = HostTensor { shape: vec![2, 3], data: vec![step as f32; 6] };
    let tensors = |names: &[&str]| names.iter().map(|n| (n.to_string(), tensor.clone())).collect();
    Checkpoint {
        weights: tensors(&["norm.weight", "blocks.0.attn.q_bias"]),
        optimizer: tensors(&["exp_avg.norm.weight", "exp_avg_sq.norm.weight"]),
        state: State { step, epoch: 1, loader: 5, seed: 3, versions: BTreeMap::new() },
    }
}

fn steps(run: &RunDir) -> Vec<u64> {
    run.survey().unwrap().0.into_keys().collect()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|e| name(&e.unwrap().path())).collect();
    names.sort();
    names
}

#[test]
fn round_trip_and_equal_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = RunDir::create(dir.path().join("run"), "x = 1\n").unwrap();
    assert_eq!(run.latest().unwrap(), Latest::default());
    let path = run.save(&checkpoint(10), KEEP).unwrap();
    assert_eq!(load(&path).unwrap(), checkpoint(10));
    let first = fs::read(path.join("weights.safetensors")).unwrap();
    let again = run.save(&checkpoint(10), KEEP).unwrap();
    assert_eq!(first, fs::read(again.join("weights.safetensors")).unwrap());
    assert_eq!(names(&path), ["optimizer.safetensors", "state.json", "weights.safetensors"]);
    let (run, config) = RunDir::resume(run.root()).unwrap();
    assert_eq!((config.as_str(), run.latest().unwrap().found), ("x = 1\n", Some((path, 10))));
}

#[test]
fn pruning_keeps_the_newest_and_every_mth() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = RunDir::create(dir.path(), "").unwrap();
    for step in (10..=100).step_by(10) {
        run.save(&checkpoint(step), Keep { last: 2, every: 40 }).unwrap();
    }
    assert_eq!(steps(&run), [40, 80, 90, 100]);
    run.save(&checkpoint(110), Keep { last: 0, every: 0 }).unwrap();
    assert_eq!(steps(&run), [110]);
}

#[test]
fn a_new_run_wants_an_empty_folder() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("notes.txt"), "").unwrap();
    let message = RunDir::create(dir.path(), "").err().unwrap().to_string();
    assert!(message.contains("is not empty: expected a new or empty folder"), "{message}");
    let message = RunDir::resume(dir.path()).err().unwrap().to_string();
    assert!(message.contains("is no run directory: expected a config.toml"), "{message}");
}

#[test]
fn what_is_not_whole_is_ignored_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = RunDir::create(dir.path(), "").unwrap();
    let keep = Keep { last: 9, every: 0 };
    let paths: Vec<_> = (1..=5).map(|step| run.save(&checkpoint(step), keep).unwrap()).collect();
    fs::remove_file(paths[1].join("state.json")).unwrap();
    let weights = fs::read(paths[2].join("weights.safetensors")).unwrap();
    fs::write(paths[2].join("weights.safetensors"), &weights[..weights.len() - 5]).unwrap();
    fs::write(paths[3].join("state.json"), "{").unwrap();
    fs::rename(&paths[4], paths[4].with_file_name("step-00000009")).unwrap();
    fs::create_dir(paths[0].with_file_name(".tmp-step-00000006")).unwrap();
    fs::create_dir(paths[0].with_file_name("other")).unwrap();
    let latest = run.latest().unwrap();
    assert_eq!(latest.found, Some((paths[0].clone(), 1)));
    let reasons: Vec<_> = latest.ignored.iter().map(|(_, reason)| reason.as_str()).collect();
    let expected = [
        "not a checkpoint",
        "half-written",
        "state.json is missing",
        "(truncated?)",
        "state.json: EOF",
        "expected step 9, got 5",
    ];
    assert_eq!(reasons.len(), expected.len(), "{reasons:?}");
    for part in expected {
        assert!(reasons.iter().any(|reason| reason.contains(part)), "{part}: {reasons:?}");
    }
    let (run, _) = RunDir::resume(dir.path()).unwrap();
    assert!(!names(&run.checkpoints()).iter().any(|name| name.starts_with(TEMPORARY)));
}

/// A disk that stops for good before operation `at`, as a killed program does.
fn dying(at: usize, count: Arc<AtomicUsize>) -> Disk {
    Disk::hooked(Box::new(move |_, _| match count.fetch_add(1, Ordering::Relaxed) {
        n if n < at => Ok(()),
        _ => Err(io::Error::other("killed")),
    }))
}

#[test]
fn a_kill_at_any_operation_leaves_a_whole_checkpoint() {
    let mut at = 0;
    loop {
        let dir = tempfile::tempdir().unwrap();
        let mut run = RunDir::create(dir.path(), "").unwrap();
        for step in [1, 2] {
            run.save(&checkpoint(step), KEEP).unwrap();
        }
        let count = Arc::new(AtomicUsize::new(0));
        run.disk = dying(at, count.clone());
        let saved = run.save(&checkpoint(3), KEEP);
        let (mut run, _) = RunDir::resume(dir.path()).unwrap();
        let latest = run.latest().unwrap();
        assert!(latest.ignored.is_empty(), "{at}: {:?}", latest.ignored);
        let (path, step) = latest.found.unwrap();
        assert!(step >= 2, "{at}: {step}");
        assert_eq!(load(&path).unwrap(), checkpoint(step));
        // and the run goes on, to the same folder
        run.save(&checkpoint(3), KEEP).unwrap();
        assert_eq!(steps(&run), [2, 3], "{at}");
        assert_eq!(names(&run.checkpoints()).len(), 2, "{at}");
        if saved.is_ok() {
            break;
        }
        at += 1;
    }
    assert!(at > 15, "only {at} operations were stopped at");
}

#[test]
fn a_kill_while_creating_can_be_repeated() {
    for at in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("run");
        if RunDir::create_on(dying(at, Arc::default()), root.clone(), "x = 1").is_ok() {
            break;
        }
        let created = root.join("config.toml").exists() || RunDir::create(&root, "x = 1").is_ok();
        assert!(created, "{at}");
        assert_eq!(RunDir::resume(root).unwrap().1, "x = 1");
    }
}

#[test]
fn a_full_disk_leaves_the_older_ones() {
    for file in FILES {
        let dir = tempfile::tempdir().unwrap();
        let mut run = RunDir::create(dir.path(), "").unwrap();
        for step in [1, 2] {
            run.save(&checkpoint(step), KEEP).unwrap();
        }
        run.disk = Disk::hooked(Box::new(move |op, path| match op {
            Op::Write if path.ends_with(file) => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }));
        let message = run.save(&checkpoint(3), KEEP).unwrap_err().to_string();
        for part in ["disk full while writing", file, "of step 3", "2 earlier checkpoints", "newest of step 2"] {
            assert!(message.contains(part), "{part}: {message}");
        }
        assert_eq!(steps(&run), [1, 2]);
        assert_eq!(names(&run.checkpoints()).len(), 2);
        run.disk = Disk::real();
        run.save(&checkpoint(3), KEEP).unwrap();
        assert_eq!(steps(&run), [2, 3]);
    }
}
