//! Weight files as people have them: wrappers, other programs' names, things nobody wants, files that are none.

mod common;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use common::{failure, mvd, succeed};
use mvd::gpu::{AdapterChoice, Arena, Engine, EngineOptions, Gpu, Phase, Plan, Recorder, StepValues};
use mvd::model::classifier::ClassifierArch;
use mvd::model::load::load;
use mvd::model::opened::{Given, Opened};
use mvd::model::step::Pixels;
use mvd::weights::{self, HostTensor, Tensors};
use serde_json::{Value, json};

const ASSETS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets");
const VIDEO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/clips/high_bframes.mp4");
/// The references' sizes; no published model has their width.
const SIZES: [&str; 6] = ["--heads", "2", "--frames", "4", "--input-size", "16"];

/// The model of a reference, under official names, without its own prefix.
fn reference(name: &str) -> Tensors {
    let all = weights::load(format!("{ASSETS}/reference/{name}.safetensors")).unwrap();
    all.into_iter().filter_map(|(name, tensor)| Some((name.strip_prefix("model.")?.to_owned(), tensor))).collect()
}

fn save(path: &Path, tensors: &Tensors) {
    weights::save(path, tensors, &BTreeMap::new()).unwrap();
}

fn renamed(tensors: &Tensors, rename: impl Fn(&str) -> String) -> Tensors {
    tensors.iter().map(|(name, tensor)| (rename(name), tensor.clone())).collect()
}

fn extended(mut tensors: Tensors, more: Tensors) -> Tensors {
    tensors.extend(more);
    tensors
}

fn predict(model: &Path, flags: &[&str]) -> Command {
    let mut command = mvd();
    command.arg("predict").arg(model).arg(VIDEO).arg("--json").args(flags);
    command
}

/// A folder of Hugging Face's of the reference classifier, with names of classes.
fn hugging_face(dir: &Path) -> PathBuf {
    let (source, folder) = (dir.join("source.safetensors"), dir.join("hf"));
    save(&source, &reference("classifier"));
    let mut convert = mvd();
    convert.arg("convert").arg(&source).arg(&folder).args(["--to", "hf", "--model", "videomae"]).args(SIZES);
    succeed(&mut convert);
    configure(&folder, json!({ "id2label": { "0": "jump", "1": "run", "2": "sit", "3": "walk", "4": "wave" } }));
    folder
}

/// Changes a folder's config.json.
fn configure(folder: &Path, changes: Value) {
    let path = folder.join("config.json");
    let mut config = config(folder);
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    std::fs::write(path, config.to_string()).unwrap();
}

fn config(folder: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap()
}

/// The logits of stored clips, by the model as every command opens it.
fn logits(path: &Path, clips: &HostTensor) -> Vec<f32> {
    let opened = Opened::open(path, &Given::default()).unwrap();
    let [batch, frames, _, size, _] = clips.shape[..] else { panic!("{:?}", clips.shape) };
    let arch = ClassifierArch { pixels: Pixels::Normalized, ..opened.classifier(batch).unwrap() };
    let gpu = Arc::new(Gpu::open(&AdapterChoice::from_env()).unwrap());
    let mut rec = Recorder::new(gpu.caps().clone());
    let forward = arch.record_forward(&mut rec).unwrap();
    let mut engine = Engine::new(&gpu, Plan::new(rec), &EngineOptions::default()).unwrap();
    let found = opened.adopt(&forward.params.specs, "", &[]).unwrap();
    load::<_, mvd::eval::Error>(&engine, forward.params.set, Arena::Weight, &found, "").unwrap();
    // (B, T, 3, H, W) to (B, 3, T, H, W).
    let plane = size * size;
    let at = |b: usize, colour: usize, frame: usize| ((b * frames + frame) * 3 + colour) * plane;
    let order = (0..batch).flat_map(|b| (0..3).flat_map(move |c| (0..frames).map(move |t| at(b, c, t))));
    let pixels: Vec<f32> = order.flat_map(|first| clips.data[first..first + plane].to_vec()).collect();
    engine.write(forward.frames, &pixels).unwrap();
    engine.run(Phase::Micro, &StepValues::default()).unwrap();
    engine.read(forward.logits).unwrap()
}

