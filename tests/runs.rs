//! Whole runs of the program on real mp4 files: repeatable to the bit, whatever the threads and however often killed.

mod common;
#[path = "common/smallest.rs"]
mod smallest;

use std::f64::consts::PI;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use common::{failure, mvd, succeed};
use mvd::config::OptimConfig;
use mvd::model::Vit;
use mvd::recipes;
use mvd::train::log::{self, StepRecord};
use mvd::weights::{self, Tensors};
use smallest::{distill, prepare};

fn files(dir: &Path, out: &str) -> Vec<Vec<u8>> {
    let checkpoint = dir.join(out).join("checkpoints/step-12");
    let read = |name: &str| std::fs::read(checkpoint.join(name)).unwrap();
    let log = std::fs::read(dir.join(out).join("log.jsonl")).unwrap();
    vec![read("weights.safetensors"), read("optimizer.safetensors"), read("state.json"), log]
}

#[test]
fn runs_repeat_to_the_bit_whatever_the_threads_and_after_kills() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    prepare(dir);
    let clock = std::time::Instant::now();
    succeed(&mut distill(dir, "one", "1"));
    let length = clock.elapsed();
    let expected = files(dir, "one");
    assert_eq!(String::from_utf8_lossy(&expected[3]).lines().count(), 12);
    succeed(&mut distill(dir, "four", "4"));
    assert_eq!(expected, files(dir, "four"));
    let kept = std::fs::read_dir(dir.join("one/checkpoints")).unwrap().count();
    assert_eq!(kept, 3, "the newest two (9, 12) and every sixth (6, 12) of 3, 6, 9, 12");

    // Killed at moments spread over the run, more often where MVD_KILLS asks for it.
    let kills: u32 = std::env::var("MVD_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(4);
    let run = dir.join("killed");
    for kill in 0..kills {
        let mut child = if run.join("config.toml").exists() {
            mvd().arg("distill").arg("--resume").arg(&run).spawn().unwrap()
        } else {
            // A kill before the config was written leaves nothing to go on with.
            let _ = std::fs::remove_dir_all(&run);
            distill(dir, "killed", "2").spawn().unwrap()
        };
        std::thread::sleep(Duration::from_secs_f64(length.as_secs_f64() * f64::from((kill * 7 + 3) % 10) / 10.0));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let resumed = if run.join("config.toml").exists() {
        succeed(mvd().arg("distill").arg("--resume").arg(&run))
    } else {
        let _ = std::fs::remove_dir_all(&run);
        succeed(&mut distill(dir, "killed", "2"))
    };
    assert!(resumed.contains("student: "), "{resumed}");
    assert_eq!(expected, files(dir, "killed"));
}

#[test]
fn recomputed_activations_change_no_bit() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    prepare(dir);
    succeed(&mut distill(dir, "kept", "2"));
    succeed(distill(dir, "recomputed", "2").arg("--recompute"));
    assert_eq!(files(dir, "kept"), files(dir, "recomputed"));
    // One micro-batch a step, as a classifier, and deep enough to be worth it.
    let tune = |more: &[&str]| {
        let mut command = mvd();
        command.args(["finetune", "--size", "32,8,2", "--patch", "16", "--input-size", "64", "--frames", "8"]);
        command.args(["--stride", "2", "--classes", "100", "--batch", "2", "--steps", "3", "--drop-path", "0.3"]);
        command.args(more).arg("--data").arg(dir.join("set/list.txt"));
        command
    };
    for (more, out) in [(&[][..], "tuned"), (&["--recompute"][..], "tuned again")] {
        succeed(tune(more).arg("--out").arg(dir.join(out)));
    }
    let weights = |run: &str| std::fs::read(dir.join(run).join("checkpoints/step-3/weights.safetensors")).unwrap();
    assert!(weights("tuned") == weights("tuned again"));
    let text = succeed(&mut tune(&["--dry-run"]));
    // The first total is the memory's, in MiB as well; the second counts dispatches.
    let number = |line: &str| -> f64 {
        let line = text.lines().find(|l| l.contains(line)).unwrap();
        line.split_whitespace().find_map(|word| word.parse().ok()).unwrap()
    };
    let (kept, recomputed) = (number("  total  "), number("with --recompute:"));
    assert!(recomputed < 0.8 * kept, "{recomputed} MiB for {kept}: {text}");
}

