//! ST-MAE: pre-training, its checkpoints, and all that is made from them.

mod common;

use std::path::Path;
use std::process::Command;

use common::{failure, mvd, succeed};
use mvd::weights::{self, HostTensor, Tensors};

const REFERENCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/reference/st_mae.safetensors");
/// 3 x 3 x 3 tokens, of which 2 are seen.
const CLIPS: [&str; 8] = ["--frames", "6", "--stride", "2", "--input-size", "24", "--patch", "8"];

fn set(dir: &Path) {
    succeed(mvd().args(["synth", "--count", "12"]).arg(dir.join("set")));
}

fn pretrain(dir: &Path, out: &str, more: &[&str]) -> Command {
    let mut command = mvd();
    command.args([
        "pretrain",
        "video",
        "--model",
        "st-mae",
        "--recipe",
        "st-mae-tiny",
        "--batch",
        "2",
        "--repeats",
        "2",
    ]);
    command.args(["--size", "36,2,2", "--decoder", "20,1,2", "--mask-ratio", "0.9", "--save-every", "3"]);
    command.args(CLIPS).args(more).arg("--data").arg(dir.join("set/list.txt")).arg("--out").arg(dir.join(out));
    command
}

/// The reference's model as the official program saves it.
fn official() -> Tensors {
    let all = weights::load(REFERENCE).unwrap();
    let own = |(name, tensor): (String, HostTensor)| Some((name.strip_prefix("weight.")?.to_owned(), tensor));
    all.into_iter().filter_map(own).filter(|(name, _)| !name.starts_with("head.")).collect()
}

fn renamed(tensors: &Tensors, rename: impl Fn(&str) -> String) -> Tensors {
    tensors.iter().map(|(name, tensor)| (rename(name), tensor.clone())).collect()
}

fn losses(run: &Path) -> Vec<f64> {
    let log = std::fs::read_to_string(run.join("log.jsonl")).unwrap();
    let loss = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["loss"].as_f64().unwrap();
    log.lines().map(loss).collect()
}

fn falls(run: &Path, to: f64) {
    let losses = losses(run);
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let (first, last) = (mean(&losses[..5]), mean(&losses[losses.len() - 5..]));
    assert!(last < to * first, "{first} to {last}: {losses:?}");
}

#[test]
fn runs_repeat_and_go_on_to_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    set(dir);
    let text = succeed(&mut pretrain(dir, "one", &["--steps", "6", "--threads", "1"]));
    assert!(text.contains("6 steps of 2 videos, 4 clips"), "{text}");
    succeed(&mut pretrain(dir, "two", &["--steps", "6", "--threads", "3", "--recompute"]));
    let ends = |run: &str| {
        let files = ["weights.safetensors", "optimizer.safetensors", "state.json"];
        files.map(|file| std::fs::read(dir.join(run).join("checkpoints/step-6").join(file)).unwrap())
    };
    let whole = ends("one");
    assert!(whole[..2] == ends("two")[..2], "threads or recomputing change the result");
    std::fs::remove_dir_all(dir.join("one/checkpoints/step-6")).unwrap();
    succeed(mvd().args(["pretrain", "video", "--resume"]).arg(dir.join("one")));
    assert!(whole == ends("one"), "a run that was gone on with ends elsewhere");
    let text = failure(mvd().args(["pretrain", "image", "--resume"]).arg(dir.join("one")));
    assert!(text.contains("expected a config of `mvd pretrain image`, got one of st-mae"), "{text}");
    let text = failure(pretrain(dir, "bad", &["--recipe", "videomae-tiny"]).args(["--steps", "1"]));
    assert!(text.contains("`mvd pretrain video` of st-mae, got one of videomae"), "{text}");
}

