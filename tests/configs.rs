//! Hugging Face's config.json beside weights: what contradicts them is refused, and `mvd inspect` says what commands do.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{failure, mvd, succeed};
use mvd::weights;
use serde_json::{Value, json};

const ASSETS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets");
const VIDEO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/clips/high_bframes.mp4");

/// A folder of Hugging Face's of a reference, as `mvd convert` writes it.
fn folder(dir: &Path, name: &str, model: &[&str]) -> PathBuf {
    let (source, folder) = (dir.join(format!("{name}.safetensors")), dir.join(name));
    let all = weights::load(format!("{ASSETS}/reference/{name}.safetensors")).unwrap();
    let own = all.into_iter().filter_map(|(name, tensor)| Some((name.strip_prefix("model.")?.to_owned(), tensor)));
    weights::save(&source, &own.collect(), &BTreeMap::new()).unwrap();
    let mut convert = mvd();
    convert.arg("convert").arg(&source).arg(&folder).args(["--to", "hf", "--heads", "2", "--decoder-heads", "2"]);
    succeed(convert.args(["--frames", "4", "--input-size", "16"]).args(model));
    folder
}

/// The classifier of five classes, with names.
fn classifier(dir: &Path) -> PathBuf {
    let folder = folder(dir, "classifier", &["--model", "videomae"]);
    let names = ["jump", "run", "sit", "walk", "wave"];
    let labels: Value = names.iter().enumerate().map(|(i, name)| (i.to_string(), json!(name))).collect();
    let numbers: Value = names.iter().enumerate().map(|(i, name)| ((*name).to_owned(), json!(i))).collect();
    configured(&folder, &json!({ "id2label": labels, "label2id": numbers }));
    folder
}

/// Changes a folder's config.json; gives what it was.
fn configured(folder: &Path, changes: &Value) -> Vec<u8> {
    let path = folder.join("config.json");
    let before = std::fs::read(&path).unwrap();
    let mut config: Value = serde_json::from_slice(&before).unwrap();
    config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    std::fs::write(path, config.to_string()).unwrap();
    before
}

fn inspect(folder: &Path) -> Command {
    let mut command = mvd();
    command.arg("inspect").arg(folder);
    command
}

fn predict(folder: &Path) -> Command {
    let mut command = mvd();
    command.arg("predict").arg(folder).arg(VIDEO).args(["--json", "--stride", "1"]);
    command
}