fn close(got: &[f32], expected: &[f32]) {
    let largest = expected.iter().fold(0f32, |most, value| most.max(value.abs()));
    let error = got.iter().zip(expected).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
    assert!(got.len() == expected.len() && error <= 1e-5 * largest, "{error} of {largest}: {got:?} {expected:?}");
}

/// Everything that opens a model opens it alike, whatever stands before its names.
#[test]
fn wrappers_by_commands() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let model = reference("classifier");
    std::fs::write(path("list.txt"), format!("{VIDEO} 0\n")).unwrap();
    let mut plain: Option<[Vec<u8>; 4]> = None;
    for (wrapper, ending) in [
        ("", "safetensors"),
        ("model.", "pth"),
        ("model._orig_mod.", "pth"),
        ("model.module._orig_mod.", "pth"),
        ("state_dict.model.", "safetensors"),
        ("state_dict.backbone.", "safetensors"),
        ("module.net.encoder.", "safetensors"),
        ("state_dict_ema.module.", "safetensors"),
    ] {
        let file = path("wrapped").with_extension(ending);
        match (ending, wrapper.strip_prefix("model.")) {
            ("pth", Some(inner)) => {
                weights::save_pth(&file, &renamed(&model, |name| format!("{inner}{name}"))).unwrap();
            }
            _ => save(&file, &renamed(&model, |name| format!("{wrapper}{name}"))),
        }
        let said = ["--model", "videomae"];
        let inspected = succeed(mvd().arg("inspect").arg(&file).args(said).args(SIZES));
        let under = if wrapper.is_empty() { String::new() } else { format!("official names under {wrapper}*") };
        assert!(inspected.contains(&under) && inspected.contains("video classifier: dim 32"), "{wrapper}: {inspected}");
        let predicted = succeed(predict(&file, &said).args(SIZES)).into_bytes();
        let mut convert = mvd();
        succeed(convert.arg("convert").arg(&file).arg(path("out.safetensors")).args(["--to", "videomae"]).args(said));
        let mut features = mvd();
        features.arg("features").arg(path("features.safetensors")).arg("--data").arg(path("list.txt"));
        succeed(features.arg("--weights").arg(&file).args(said).args(SIZES));
        let mut show = mvd();
        show.args(["show", "attention"]).arg(&file).arg(VIDEO).args(["--query", "0,1,1", "--out"]);
        succeed(show.arg(path("look.png")).args(said).args(SIZES));
        let read = |name: &str| std::fs::read(path(name)).unwrap();
        let made = [predicted, read("out.safetensors"), read("features.safetensors"), read("look.png")];
        assert!(plain.get_or_insert_with(|| made.clone()) == &made, "{wrapper} gives other results");

        let run = path("run");
        let mut tune = mvd();
        tune.args(["finetune", "--recipe", "finetune-tiny", "--steps", "1", "--batch", "1", "--classes", "2"]);
        tune.args(["--size", "32,2,2", "--frames", "4", "--input-size", "16", "--patch", "4", "--out"]).arg(&run);
        succeed(tune.arg("--data").arg(path("list.txt")).arg("--init").arg(&file).args(said));
        std::fs::remove_dir_all(&run).unwrap();
        let mut distill = mvd();
        distill.args(["distill", "--recipe", "mvd-tiny", "--image-weight", "0", "--steps", "1", "--batch", "1"]);
        distill.args(["--student", "32,1,2", "--video-teacher-size", "32,2,2", "--frames", "4", "--input-size", "16"]);
        distill.args(["--patch", "4", "--out"]).arg(&run).arg("--data").arg(path("list.txt"));
        succeed(distill.arg("--video-teacher").arg(&file));
        std::fs::remove_dir_all(&run).unwrap();
    }
    // Plain weights before averages, unless these are asked for.
    let mut other = model.clone();
    other.insert("head.bias", HostTensor { shape: vec![5], data: vec![9.0, 0.0, 0.0, 0.0, 0.0] });
    let both = extended(renamed(&model, |n| format!("model.{n}")), renamed(&other, |n| format!("model_ema.{n}")));
    save(&path("both.safetensors"), &both);
    let flags = ["--model", "videomae", "--heads", "2", "--frames", "4", "--input-size", "16"];
    let [expected, ..] = plain.unwrap();
    assert_eq!(succeed(&mut predict(&path("both.safetensors"), &flags)).into_bytes(), expected);
    let averaged = succeed(predict(&path("both.safetensors"), &flags).args(["--weights", "ema"]));
    assert!(averaged.contains(r#""classes":[{"class":0,"#) && averaged.into_bytes() != expected);
}

#[test]
fn what_is_not_known_is_asked_for_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tuned.pth");
    weights::save_pth(&file, &reference("classifier")).unwrap();
    let clip = ["--frames", "4", "--input-size", "16"];
    let text = failure(&mut predict(&file, &clip));
    assert!(text.contains("tuned.pth") && text.contains("say --model mvd or --model videomae"), "{text}");
    let text = failure(predict(&file, &clip).args(["--model", "mvd"]));
    assert!(text.contains("no published model has its width, 32") && text.contains("say --heads"), "{text}");
    let text = succeed(mvd().arg("inspect").arg(&file));
    assert!(text.contains("model      not known") && text.contains("heads      not known"), "{text}");
    assert!(text.contains("commands ask for --heads, distill for the size: 32,2,HEADS"), "{text}");
    // Fine-tuning asks for the same flag, and takes it.
    let tune = |more: &[&str]| {
        let mut tune = mvd();
        tune.args(["finetune", "--dry-run", "--model", "mvd", "--init"]).arg(&file).args(clip).args(more);
        tune
    };
    assert!(failure(&mut tune(&[])).contains("say --heads"));
    assert!(succeed(&mut tune(&["--heads", "2"])).contains("encoder: 32,2,2, as "));
    // The tables and the heads matter.
    let of = |model: &str, heads: &str| succeed(predict(&file, &clip).args(["--model", model, "--heads", heads]));
    let all = [of("mvd", "2"), of("videomae", "2"), of("videomae", "4")];
    assert!(all[0] != all[1] && all[1] != all[2]);
    // A stored table of MVD tells.
    let mut student = reference("classifier");
    let data = weights::position::sincos_3d([2, 4, 4], 32).unwrap();
    student.insert("pos_embed", HostTensor { shape: vec![1, 32, 32], data });
    weights::save_pth(&file, &student).unwrap();
    let text = succeed(mvd().arg("inspect").arg(&file));
    assert!(
        text.contains("model      mvd (its stored pos_embed)") && text.contains("frames     4 (its stored"),
        "{text}"
    );
    assert_eq!(succeed(predict(&file, &[]).args(["--heads", "2"])), all[0]);
    for args in [&["--model", "videomae", "--heads", "2"][..], &["--heads", "5"]] {
        let text = failure(predict(&file, &[]).args(args));
        assert!(text.contains("expected a model of videomae, got one of mvd") || text.contains("divides 32"), "{text}");
    }
    let mut convert = mvd();
    convert.arg("convert").arg(&file).arg(dir.path().join("hf")).args(["--to", "hf", "--heads", "2"]);
    assert!(failure(&mut convert).contains("MVD's has another position table; --to mvd writes a .pth"));
}