/// Four steps held against the formulas of AdamW, its schedules, its groups of parameters and the averages of weights.
#[test]
fn steps_are_those_that_the_config_asks_for() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    succeed(mvd().args(["synth", "--count", "12"]).arg(dir.join("set")));
    let mut config = recipes::finetune("finetune-tiny").unwrap();
    config.encoder = Vit { dim: 32, depth: 2, heads: 2, mlp_ratio: 4 };
    (config.data.frames, config.data.stride, config.data.input_size, config.data.patch) = (4, 3, 32, 16);
    (config.layer_decay, config.ema, config.save.every, config.save.keep_last) = (0.5, 0.75, 1, 9);
    let ([b1, b2], eps, clip_grad) = ([0.8, 0.95], 1e-5, 0.05);
    let optim = OptimConfig { batch: 4, accumulate: 2, epochs: 4, steps: 4, warmup_epochs: 2.0, ..config.optim };
    let optim = OptimConfig { lr: 0.032, min_lr: 0.0064, betas: [b1, b2], eps, clip_grad, ..optim };
    config.optim = OptimConfig { weight_decay: 0.5, weight_decay_end: 0.1, ..optim };
    let file = dir.join("steps.toml");
    std::fs::write(&file, toml::to_string(&config).unwrap()).unwrap();
    let run = dir.join("run");
    let mut tune = mvd();
    tune.args(["finetune", "--config"]).arg(file).arg("--data").arg(dir.join("set/list.txt")).arg("--out").arg(&run);
    succeed(&mut tune);

    let log: Vec<StepRecord> = log::read(&run.join("log.jsonl")).unwrap();
    for (i, record) in log.iter().enumerate() {
        // Of 8 videos; two steps of warm-up, half a cosine over the others; decay without warm-up.
        let decay = 0.1 + 0.2 * (1.0 + (PI * i as f64 / 4.0).cos());
        let off = [record.lr - [0.0, 1e-3, 1e-3, 6e-4][i], record.weight_decay - decay];
        assert!(off.iter().all(|off| off.abs() < 1e-9), "{record:?}");
    }
    let load = |step: usize, name: &str| {
        weights::load(run.join(format!("checkpoints/step-{step}/{name}.safetensors"))).unwrap()
    };
    let first = load(1, "optimizer");
    let moments = first.iter().filter(|(name, _)| name.starts_with("exp_avg.")).flat_map(|(_, tensor)| &tensor.data);
    let norm = moments.map(|m| f64::from(*m).powi(2)).sum::<f64>().sqrt() / (1.0 - b1);
    assert!(log[0].grad_norm > clip_grad && (norm - clip_grad).abs() < 1e-4, "{norm} of {}", log[0].grad_norm);
    for step in 2..=4 {
        let [old, new] = [step - 1, step].map(|at| ["weights", "optimizer", "ema"].map(|name| load(at, name)));
        let corrections = [b1, b2].map(|b: f64| 1.0 - b.powi(step as i32));
        for (name, weight) in new[0].iter() {
            let layers = [("patch_embed", 3), ("blocks.0", 2), ("blocks.1", 1)];
            let below = layers.iter().find(|(start, _)| name.starts_with(start)).map_or(0, |(_, below)| *below);
            let lr = log[step - 1].lr * 0.5f64.powi(below);
            let decay = if weight.shape.len() > 1 { log[step - 1].weight_decay } else { 0.0 };
            let [m, v] = ["exp_avg", "exp_avg_sq"].map(|moment| format!("{moment}.{name}"));
            for i in 0..weight.data.len() {
                let value = |of: &Tensors, name: &str| f64::from(of.get(name).unwrap().data[i]);
                let of = |of: &[Tensors; 3]| {
                    [value(&of[0], name), value(&of[1], &m), value(&of[1], &v), value(&of[2], name)]
                };
                let ([w0, m0, v0, e0], [w1, m1, v1, e1]) = (of(&old), of(&new));
                let gradient = (m1 - b1 * m0) / (1.0 - b1);
                let squares = b2 * v0 + (1.0 - b2) * gradient * gradient;
                let update = lr * m1 / corrections[0] / ((v1 / corrections[1]).sqrt() + eps);
                let off = [w1 - (w0 * (1.0 - lr * decay) - update), e1 - (e0 + 0.25 * (w1 - e0)), v1 - squares];
                let most =
                    [3e-7 * w0.abs().max(1.0) + 1e-3 * update.abs(), 3e-7 * w0.abs().max(1.0), 1e-4 * v1 + 1e-12];
                assert!((0..3).all(|k| off[k].abs() <= most[k]), "step {step}, {name}[{i}]: off by {off:?}, {most:?}");
            }
        }
    }
}