/// Teacher, student and classifier, one from the other, as every command sees them.
#[test]
fn a_teacher_serves_students_classifiers_and_pictures() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    set(dir.path());
    let (list, video) = (path("set/list.txt"), path("set/clips/000001.mp4"));
    succeed(&mut pretrain(dir.path(), "teacher", &["--steps", "60", "--lr", "0.4"]));
    falls(&path("teacher"), 0.95);
    let text = succeed(mvd().arg("inspect").arg(path("teacher")));
    for part in [
        "ST-MAE: dim 36, depth 2, patches of 2 x 8 x 8, decoder dim 20, depth 1",
        "model      st-mae (its learned pos_embed_spatial and pos_embed_temporal)",
        "positions  learned, separable, for 3 x 9 tokens",
        "frames     6 (the run's config.toml)",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let uses = text.lines().filter(|line| line.ends_with("complete")).count();
    assert_eq!(uses, 4, "distill, finetune, probe, resume: {text}");

    let mut student = mvd();
    student.args(["distill", "--recipe", "mvd-tiny", "--image-weight", "0", "--steps", "40", "--batch", "4"]);
    student.args(["--student", "32,2,2", "--decoder", "16,1,1", "--video-teacher-size", "36,2,2", "--lr", "0.4"]);
    student.args(CLIPS).arg("--data").arg(&list).arg("--out").arg(path("student"));
    succeed(student.arg("--video-teacher").arg(path("teacher")));
    falls(&path("student"), 0.95);
    let config = std::fs::read_to_string(path("student/config.toml")).unwrap();
    assert!(config.contains("video_model = \"st-mae\""), "{config}");

    let tune = |out: &str, more: &[&str]| {
        let mut tune = mvd();
        tune.args(["finetune", "--recipe", "finetune-tiny", "--steps", "4", "--batch", "4", "--head-dropout", "0.1"]);
        tune.args(["--stride", "2", "--layer-decay", "0.75"]).args(more).arg("--data").arg(&list);
        tune.arg("--init").arg(path("teacher")).arg("--out").arg(path(out));
        tune
    };
    let text = succeed(tune("classes", &[]).arg("--val").arg(&list));
    assert!(text.contains("model: st-mae, as") && text.contains("encoder: 36,2,2, as"), "{text}");
    let config = std::fs::read_to_string(path("classes/config.toml")).unwrap();
    for part in ["model = \"st-mae\"", "frames = 6", "input_size = 24", "patch = 8"] {
        assert!(config.contains(part), "{part}: {config}");
    }
    let text = failure(&mut tune("bad", &["--frames", "8"]));
    assert!(text.contains("expected clips of 3 x 9 tokens") && text.contains("got 4 x 9: 8 frames of 24"), "{text}");
    let text = failure(&mut tune("bad", &["--model", "videomae"]));
    assert!(text.contains("expected a model of videomae, got one of st-mae"), "{text}");

    let text = succeed(mvd().arg("inspect").arg(path("classes")));
    assert!(text.contains("pooling    mean over tokens without the class token, then norm"), "{text}");
    let text = succeed(mvd().arg("eval").arg(path("classes")).args(["--clips", "2", "--crops", "3"]));
    assert!(text.contains("12 videos, 2 x 3 views: top-1"), "{text}");
    for model in ["teacher", "classes"] {
        let mut probe = mvd();
        probe.arg("probe").arg("--train").arg(&list).arg("--test").arg(&list).args(["--neighbours", "1", "--weights"]);
        let text = succeed(probe.arg(path(model)));
        assert!(text.contains("1 neighbours     100.00 %"), "{model}: {text}");
    }
    let sheet = path("sheet.png");
    succeed(mvd().args(["show", "reconstruction"]).arg(path("teacher")).arg(&video).arg("--out").arg(&sheet));
    let columns = image::open(&sheet).unwrap().width();
    assert_eq!(columns, 6 * 26 + 2, "a column a frame");
    succeed(mvd().args(["show", "attention"]).arg(path("classes")).arg(&video).arg("--out").arg(&sheet));
    let mut similarity = mvd();
    similarity.args(["show", "similarity"]).args(["teacher", "student", "classes"].map(path));
    let text = succeed(similarity.arg("--video").arg(&video).arg("--out").arg(&sheet));
    assert_eq!(text.matches("between different frames").count(), 3, "{text}");
}