#[test]
fn a_pretrained_videomae_keeps_its_table_when_fine_tuned() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    weights::save_pth(path("videomae.pth"), &reference("videomae")).unwrap();
    std::fs::write(path("list.txt"), format!("{VIDEO} 0\n")).unwrap();
    let tune = |model: &Path, more: &[&str]| {
        let mut tune = mvd();
        tune.args(["finetune", "--recipe", "finetune-tiny", "--steps", "1", "--batch", "1", "--classes", "2"]);
        tune.args(["--frames", "4", "--input-size", "16", "--out"]).arg(path("run"));
        tune.arg("--data").arg(path("list.txt")).arg("--init").arg(model).args(more);
        tune
    };
    let text = failure(&mut tune(&path("videomae.pth"), &["--model", "mvd", "--size", "32,2,2"]));
    assert!(text.contains("expected a model of mvd, got one of videomae"), "{text}");
    assert!(failure(&mut tune(&path("videomae.pth"), &[])).contains("say --heads"));
    succeed(&mut tune(&path("videomae.pth"), &["--size", "32,2,2"]));
    let config = std::fs::read_to_string(path("run/config.toml")).unwrap();
    assert!(config.contains("model = \"videomae\"") && config.contains("patch = 4"), "{config}");
    // The run says it all, to every command.
    let text = succeed(mvd().arg("inspect").arg(path("run")));
    assert!(
        text.contains("model      videomae (the run's config.toml)") && text.contains("heads      2 (the run's"),
        "{text}"
    );
    let predicted = succeed(&mut predict(&path("run"), &[]));
    let mut convert = mvd();
    succeed(convert.arg("convert").arg(path("run")).arg(path("hf")).args(["--to", "hf"]));
    assert_eq!(config_number(&path("hf"), "num_attention_heads"), 2);
    let again = succeed(&mut predict(&path("hf"), &["--stride", &stride(&config)]));
    let shares = |text: &str| -> Vec<f64> {
        let value: Value = serde_json::from_str(text).unwrap();
        value["classes"].as_array().unwrap().iter().map(|c| c["share"].as_f64().unwrap()).collect()
    };
    // transformers' norm before the head adds 1e-5 where ours adds 1e-6.
    assert!(shares(&predicted).iter().zip(shares(&again)).all(|(a, b)| (a - b).abs() < 1e-4), "{predicted} {again}");
    succeed(tune(&path("run"), &[]).args(["--out"]).arg(path("further")));
    let text = failure(&mut tune(&path("run"), &["--size", "32,2,4"]));
    assert!(text.contains("--size: expected 2 attention heads as the run's config.toml says, got 4"), "{text}");
}