#[test]
fn losses_fall_and_are_logged() {
    let dir = tempfile::tempdir().unwrap();
    prepare(dir.path());
    let text = succeed(distill(dir.path(), "run", "2").args(["--steps", "40", "--drop-path", "0"]));
    assert!(text.contains("40 steps of 4 clips") && text.contains("learning rate"), "{text}");
    let log = std::fs::read_to_string(dir.path().join("run/log.jsonl")).unwrap();
    let losses: Vec<f64> = log
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["loss"].as_f64().unwrap())
        .collect();
    assert_eq!(losses.len(), 40);
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    assert!(mean(&losses[35..]) < 0.8 * mean(&losses[..5]), "{losses:?}");
}

#[test]
fn bad_input_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    prepare(dir);
    let with = |args: &[&str]| {
        let mut command = distill(dir, "bad", "1");
        command.args(args);
        command
    };
    let empty: PathBuf = dir.join("empty.txt");
    std::fs::write(&empty, "# nothing\n").unwrap();
    let empty = empty.display().to_string();
    let cut = dir.join("cut.safetensors");
    let whole = std::fs::read(dir.join("image")).unwrap();
    std::fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    let cut = cut.display().to_string();
    let audio = Path::new("assets/clips/audio_only.mp4").canonicalize().unwrap().display().to_string();
    for (args, expected) in [
        (vec!["--data", "/no/such/list.txt"], "/no/such/list.txt: no such file or folder"),
        (vec!["--data", &empty], "names no video"),
        (vec!["--data", &audio], "no video track"),
        (vec!["--mask-ratio", "0"], "mask ratio"),
        (vec!["--mask-ratio", "1"], "mask ratio"),
        (vec!["--frames", "5"], "--frames: expected a multiple of the tubelet, 2, got 5"),
        (vec!["--input-size", "33"], "--input-size: expected a multiple of the patch, 16, got 33"),
        (vec!["--student", "bass"], "unknown size `bass`"),
        (vec!["--image-teacher", &cut], "cut.safetensors"),
        (vec!["--image-teacher-size", "64,2,2"], "--image-teacher-size says 64,2,2, the file has 32,1,"),
        (vec!["--batch", "2000000"], "allows"),
        (vec!["--adapter", "no such GPU"], "no adapter matches `no such GPU`"),
    ] {
        let _ = std::fs::remove_dir_all(dir.join("bad"));
        let text = failure(&mut with(&args)).to_lowercase();
        let wanted = expected.to_lowercase().replace("mask ratio", "mask");
        assert!(text.contains(&wanted), "{args:?}: {text}");
    }
}

#[test]
fn a_dry_run_prints_the_published_models() {
    for (student, decoder, teacher, parameters) in [
        ("small", "384,2,6", "base", "student"),
        ("base", "768,2,12", "base", "student"),
        ("large", "512,4,8", "large", "student"),
    ] {
        let mut command = mvd();
        command.args(["distill", "--dry-run", "--batch", "1", "--student", student, "--decoder", decoder]);
        command.args(["--image-teacher-size", teacher, "--video-teacher-size", teacher]);
        let text = succeed(&mut command);
        for part in [parameters, "activations as planned", "attention.forward", "GFLOP"] {
            assert!(text.contains(part), "{student}: no `{part}` in {text}");
        }
    }
    // The published batch of 1024 in parts that fit.
    let mut auto = mvd();
    auto.args([
        "distill",
        "--dry-run",
        "--recipe",
        "mvd-small-from-base-k400",
        "--accumulate",
        "auto",
        "--memory",
        "8",
    ]);
    let text = succeed(&mut auto);
    assert!(text.contains("one step of 1024 clips, micro-batches of "), "{text}");
    assert!(!text.contains("micro-batches of 1:") && !text.contains("micro-batches of 1024:"), "{text}");
    let text = failure(auto.args(["--memory", "0.1"]));
    assert!(text.contains("--accumulate auto: a micro-batch of 1 is planned to take"), "{text}");
    let mut huge = mvd();
    huge.args(["distill", "--dry-run", "--batch", "1", "--student", "huge", "--decoder", "640,8,8"]);
    huge.args(["--image-teacher-size", "huge", "--video-teacher-size", "huge", "--image-teacher-patch", "14"]);
    succeed(huge.args(["--image-teacher-input-size", "196"]));
}

