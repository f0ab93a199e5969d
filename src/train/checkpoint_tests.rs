//! Kills at every file operation, full disks, pruning.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::disk::Op;
use super::*;
use crate::weights::HostTensor;

fn checkpoint(step: usize) -> Checkpoint {
    let tensor = HostTensor { shape: vec![2, 3], data: vec![step as f32; 6] };
    let tensors = |names: &[&str]| names.iter().map(|n| (n.to_string(), tensor.clone())).collect();
    Checkpoint {
        weights: tensors(&["norm.weight", "blocks.0.attn.q_bias"]),
        optimizer: tensors(&["exp_avg.norm.weight", "exp_avg_sq.norm.weight"]),
        ema: None,
        state: State { step, position: Position { epoch: 1, batch: 5 } },
    }
}

fn steps(run: &RunDir) -> Vec<usize> {
    run.survey().unwrap().0.into_keys().collect()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| name(&e.unwrap().path())).collect();
    names.sort();
    names
}

#[test]
fn round_trip_and_equal_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::create(&dir.path().join("run"), "x = 1\n").unwrap();
    assert!(run.latest().unwrap_err().to_string().contains("no whole checkpoint to resume from"));
    let path = run.save(&checkpoint(10), 2, 0).unwrap();
    assert_eq!(Checkpoint::load(&path).unwrap(), checkpoint(10));
    let first = std::fs::read(path.join("weights.safetensors")).unwrap();
    let again = run.save(&checkpoint(10), 2, 0).unwrap();
    assert_eq!(first, std::fs::read(again.join("weights.safetensors")).unwrap());
    assert_eq!(names(&path), ["optimizer.safetensors", "state.json", "weights.safetensors"]);
    let (run, config) = RunDir::open(run.path()).unwrap();
    assert_eq!((config.as_str(), run.latest().unwrap()), ("x = 1\n", path));
}

#[test]
fn averages_and_the_best_are_kept_beside() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::create(dir.path(), "").unwrap();
    let averaged = Checkpoint { ema: Some(checkpoint(7).weights), ..checkpoint(10) };
    let path = run.save(&averaged, 2, 0).unwrap();
    assert_eq!(Checkpoint::load(&path).unwrap(), averaged);
    assert_eq!(run.weights(Which::Ema).unwrap(), path.join("ema.safetensors"));
    assert!(run.weights(Which::Best).unwrap_err().to_string().contains("best.safetensors: not there"));
    for score in [50.0, 75.0] {
        run.save_best(&checkpoint(score as usize).weights, 10, score).unwrap();
    }
    assert_eq!(weights::load(run.weights(Which::Best).unwrap()).unwrap(), checkpoint(75).weights);
    assert_eq!(names(dir.path()), ["best.safetensors", "checkpoints", "config.toml"]);
    // A cut average makes the checkpoint none.
    std::fs::write(path.join("ema.safetensors"), "cut").unwrap();
    assert!(run.latest().is_err());
    run.save(&checkpoint(20), 2, 0).unwrap();
    assert!(run.weights(Which::Ema).unwrap_err().to_string().contains("keeps no average"));
}

#[test]
fn pruning_keeps_the_newest_and_every_mth() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::create(dir.path(), "").unwrap();
    for step in (10..=100).step_by(10) {
        run.save(&checkpoint(step), 2, 40).unwrap();
    }
    assert_eq!(steps(&run), [40, 80, 90, 100]);
    run.save(&checkpoint(110), 0, 0).unwrap();
    assert_eq!(steps(&run), [110]);
}

#[test]
fn a_new_run_wants_an_empty_folder() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("notes.txt"), "").unwrap();
    let message = RunDir::create(dir.path(), "").err().unwrap().to_string();
    assert!(message.contains("not empty; go on with it by --resume"), "{message}");
    let message = RunDir::open(dir.path()).err().unwrap().to_string();
    assert!(message.contains("config.toml"), "{message}");
}