/// The official program's file, SlowFast's, and what is written, hold the same model.
#[test]
fn checkpoints_come_and_go_in_official_names() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let own = official();
    weights::save_pth(path("official.pth"), &own).unwrap();
    let wrapped = renamed(&own, |name| format!("model_state.{name}"));
    weights::save(path("slowfast.safetensors"), &wrapped, &Default::default()).unwrap();
    for (from, to) in [
        ("official.pth", "a.pyth"),
        ("slowfast.safetensors", "b.pyth"),
        ("a.pyth", "c.safetensors"),
        ("b.pyth", "d.pth"),
    ] {
        let mut convert = mvd();
        succeed(convert.arg("convert").arg(path(from)).arg(path(to)).args(["--to", "st-mae", "--heads", "2"]));
    }
    let read =
        |file: &str| renamed(&weights::load(path(file)).unwrap(), |name| name.trim_start_matches("model.").to_owned());
    for file in ["a.pyth", "b.pyth", "c.safetensors", "d.pth"] {
        assert_eq!(read(file), own, "{file}");
    }
    for other in ["mvd", "videomae", "mae", "hf"] {
        let mut convert = mvd();
        convert.arg("convert").arg(path("a.pyth")).arg(path("x")).args(["--to", other, "--heads", "2"]);
        let text = failure(&mut convert);
        assert!(text.contains(&format!("has no form in --to {other}")), "{text}");
    }
    let text = succeed(mvd().arg("inspect").arg(path("b.pyth")).args(["--heads", "2"]));
    assert!(text.contains("frames     6 (its stored pos_embed") && text.contains("size       12 (its"), "{text}");
}

/// A key's bias is read, used and written as it is, whatever is trained; positions are trained.
#[test]
fn key_biases_stay_and_positions_learn() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    set(dir.path());
    let own = official();
    weights::save_pth(path("official.pth"), &own).unwrap();
    let mut tune = mvd();
    tune.args(["finetune", "--recipe", "finetune-tiny", "--steps", "2", "--batch", "2", "--size", "32,2,2"]);
    tune.args(["--stride", "2", "--weight-decay", "0.5"]).arg("--data").arg(path("set/list.txt"));
    succeed(tune.arg("--init").arg(path("official.pth")).arg("--out").arg(path("run")));
    let tuned = weights::load(path("run")).unwrap();
    let same = |name: &str| tuned.get(name).unwrap() == own.get(name).unwrap();
    assert!(same("blocks.0.attn.k.bias") && same("blocks.1.attn.k.bias"));
    for name in [
        "blocks.0.attn.q.bias",
        "blocks.0.attn.k.weight",
        "pos_embed_spatial",
        "pos_embed_temporal",
        "pos_embed_class",
        "cls_token",
        "norm.weight",
    ] {
        assert!(!same(name), "{name} learned nothing");
    }
    assert!(tuned.get("decoder_embed.weight").is_none() && tuned.get("fc_norm.weight").is_none());
}

#[test]
fn the_reference_is_met_and_can_be_missed() {
    let text = succeed(mvd().args(["selftest", "--reference", REFERENCE]));
    for part in ["output.prediction", "output.logits", "grad decoder_pos_embed_spatial", "loss of step 5"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("wrong.safetensors");
    let json = std::fs::read_to_string(REFERENCE.replace("safetensors", "json")).unwrap();
    for name in ["weight.pos_embed_temporal", "grad.pos_embed_class", "grad.blocks.0.attn.k.bias"] {
        let mut tensors = weights::load(REFERENCE).unwrap();
        let mut changed = tensors.remove(name).unwrap();
        changed.data[3] += 0.1;
        tensors.insert(name, changed);
        weights::save(&file, &tensors, &Default::default()).unwrap();
        std::fs::write(file.with_extension("json"), &json).unwrap();
        assert!(failure(mvd().args(["selftest", "--reference"]).arg(&file)).contains("comparisons failed"), "{name}");
    }
    std::fs::write(file.with_extension("json"), json.replace("\"pred_t_dim\": 3", "\"pred_t_dim\": 4")).unwrap();
    let text = failure(mvd().args(["selftest", "--reference"]).arg(&file));
    assert!(text.contains("pred_t_dim: expected a multiple of 3 of at most 6, got 4"), "{text}");
}
