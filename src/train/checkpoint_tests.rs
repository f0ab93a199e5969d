//! Kills at every file operation, full disks, pruning.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::disk::Op;
use super::*;
use crate::weights::{HostTensor, LazyTensor};

fn checkpoint(step: usize) -> Checkpoint<HostTensor> {
    let tensor = HostTensor { shape: vec![2, 3], data: vec![step as f32; 6] };
    let tensors = |names: &[&str]| names.iter().map(|n| (n.to_string(), tensor.clone())).collect();
    Checkpoint {
        weights: tensors(&["norm.weight", "blocks.0.attn.q_bias"]),
        optimizer: tensors(&["exp_avg.norm.weight", "exp_avg_sq.norm.weight"]),
        ema: None,
        state: State { step, position: Position { epoch: 1, batch: 5 }, ..State::default() },
    }
}

/// All that a folder has.
fn loaded(folder: &Path) -> Checkpoint<HostTensor> {
    let Checkpoint { state, weights, optimizer, ema } = Checkpoint::load(folder).unwrap();
    let host = |tensors: Tensors<LazyTensor>| tensors.host().unwrap();
    Checkpoint { state, weights: host(weights), optimizer: host(optimizer), ema: ema.map(host) }
}

/// A run directory that is made at once.
fn create_on(disk: Disk, path: &Path, config: &str) -> Result<RunDir, Error> {
    let run = RunDir { disk, ..RunDir::planned(path, config)? };
    run.establish().map(|()| run)
}

fn create(path: &Path, config: &str) -> Result<RunDir, Error> {
    create_on(Disk::real(), path, config)
}

/// The same directory, gone on with.
fn reopened(run: RunDir) -> (RunDir, String) {
    let path = run.path().to_owned();
    drop(run);
    RunDir::open(&path).unwrap()
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
    let run = create(&dir.path().join("run"), "x = 1\n").unwrap();
    assert!(run.latest().unwrap_err().to_string().contains("no whole checkpoint to resume from"));
    let path = run.save(&checkpoint(10), 2, 0).unwrap();
    assert_eq!(loaded(&path), checkpoint(10));
    let first = std::fs::read(path.join("weights.safetensors")).unwrap();
    let again = run.save(&checkpoint(10), 2, 0).unwrap();
    assert_eq!(first, std::fs::read(again.join("weights.safetensors")).unwrap());
    assert_eq!(names(&path), ["optimizer.safetensors", "state.json", "weights.safetensors"]);
    let (run, config) = reopened(run);
    assert_eq!((config.as_str(), run.latest().unwrap()), ("x = 1\n", path));
}

#[test]
fn averages_and_the_best_are_kept_beside() {
    let dir = tempfile::tempdir().unwrap();
    let run = create(dir.path(), "").unwrap();
    let averaged = Checkpoint { ema: Some(checkpoint(7).weights), ..checkpoint(10) };
    let path = run.save(&averaged, 2, 0).unwrap();
    assert_eq!(loaded(&path), averaged);
    assert_eq!(run.weights(Which::Ema).unwrap(), path.join("ema.safetensors"));
    assert!(run.weights(Which::Best).unwrap_err().to_string().contains("best.safetensors: not there"));
    for score in [50.0, 75.0] {
        run.save_best(&checkpoint(score as usize).weights, 10, score).unwrap();
    }
    assert_eq!(weights::load(run.weights(Which::Best).unwrap()).unwrap(), checkpoint(75).weights);
    assert_eq!(names(dir.path()), [".lock", ".lock-holder", "best.safetensors", "checkpoints", "config.toml"]);
    // A cut average makes the checkpoint none.
    std::fs::write(path.join("ema.safetensors"), "cut").unwrap();
    assert!(run.latest().is_err());
    run.save(&checkpoint(20), 2, 0).unwrap();
    assert!(run.weights(Which::Ema).unwrap_err().to_string().contains("keeps no average"));
}

#[test]
fn pruning_keeps_the_newest_and_every_mth() {
    let dir = tempfile::tempdir().unwrap();
    let run = create(dir.path(), "").unwrap();
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
    let message = create(dir.path(), "").err().unwrap().to_string();
    assert!(message.contains("not empty; go on with it by --resume"), "{message}");
    let message = RunDir::open(dir.path()).err().unwrap().to_string();
    assert!(message.contains("config.toml"), "{message}");
}

#[test]
fn what_is_not_whole_is_ignored_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let run = create(dir.path(), "").unwrap();
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
        "its tensors need a file of",
        "state.json: EOF",
        "expected step 9, got 5",
    ];
    assert_eq!(reasons.len(), expected.len(), "{reasons:?}");
    for part in expected {
        assert!(reasons.iter().any(|reason| reason.contains(part)), "{part}: {reasons:?}");
    }
    let (run, _) = reopened(run);
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
        let mut run = create(dir.path(), "").unwrap();
        for step in [1, 2] {
            run.save(&checkpoint(step), 2, 0).unwrap();
        }
        let count = Arc::new(AtomicUsize::new(0));
        run.disk = dying(at, count.clone());
        let saved = run.save(&checkpoint(3), 2, 0);
        let (run, _) = reopened(run);
        let (whole, ignored) = run.survey().unwrap();
        assert!(ignored.is_empty(), "{at}: {ignored:?}");
        let (&step, path) = whole.last_key_value().unwrap();
        assert!(step >= 2, "{at}: {step}");
        assert_eq!(loaded(path), checkpoint(step));
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
        if create_on(dying(at, Arc::default()), &root, "x = 1").is_ok() {
            break;
        }
        let created = root.join("config.toml").exists() || create(&root, "x = 1").is_ok();
        assert!(created, "{at}");
        assert_eq!(RunDir::open(&root).unwrap().1, "x = 1");
    }
}