#[test]
fn a_config_that_contradicts_the_tensors_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let folder = classifier(dir.path());
    let names =
        |names: &[&str]| -> Value { names.iter().enumerate().map(|(i, name)| (i.to_string(), json!(name))).collect() };
    for (changes, told) in [
        (json!({ "hidden_size": 64 }), "hidden_size: it says 64, the tensors have 32"),
        (json!({ "num_hidden_layers": 3 }), "num_hidden_layers: it says 3, the tensors have 2"),
        (json!({ "patch_size": 8 }), "patch_size: it says 8, the tensors have 4"),
        (json!({ "patch_size": [4, 8] }), "patch_size: expected one number, or height and width that are equal"),
        (json!({ "image_size": [16, 32] }), "image_size: expected one number, or height and width that are equal"),
        (json!({ "tubelet_size": 1 }), "tubelet_size: it says 1, the tensors have 2"),
        (json!({ "intermediate_size": 99 }), "intermediate_size: it says 99, the tensors have 128"),
        (json!({ "num_channels": 1 }), "num_channels: it says 1, mvd reads frames of 3 colours alone"),
        (json!({ "qkv_bias": false }), "qkv_bias: it says false, the tensors have blocks.0.attn.q_bias"),
        (json!({ "num_labels": 7 }), "num_labels: it says 7, the tensors have 5"),
        (json!({ "hidden_act": "relu" }), "hidden_act: it says relu, mvd computes gelu alone"),
        (json!({ "use_mean_pooling": false }), "use_mean_pooling: it says false, which reads videomae.layernorm"),
        (json!({ "id2label": names(&["a", "b"]) }), "expected a name for each of the 5 classes of the tensors"),
        (json!({ "id2label": names(&["a", "b", "c", "d", "e", "f"]) }), "got 6 names by the indices 0, 1, 2, 3, 4, 5"),
        (json!({ "id2label": { "1": "a", "2": "b", "3": "c", "4": "d", "5": "e" } }), "by the indices 0 to 4, got 5"),
        (json!({ "label2id": { "run": 0 } }), "it gives run the index 0, id2label calls that class jump"),
        (json!({ "num_frames": "4" }), "num_frames: expected a whole number, got \"4\""),
        (json!({ "model_type": "timesformer" }), "expected videomae or vit_mae, the models of transformers"),
        (
            json!({ "model_type": "vit_mae" }),
            "it says vit_mae, the tensors of model.safetensors are of a video classifier",
        ),
    ] {
        let before = configured(&folder, &changes);
        for command in [&mut inspect(&folder), &mut predict(&folder)] {
            let text = failure(command);
            assert!(text.contains("config.json: ") && text.contains(told), "{changes}: {text}");
        }
        std::fs::write(folder.join("config.json"), before).unwrap();
    }
    // All that is wrong is said at once.
    let before = configured(&folder, &json!({ "hidden_size": 64, "hidden_act": "relu" }));
    let text = failure(&mut inspect(&folder));
    assert!(text.contains("does not fit model.safetensors beside it: hidden_size") && text.contains("relu"), "{text}");
    std::fs::write(folder.join("config.json"), before).unwrap();
    // Height and width that are equal are one number.
    configured(&folder, &json!({ "image_size": [16, 16], "patch_size": [4, 4] }));
    assert!(succeed(&mut inspect(&folder)).contains("size       16 (config.json, image_size)"));
    succeed(&mut predict(&folder));
    // Biases that are stated and are not there.
    let file = folder.join("model.safetensors");
    let bytes = std::fs::read(&file).unwrap();
    let raw = weights::from_bytes(&file, &bytes).unwrap();
    let bare = raw.into_iter().filter(|(name, _)| !name.contains("q_bias") && !name.contains("v_bias")).collect();
    weights::save(&file, &bare, &BTreeMap::new()).unwrap();
    assert!(failure(&mut inspect(&folder)).contains("qkv_bias: it says true, the tensors have no such biases"));
}

#[test]
fn inspect_says_what_commands_would_refuse() {
    let dir = tempfile::tempdir().unwrap();
    let folder = classifier(dir.path());
    let verdict = |folder: &Path| {
        let text = succeed(&mut inspect(folder));
        text.lines().find(|line| line.contains("mvd eval, mvd predict")).unwrap().to_owned()
    };
    assert!(verdict(&folder).ends_with("complete"));
    for (key, value, unit, flag) in [("num_frames", 15, 2, "--frames"), ("image_size", 30, 4, "--input-size")] {
        let before = configured(&folder, &json!({ key: value }));
        let told = format!("config.json, {key}: expected a multiple of {unit}, got {value}; {flag} says another");
        let line = verdict(&folder);
        assert!(line.contains("refused: ") && line.contains(&told), "{line}");
        let text = failure(&mut predict(&folder));
        assert!(text.contains(&told), "{text}");
        std::fs::write(folder.join("config.json"), before).unwrap();
    }
    let text = failure(predict(&folder).args(["--frames", "5"]));
    assert!(text.contains("--frames: expected a multiple of 2, got 5\n"), "{text}");
}