#[test]
fn what_is_not_whole_is_ignored_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::create(dir.path(), "").unwrap();
    let paths: Vec<_> = (1..=5).map(|step| run.save(&checkpoint(step), 9, 0).unwrap()).collect();
    std::fs::remove_file(paths[1].join("state.json")).unwrap();
    let weights = std::fs::read(paths[2].join("weights.safetensors")).unwrap();
    std::fs::write(paths[2].join("weights.safetensors"), &weights[..weights.len() - 5]).unwrap();
    std::fs::write(paths[3].join("state.json"), "{").unwrap();
    std::fs::rename(&paths[4], paths[4].with_file_name("step-9")).unwrap();
    std::fs::create_dir(paths[0].with_file_name(".tmp-step-6")).unwrap();
    std::fs::create_dir(paths[0].with_file_name("other")).unwrap();
    assert_eq!(run.latest().unwrap(), paths[0]);
    let (_, ignored) = run.survey().unwrap();
    let reasons: Vec<_> = ignored.iter().map(|(_, reason)| reason.as_str()).collect();
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
    let (run, _) = RunDir::open(dir.path()).unwrap();
    assert!(!names(&run.checkpoints()).iter().any(|name| name.starts_with(TEMPORARY)));
}

/// A disk that stops for good before operation `at`, as a killed program does.
fn dying(at: usize, count: Arc<AtomicUsize>) -> Disk {
    Disk::hooked(Arc::new(move |_, _| match count.fetch_add(1, Ordering::Relaxed) {
        n if n < at => Ok(()),
        _ => Err(std::io::Error::other("killed")),
    }))
}

#[test]
fn a_kill_at_any_operation_leaves_a_whole_checkpoint() {
    let mut at = 0;
    loop {
        let dir = tempfile::tempdir().unwrap();
        let mut run = RunDir::create(dir.path(), "").unwrap();
        for step in [1, 2] {
            run.save(&checkpoint(step), 2, 0).unwrap();
        }
        let count = Arc::new(AtomicUsize::new(0));
        run.disk = dying(at, count.clone());
        let saved = run.save(&checkpoint(3), 2, 0);
        let (run, _) = RunDir::open(dir.path()).unwrap();
        let (whole, ignored) = run.survey().unwrap();
        assert!(ignored.is_empty(), "{at}: {ignored:?}");
        let (&step, path) = whole.last_key_value().unwrap();
        assert!(step >= 2, "{at}: {step}");
        assert_eq!(Checkpoint::load(path).unwrap(), checkpoint(step));
        // and the run goes on, to the same folder
        run.save(&checkpoint(3), 2, 0).unwrap();
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
        if RunDir::create_on(dying(at, Arc::default()), &root, "x = 1").is_ok() {
            break;
        }
        let created = root.join("config.toml").exists() || RunDir::create(&root, "x = 1").is_ok();
        assert!(created, "{at}");
        assert_eq!(RunDir::open(&root).unwrap().1, "x = 1");
    }
}

#[test]
fn a_full_disk_leaves_the_older_ones() {
    for file in FILES {
        let dir = tempfile::tempdir().unwrap();
        let mut run = RunDir::create(dir.path(), "").unwrap();
        for step in [1, 2] {
            run.save(&checkpoint(step), 2, 0).unwrap();
        }
        run.disk = Disk::hooked(Arc::new(move |op, path| match op {
            Op::Write if path.ends_with(file) => Err(ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }));
        let message = run.save(&checkpoint(3), 2, 0).unwrap_err().to_string();
        for part in ["disk full while writing", file, "of step 3", "2 older ones are left whole", "newest of step 2"] {
            assert!(message.contains(part), "{part}: {message}");
        }
        assert_eq!(steps(&run), [1, 2]);
        assert_eq!(names(&run.checkpoints()).len(), 2);
        run.disk = Disk::real();
        run.save(&checkpoint(3), 2, 0).unwrap();
        assert_eq!(steps(&run), [2, 3]);
    }
}

#[test]
fn a_kill_while_a_step_is_saved_again_leaves_one() {
    for at in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let mut run = RunDir::create(dir.path(), "").unwrap();
        for step in [1, 2] {
            run.save(&checkpoint(step), 2, 0).unwrap();
        }
        run.disk = dying(at, Arc::default());
        let saved = run.save(&checkpoint(2), 2, 0);
        let (run, _) = RunDir::open(dir.path()).unwrap();
        let latest = Checkpoint::load(&run.latest().unwrap()).unwrap();
        assert!([checkpoint(1), checkpoint(2)].contains(&latest), "{at}");
        if saved.is_ok() {
            break;
        }
    }
}