/// All stages one after the other, each from what the one before wrote.
#[test]
fn the_whole_pipeline_runs() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    succeed(mvd().args(["synth", "--count", "16"]).arg(path("set")));
    let list = path("set/list.txt");
    let run = |args: &[&str], out: &str| {
        let common = ["--steps", "6", "--batch", "4", "--save-every", "4", "--input-size", "32", "--patch", "16"];
        let mut command = mvd();
        command.args(args).args(common).arg("--data").arg(&list).arg("--out").arg(path(out));
        command
    };
    let clips = ["--frames", "4", "--stride", "3"];
    let weights = |run: &str| path(run).join("checkpoints/step-6/weights.safetensors");
    let stage_one = |kind: &str, more: &[&str], out: &str| {
        let sizes = ["--size", "32,2,2", "--decoder", "16,1,1", "--mask-ratio", "0.5"];
        succeed(run(&["pretrain", kind], out).args(sizes).args(more));
    };
    stage_one("image", &[], "image");
    stage_one("video", &clips, "video");
    for kind in ["image", "video"] {
        let text = succeed(mvd().arg("inspect").arg(weights(kind)));
        let teacher = text.lines().find(|l| l.contains(&format!("mvd distill --{kind}-teacher")));
        assert!(text.contains("dim 32, depth 2") && teacher.is_some_and(|l| l.ends_with("complete")), "{text}");
    }
    let sizes = ["--image-teacher-size", "32,2,2", "--video-teacher-size", "32,2,2", "--mask-ratio", "0.5"];
    let mut distill = run(&["distill", "--student", "32,2,2", "--decoder", "16,1,1"], "student");
    distill.args(clips).args(sizes).arg("--image-teacher").arg(weights("image"));
    succeed(distill.arg("--video-teacher").arg(weights("video")));

    let finetune = |out: &str, more: &[&str]| {
        let mut command = run(&["finetune", "--recipe", "finetune-tiny", "--size", "32,2,2"], out);
        command.args(clips).args(["--mixup", "0.8", "--cutmix", "1", "--repeats", "2", "--head-dropout", "0.1"]);
        command.args(["--augment", "rand-m7-n4-mstd0.5-inc1", "--color-jitter", "0.4"]);
        command.args(more).arg("--val").arg(&list);
        command
    };
    succeed(finetune("classes", &["--ema", "0.5"]).arg("--init").arg(weights("student")));
    succeed(finetune("of-teacher", &["--model", "videomae"]).arg("--init").arg(weights("video")));
    let validations = std::fs::read_to_string(path("classes/validation.jsonl")).unwrap();
    let last: serde_json::Value = serde_json::from_str(validations.lines().last().unwrap()).unwrap();
    assert!(last["step"] == 6 && last["top5"].as_f64().is_some() && last["ema_top1"].is_number(), "{validations}");

    let confusion = path("confusion.csv");
    let text = succeed(
        mvd().arg("eval").arg(path("classes")).args(["--clips", "2", "--crops", "3", "--confusion"]).arg(&confusion),
    );
    assert!(text.contains("16 videos, 2 x 3 views: top-1"), "{text}");
    let table = std::fs::read_to_string(&confusion).unwrap();
    assert_eq!(table.lines().next(), Some("label,0,1,2,3,4,5,6,7,8,9"));
    let numbers = |line: &str| line.split(',').skip(1).map(|n| n.parse().unwrap()).collect();
    let counts: Vec<Vec<usize>> = table.lines().skip(1).map(numbers).collect();
    assert_eq!((counts.len(), counts.iter().flatten().sum::<usize>()), (10, 16));
    let text =
        succeed(mvd().arg("predict").arg(path("classes")).arg(path("set/clips/000003.mp4")).args(["--top", "3"]));
    assert!(text.contains("000003.mp4:") && text.matches('%').count() == 3, "{text}");

    for (kind, columns) in [("image", 3), ("video", 4)] {
        let sheet = path(kind).with_extension("png");
        let mut show = mvd();
        show.args(["show", "reconstruction"])
            .arg(path(kind))
            .arg(path("set/clips/000001.mp4"))
            .args(["--images", "3", "--out"]);
        succeed(show.arg(&sheet));
        let sheet = image::open(sheet).unwrap();
        assert_eq!((sheet.width(), sheet.height()), (columns * 34 + 2, 3 * 34 + 2), "{kind}");
    }
    let video = path("set/clips/000001.mp4");
    let mut similarity = mvd();
    similarity.args(["show", "similarity"]).args(["image", "video", "student", "classes"].map(path));
    let clip = ["--frames", "4", "--stride", "3", "--out"];
    let text = succeed(similarity.arg("--video").arg(&video).args(clip).arg(path("similarity.png")));
    assert_eq!(text.matches("between different frames").count(), 4, "{text}");
    for model in ["image", "student"] {
        let mut attention = mvd();
        attention.args(["show", "attention"]).arg(path(model)).arg(&video).args(["--query", "1,0,1"]).args(clip);
        succeed(attention.arg(path("attention.png")));
        let sheet = image::open(path("attention.png")).unwrap();
        assert_eq!((sheet.width(), sheet.height()), (3 * (2 * 34 + 2), 3 * (2 * 34 + 2)), "{model}");
    }
    let text = failure(mvd().args(["show", "attention"]).arg(path("student")).arg(&video).args(["--query", "2,0,0"]));
    assert!(text.contains("--query: expected time,row,column, each under [2, 2, 2], got 2,0,0"), "{text}");
    let curves = path("curves.png");
    succeed(mvd().arg("plot").args([path("classes"), path("of-teacher")]).arg("--out").arg(&curves));
    assert_eq!(image::open(&curves).unwrap().width(), 1280);
    let text = failure(mvd().arg("plot").arg(path("set")));
    assert!(text.contains("no step is logged"), "{text}");
    for weights in ["newest", "ema", "best"] {
        let text = succeed(mvd().arg("eval").arg(path("classes")).args(["--weights", weights]));
        assert!(text.contains("top-1"), "{weights}: {text}");
    }
    let text = failure(mvd().arg("eval").arg(path("of-teacher")).args(["--weights", "ema"]));
    assert!(text.contains("the run keeps no average of its weights"), "{text}");

    let encoder = ["--heads", "2", "--frames", "4", "--stride", "3", "--input-size", "32", "--weights"];
    for model in ["student", "video", "classes"] {
        let mut probe = mvd();
        probe.arg("probe").arg("--train").arg(&list).arg("--test").arg(&list).args(["--neighbours", "1"]);
        let text = succeed(probe.args(encoder).arg(weights(model)));
        // Each video is its own nearest neighbour.
        assert!(text.contains("1 neighbours     100.00 %"), "{model}: {text}");
    }
    let mut features = mvd();
    features.arg("features").arg(path("features")).arg("--data").arg(&list).args(encoder);
    let text = succeed(features.arg(weights("student")));
    assert!(text.contains("features (16 x 32) of 16 videos"), "{text}");
    let text = failure(mvd().args(["features", "x", "--data", "."]).args(encoder).arg(weights("image")));
    assert!(text.contains("expected a model of clips, got an MAE") || text.contains("no videos"), "{text}");

    // Gone on with after its first checkpoint, a run ends at the same bits.
    let ends = || {
        let files =
            ["checkpoints/step-6/weights.safetensors", "checkpoints/step-6/ema.safetensors", "best.safetensors"];
        files.map(|file| std::fs::read(path("classes").join(file)).unwrap())
    };
    let whole = ends();
    assert_ne!(whole[0], whole[1], "an average lags behind");
    std::fs::remove_dir_all(path("classes/checkpoints/step-6")).unwrap();
    succeed(mvd().arg("finetune").arg("--resume").arg(path("classes")));
    assert!(whole == ends(), "a run that was gone on with ends elsewhere");

    let text = failure(finetune("bad", &["--classes", "3"]).arg("--init").arg(weights("student")));
    assert!(text.contains("there are 3 classes: say --classes"), "{text}");
    let text = failure(finetune("bad-init", &[]).arg("--init").arg(weights("image")));
    assert!(text.contains("expected a model of clips, got an MAE"), "{text}");
}