#[test]
fn names_of_a_file_do_not_rename_classes() {
    let dir = tempfile::tempdir().unwrap();
    let folder = classifier(dir.path());
    let names = dir.path().join("names.txt");
    let named = |text: &str| {
        std::fs::write(&names, text).unwrap();
        let mut command = predict(&folder);
        command.arg("--names").arg(&names);
        command
    };
    let own = succeed(&mut predict(&folder));
    assert_eq!(succeed(&mut named("jump\nrun\nsit\nwalk\nwave\n")), own);
    let refusal = "names.txt, line 2: expected `run`, the name of class 1 (config.json, id2label), got `sit`";
    let text = failure(&mut named("jump\nsit\nrun\nwalk\nwave\n"));
    assert!(text.contains(refusal) && text.contains("leave --names out"), "{text}");
    let mut convert = mvd();
    convert.arg("convert").arg(&folder).arg(dir.path().join("out")).args(["--to", "hf", "--names"]).arg(&names);
    assert!(failure(&mut convert).contains(refusal));
    let list = dir.path().join("list.txt");
    std::fs::write(&list, format!("{VIDEO} 0\n")).unwrap();
    let mut eval = mvd();
    eval.arg("eval").arg(&folder).arg("--data").arg(&list).arg("--names").arg(&names);
    assert!(failure(&mut eval).contains(refusal));
    let mut tune = mvd();
    tune.args(["finetune", "--recipe", "finetune-tiny", "--keep-head", "--steps", "1", "--batch", "1", "--init"]);
    tune.arg(&folder).arg("--data").arg(&list).arg("--names").arg(&names).arg("--out").arg(dir.path().join("run"));
    assert!(failure(&mut tune).contains(refusal));

    // One name of two classes: printed, but no labels are matched with it; the file tells them apart, and no more.
    let labels = json!({ "0": "jump", "1": "run", "2": "sit", "3": "walk", "4": "run" });
    configured(&folder, &json!({ "id2label": labels, "label2id": null }));
    succeed(&mut predict(&folder));
    std::fs::write(&list, format!("path,class\n{VIDEO},jump\n")).unwrap();
    let test = || {
        let mut eval = mvd();
        eval.arg("eval").arg(&folder).args(["--stride", "1", "--data"]).arg(&list);
        eval
    };
    let text = failure(&mut test());
    assert!(text.contains("`run` is the name of several classes of ") && text.contains(": 1, 4; "), "{text}");
    assert!(failure(&mut named("jump\nrun\nsit\ngo\nrun again\n")).contains("line 4: expected `walk`"));
    succeed(&mut named("jump\nrun\nsit\nwalk\nrun again\n"));
    assert!(succeed(test().arg("--names").arg(&names)).contains("run again"));
}

#[test]
fn advice_is_what_works() {
    let dir = tempfile::tempdir().unwrap();
    let mae = folder(dir.path(), "mae", &[]);
    let text = failure(mvd().arg("eval").arg(&mae).args(["--data", VIDEO]));
    assert!(
        text.contains("expected a classifier of videos, got an MAE; ") && text.contains("--image-teacher"),
        "{text}"
    );
    assert!(!text.contains("finetune"), "{text}");
    let video = folder(dir.path(), "videomae", &[]);
    let text = failure(mvd().arg("eval").arg(&video).args(["--data", VIDEO]));
    assert!(text.contains("got a VideoMAE; `mvd finetune --init` makes one of it"), "{text}");
    let text = failure(mvd().args(["show", "reconstruction"]).arg(&video).arg(VIDEO));
    assert!(text.contains("expected a run of `mvd pretrain`") && text.contains("mvd show attention"), "{text}");
    let text = failure(mvd().args(["finetune", "--resume"]).arg(&video));
    assert!(text.contains("expected the directory of a run of mvd, got no config.toml in it"), "{text}");

    // The name of a repository without what says so.
    let text = failure(mvd().current_dir(dir.path()).args(["inspect", "owner/name-base"]));
    assert!(text.contains("cannot open owner/name-base: no such file or folder here; hf:owner/name-base is"), "{text}");
    for path in ["owner/name.safetensors", "name", "a/b/c"] {
        let text = failure(mvd().current_dir(dir.path()).args(["inspect", path]));
        assert!(!text.contains("hf:"), "{text}");
    }
}
