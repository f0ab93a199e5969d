//! `--weights`: which of a run's weights, or of a file's copies of a model, training starts or learns from.

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use common::{failure, mvd, succeed};
use mvd::weights::{self, HostTensor, Tensors};

const ASSETS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets");

fn list(dir: &Path) -> std::path::PathBuf {
    let path = dir.join("list.txt");
    std::fs::write(&path, format!("{ASSETS}/clips/high_bframes.mp4 0\n").repeat(2)).unwrap();
    path
}

fn config(run: &Path) -> toml::Table {
    std::fs::read_to_string(run.join("config.toml")).unwrap().parse().unwrap()
}

#[test]
fn a_classifier_starts_from_the_weights_that_are_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, list) = (dir.path(), list(dir.path()));
    let tune = |out: &str, more: &[&str]| {
        let mut tune = mvd();
        tune.args(["finetune", "--recipe", "finetune-tiny", "--model", "mvd", "--size", "32,2,2", "--patch", "4"]);
        tune.args(["--frames", "4", "--input-size", "16", "--classes", "2", "--batch", "1", "--data"]).arg(&list);
        tune.arg("--out").arg(dir.join(out)).args(more);
        tune
    };
    succeed(&mut tune("first", &["--steps", "3", "--lr", "4", "--ema", "0.9"]));
    let first = dir.join("first");
    let first = first.to_str().unwrap();
    let load = |file: &str| weights::load(dir.join(file)).unwrap();
    let encoder =
        |tensors: Tensors| -> Tensors { tensors.into_iter().filter(|(name, _)| !name.starts_with("head.")).collect() };
    let averaged = encoder(load("first/checkpoints/step-3/ema.safetensors"));
    let plain = encoder(load("first/checkpoints/step-3/weights.safetensors"));
    assert!(averaged != plain && averaged.len() == plain.len());
    // A step of no length leaves what the run began with.
    let still = ["--steps", "1", "--lr", "0", "--min-lr", "0", "--weight-decay", "0", "--warmup-epochs", "0"];
    for (which, expected, file) in
        [("ema", &averaged, "ema"), ("plain", &plain, "weights"), ("newest", &plain, "weights")]
    {
        succeed(tune(which, &still).args(["--init", first, "--weights", which]));
        let began = encoder(load(&format!("{which}/checkpoints/step-1/weights.safetensors")));
        assert!(began == *expected, "{which}");
        let config = config(&dir.join(which));
        assert!(config["init"].as_str().unwrap().ends_with(&format!("step-3/{file}.safetensors")), "{config}");
        assert_eq!(config["init_which"].as_str(), Some(if which == "ema" { "ema" } else { "newest" }));
    }
    // Going on keeps to it.
    let resume = |more: &[&str]| {
        let mut resume = mvd();
        resume.args(["finetune", "--resume"]).arg(dir.join("ema")).args(more);
        resume
    };
    succeed(&mut resume(&["--steps", "2"]));
    assert!(failure(&mut resume(&["--weights", "plain"])).contains("--weights: would make it another run"));
    let text = failure(tune("none", &still).args(["--init", first, "--weights", "best"]));
    assert!(text.contains("best.safetensors: not there: no validation yet"), "{text}");
    let text = failure(tune("none", &still).args(["--weights", "ema"]));
    assert!(text.contains("--weights: expected --init, whose weights it chooses, got none"), "{text}");
}

fn halved(tensors: &Tensors) -> Tensors {
    let half = |t: &HostTensor| HostTensor { shape: t.shape.clone(), data: t.data.iter().map(|v| v / 2.0).collect() };
    tensors.iter().map(|(name, tensor)| (name.to_owned(), half(tensor))).collect()
}

#[test]
fn a_teacher_is_the_copy_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, list) = (dir.path(), list(dir.path()));
    let all = weights::load(format!("{ASSETS}/reference/mae.safetensors")).unwrap();
    let model: Tensors =
        all.into_iter().filter_map(|(name, t)| Some((name.strip_prefix("model.")?.to_owned(), t))).collect();
    let average = halved(&model);
    let under = |prefix: &'static str, tensors: &Tensors| -> Vec<(String, HostTensor)> {
        tensors.iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor.clone())).collect()
    };
    let both: Tensors = [under("model.", &model), under("model_ema.module.", &average)].concat().into_iter().collect();
    for (file, tensors) in [("both", &both), ("plain", &model), ("average", &average)] {
        weights::save(dir.join(file), tensors, &BTreeMap::new()).unwrap();
    }
    let distill = |teacher: &str, out: &str, more: &[&str]| -> Command {
        let mut distill = mvd();
        distill.args([
            "distill",
            "--steps",
            "1",
            "--batch",
            "1",
            "--frames",
            "4",
            "--stride",
            "3",
            "--input-size",
            "16",
        ]);
        distill.args(["--patch", "4", "--student", "32,1,2", "--decoder", "16,1,1", "--mask-ratio", "0.5"]);
        distill.args(["--image-teacher-size", "32,2,2", "--video-weight", "0", "--data"]).arg(&list);
        distill.arg("--image-teacher").arg(dir.join(teacher)).arg("--out").arg(dir.join(out)).args(more);
        distill
    };
    let loss = |teacher: &str, out: &str, more: &[&str]| {
        succeed(&mut distill(teacher, out, more));
        let log = std::fs::read_to_string(dir.join(out).join("log.jsonl")).unwrap();
        let first: serde_json::Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
        first["loss"].as_f64().unwrap()
    };
    let [plain, average] = [loss("plain", "1", &[]), loss("average", "2", &[])];
    assert_ne!(plain, average);
    assert_eq!(loss("both", "3", &[]), plain);
    assert_eq!(loss("both", "4", &["--weights", "ema"]), average);
    assert_eq!(config(&dir.join("4"))["image_teacher"]["which"].as_str(), Some("ema"));
    let mut resume = mvd();
    succeed(resume.args(["distill", "--steps", "2", "--resume"]).arg(dir.join("4")));
    let text = failure(&mut distill("plain", "5", &["--weights", "ema"]));
    assert!(text.contains("no weights averaged over steps"), "{text}");
}