fn config_number(folder: &Path, key: &str) -> u64 {
    config(folder)[key].as_u64().unwrap()
}

fn stride(config: &str) -> String {
    config.parse::<toml::Table>().unwrap()["data"]["stride"].as_integer().unwrap().to_string()
}

#[test]
fn a_hugging_face_classifier_is_what_transformers_makes_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let folder = hugging_face(dir.path());
    let io = weights::load(format!("{ASSETS}/hugging_face/classifier_io.safetensors")).unwrap();
    let (clips, expected) = (io.get("input.pixel_values").unwrap(), io.get("output.logits").unwrap());
    close(&logits(&folder, clips), &expected.data);

    let text = succeed(&mut predict(&folder, &["--top", "2"]));
    let value: Value = serde_json::from_str(&text).unwrap();
    let first = &value["classes"][0];
    let names = ["jump", "run", "sit", "walk", "wave"];
    assert_eq!(first["name"], names[first["class"].as_u64().unwrap() as usize], "{text}");
    assert_eq!((value["path"].as_str(), value["classes"].as_array().unwrap().len()), (Some(VIDEO), 2));

    // Paths from standard input, and one that cannot be read.
    let mut command = mvd();
    command.arg("predict").arg(&folder).args(["-", "--json", "--top", "2"]).stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("{VIDEO}\n\n{ASSETS}/clips/audio_only.mp4\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let lines: Vec<Value> =
        String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!output.status.success() && lines.len() == 2, "{lines:?}");
    assert_eq!((&lines[0], &lines[1]["error"]), (&value, &json!("could not be read")));

    // The names that transformers 5 writes.
    let file = folder.join("model.safetensors");
    let newer = |name: &str| name.replace("q_bias", "query.bias").replace("v_bias", "value.bias");
    save(&file, &renamed(&raw(&file), newer));
    assert_eq!(succeed(&mut predict(&folder, &["--top", "2"])), text);
}