#[test]
fn a_full_disk_leaves_the_older_ones() {
    for file in FILES {
        let dir = tempfile::tempdir().unwrap();
        let mut run = create(dir.path(), "").unwrap();
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
        let mut run = create(dir.path(), "").unwrap();
        for step in [1, 2] {
            run.save(&checkpoint(step), 2, 0).unwrap();
        }
        run.disk = dying(at, Arc::default());
        let saved = run.save(&checkpoint(2), 2, 0);
        let (run, _) = reopened(run);
        let latest = loaded(&run.latest().unwrap());
        assert!([checkpoint(1), checkpoint(2)].contains(&latest), "{at}");
        if saved.is_ok() {
            break;
        }
    }
}

#[test]
fn a_directory_is_made_when_training_begins_and_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/run");
    let run = RunDir::planned(&path, "x = 1").unwrap();
    run.withdraw();
    assert!(!path.exists());
    run.establish().unwrap();
    assert_eq!(names(&path), [".lock", ".lock-holder", "config.toml"]);
    std::fs::write(path.join("log.jsonl"), "").unwrap();
    std::fs::write(path.join("events.out.tfevents.1.mvd.0"), "header").unwrap();
    run.withdraw();
    assert!(!path.exists());
    // What is not ours stays, and an old run is never taken back.
    drop(run);
    let run = create(&path, "x = 1").unwrap();
    std::fs::write(path.join("notes.txt"), "").unwrap();
    run.withdraw();
    assert_eq!(names(&path), ["notes.txt"]);
    std::fs::remove_file(path.join("notes.txt")).unwrap();
    drop(run);
    let (run, _) = reopened(create(&path, "x = 1").unwrap());
    run.withdraw();
    assert!(path.join("config.toml").exists());
}

#[test]
fn one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let [one, other] = [(); 2].map(|()| RunDir::planned(dir.path(), "x = 1").unwrap());
    one.establish().unwrap();
    let holder = format!("is being trained by process {} (`", std::process::id());
    for message in [other.establish().unwrap_err(), RunDir::open(dir.path()).unwrap_err()].map(|e| e.to_string()) {
        assert!(message.contains(&holder) && message.contains("wait for it or stop it"), "{message}");
    }
    // Looking is for all.
    RunDir::read(dir.path()).unwrap();
    drop(one);
    // The other comes too late, and leaves what is there.
    assert!(matches!(other.establish(), Err(Error::Exists { .. })));
    other.withdraw();
    drop(other);
    RunDir::open(dir.path()).unwrap();
}

#[test]
fn opening_sweeps_what_a_kill_left() {
    let dir = tempfile::tempdir().unwrap();
    let run = create(dir.path(), "x = 1").unwrap();
    for left in ["best.safetensors.tmp-77", "log.jsonl.tmp", "validation.jsonl.tmp", ".tmp-config.toml"] {
        std::fs::write(dir.path().join(left), "half").unwrap();
    }
    std::fs::write(dir.path().join("log.jsonl"), "").unwrap();
    let (_run, _) = reopened(run);
    assert_eq!(names(dir.path()), [".lock", ".lock-holder", "config.toml", "log.jsonl"]);
}

#[test]
fn logs_without_a_checkpoint_are_kept_aside_and_damage_is_no_start() {
    let dir = tempfile::tempdir().unwrap();
    let run = create(dir.path(), "x = 1").unwrap();
    let events = "events.out.tfevents.1.mvd.0";
    [("log.jsonl", ""), (events, "header")].iter().for_each(|(n, t)| std::fs::write(dir.path().join(n), t).unwrap());
    let (mut run, _) = reopened(run);
    assert_eq!((run.newest().unwrap(), run.set_aside()), (None, None), "nothing was logged");
    for again in ["before-1", "before-2"] {
        let logged = [("log.jsonl", "{}\n"), ("best.safetensors", "best")];
        logged.iter().for_each(|(name, text)| std::fs::write(dir.path().join(name), text).unwrap());
        assert_eq!(run.set_aside(), Some(dir.path().join(again)));
        assert!(dir.path().join("log.jsonl").exists(), "not before training begins");
        run.establish().unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join(again).join("log.jsonl")).unwrap(), "{}\n");
        assert!(!dir.path().join("best.safetensors").exists());
    }
    let path = run.save(&checkpoint(3), 2, 0).unwrap();
    assert_eq!(run.newest().unwrap(), Some(path.clone()));
    std::fs::write(path.join("weights.safetensors"), "cut").unwrap();
    let message = run.newest().unwrap_err().to_string();
    for part in ["no checkpoint is whole", "step-3", "remove the folder checkpoints"] {
        assert!(message.contains(part), "{part}: {message}");
    }
}