/// One index serves training, validating and testing; what it says of a file that has changed since does not count.
#[test]
fn an_index_serves_training_and_testing() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    succeed(mvd().args(["synth", "--count", "12"]).arg(path("set")));
    let video = path("set/clips/000003.mp4").canonicalize().unwrap();
    let about = video.metadata().unwrap();
    let modified = about.modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let index = |age: u64, fact: &str| {
        let (path, bytes) = (serde_json::to_string(&video).unwrap(), about.len());
        format!(r#"{{"path": {path}, "bytes": {bytes}, "modified": {}, {fact}}}"#, modified - age)
    };
    let unreadable = r#""unreadable": "000003.mp4: is haunted""#;
    let empty = r#""known": {"container": "avi", "codec": "none", "times": [], "seekable": false}"#;
    let mut run = mvd();
    run.args(["finetune", "--recipe", "finetune-tiny", "--size", "32,1,2", "--steps", "2", "--batch", "12"]);
    run.args(["--input-size", "32", "--patch", "16", "--frames", "4", "--stride", "3", "--repeats", "1"]);
    run.arg("--data").arg(path("set/list.txt")).arg("--val").arg(path("set/list.txt")).arg("--out").arg(path("run"));
    std::fs::write(path("index.jsonl"), index(0, unreadable)).unwrap();
    let said = |command: &mut Command| {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned())
    };
    let [_, warnings] = said(run.arg("--index").arg(path("index.jsonl")));
    for place in ["skipped, another clip takes its place", "not counted"] {
        let expected = format!("{place}: 000003.mp4: is haunted (as the index says)");
        assert!(warnings.contains(&expected), "{warnings}");
    }

    let eval = |more: &[&str], index: Option<String>| {
        let mut command = mvd();
        command.arg("eval").arg(path("run")).args(["--clips", "1", "--crops", "1"]).args(more);
        if let Some(text) = index {
            std::fs::write(path("other.jsonl"), text).unwrap();
            command.arg("--index").arg(path("other.jsonl"));
        }
        command
    };
    let list = path("set/list.txt").display().to_string();
    for (more, index, read, reason) in [
        (vec![], None, 11, "is haunted"),
        (vec!["--data", &list], None, 12, ""),
        (vec![], Some(index(0, empty)), 11, "has 0 frames"),
        (vec![], Some(index(1, unreadable)), 12, ""),
    ] {
        let [text, warnings] = said(&mut eval(&more, index));
        assert!(text.contains(&format!("{read} videos, 1 x 1 views")) && warnings.contains(reason), "{text}{warnings}");
    }
    let text = failure(&mut eval(&[], Some("{}".to_owned())));
    assert!(text.contains("other.jsonl, line 1: expected an entry"), "{text}");
}