/// A safetensors file's tensors under its own names.
fn raw(file: &Path) -> Tensors {
    let bytes = std::fs::read(file).unwrap();
    weights::from_bytes(file, &bytes).unwrap()
}

#[test]
fn what_a_config_says_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let folder = hugging_face(dir.path());
    let file = folder.join("model.safetensors");
    let norm = |name: &str| name.replace("fc_norm.", "videomae.layernorm.");
    save(&file, &renamed(&raw(&file), norm));
    configure(&folder, json!({ "use_mean_pooling": false, "problem_type": "single_label_classification" }));
    let io = weights::load(format!("{ASSETS}/hugging_face/classifier_io.safetensors")).unwrap();
    let clips = io.get("input.pixel_values").unwrap();
    let before = logits(&folder, clips);
    let mean = &io.get("output.logits").unwrap().data;
    assert!(before.iter().zip(mean).any(|(a, b)| (a - b).abs() > 1e-3), "the first token is no mean");
    let written = dir.path().join("written");
    succeed(mvd().arg("convert").arg(&folder).arg(&written).args(["--to", "hf"]));
    assert_eq!(logits(&written, clips), before);
    let (old, new) = (config(&folder), config(&written));
    for key in ["use_mean_pooling", "id2label", "num_attention_heads", "problem_type", "num_frames", "image_size"] {
        assert_eq!(new[key], old[key], "{key}");
    }
    assert_eq!(raw(&written.join("model.safetensors")), raw(&file));
}

/// A PyTorch checkpoint with this pickle; storages are none of this test's.
fn checkpoint(path: &Path, pickle: &[u8]) {
    let mut zip = zip::ZipWriter::new(std::fs::File::create(path).unwrap());
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    zip.start_file("x/data.pkl", stored).unwrap();
    zip.write_all(pickle).unwrap();
    zip.finish().unwrap();
}

#[test]
fn files_that_are_none_are_told_with_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("w.pth");
    let expect = |expected: &str| {
        let text = failure(mvd().arg("inspect").arg(&file));
        assert!(text.contains("w.pth") && text.contains(expected), "{expected}: {text}");
    };
    std::fs::write(&file, "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n").unwrap();
    expect("a Git LFS pointer of a few lines");
    std::fs::write(&file, "<!DOCTYPE html>\n<html>not found</html>").unwrap();
    expect("a web page");
    weights::save_pth(&file, &reference("classifier")).unwrap();
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    expect("has no end");
    checkpoint(&file, b"\x80\x02cmodels.vit\nVisionTransformer\n)\x81}X\x08\0\0\0trainingNsb.");
    expect("a whole Python object, models.vit.VisionTransformer");
    expect("torch.save(model.state_dict(), FILE)");
    let index = dir.path().join("model.safetensors.index.json");
    std::fs::write(&index, r#"{"weight_map": {"x": "model-00001-of-00002.safetensors"}}"#).unwrap();
    let text = failure(mvd().arg("inspect").arg(&index));
    assert!(text.contains("an index whose shards are not beside it: model-00001-of-00002.safetensors"), "{text}");
}

#[test]
fn a_batch_that_does_not_fit_is_halved() {
    let dir = tempfile::tempdir().unwrap();
    let folder = hugging_face(dir.path());
    let small = ["--stride", "1", "--clips", "3", "--batch"];
    let one = succeed(predict(&folder, &small).arg("1"));
    assert_eq!(one, succeed(predict(&folder, &small).arg("2")), "batches change no result");
    // Hidden values of 40,000 clips are 655 MB, more than a binding may have by default.
    let output = predict(&folder, &small).arg("40000").output().unwrap();
    let (text, warning) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("classes"), "{text}{warning}");
    assert!(warning.contains("clips at once is what the adapter takes"), "{warning}");
    let text = failure(predict(&folder, &small).arg("0"));
    assert!(text.contains("--batch: expected at least 1, got 0"), "{text}");
}