/// Every recipe prints as a config that the program takes back.
#[test]
fn recipes_are_listed_and_given_back() {
    let text = succeed(mvd().arg("recipes"));
    assert!(text.lines().count() >= 25 && text.contains("mvd-base-from-base-k400"), "{text}");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("recipe.toml");
    let toml = succeed(mvd().args(["recipes", "mvd-huge-from-huge-k400"]));
    std::fs::write(&file, &toml).unwrap();
    let dry = |command: &mut Command| succeed(command.args(["--dry-run", "--batch", "1"]));
    let of_file = dry(mvd().args(["distill", "--config"]).arg(&file));
    assert_eq!(of_file, dry(mvd().args(["distill", "--recipe", "mvd-huge-from-huge-k400"])));
    assert!(of_file.contains("size = 196"), "{of_file}");
    std::fs::write(&file, toml.replace("drop_path", "drop_paths")).unwrap();
    let text = failure(mvd().args(["distill", "--dry-run", "--config"]).arg(&file));
    assert!(text.contains("recipe.toml") && text.contains("did you mean drop_path?"), "{text}");
    let text = failure(mvd().args(["distill", "--recipe", "mvd-small-finetune-k400"]));
    assert!(text.contains("unknown recipe `mvd-small-finetune-k400`"), "{text}");
}

#[test]
fn a_selftest_fails_on_a_wrong_tensor() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("wrong.safetensors");
    let mut data = std::fs::read("assets/reference/mvd.safetensors").unwrap();
    succeed(mvd().args(["selftest", "--reference", "assets/reference/mvd.safetensors"]));
    let middle = data.len() - 2000;
    data[middle..middle + 4].copy_from_slice(&9f32.to_le_bytes());
    std::fs::write(&path, data).unwrap();
    std::fs::copy("assets/reference/mvd.json", path.with_extension("json")).unwrap();
    let text = failure(mvd().args(["selftest", "--reference"]).arg(&path));
    assert!(text.contains("comparisons failed"), "{text}");
}
