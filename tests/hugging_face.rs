//! What `convert --to hf` writes is what transformers was run on, and gives its numbers; see assets/hugging_face/make.py.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use mvd::weights;

const ASSETS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets");

fn mvd(args: &[&str], paths: &[&Path]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_mvd")).args(args).args(paths).output().unwrap();
    let all = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&all).into_owned())
}

/// Writes a reference's weights in Hugging Face's form.
fn convert(name: &str, dir: &Path) {
    let reference = weights::load(format!("{ASSETS}/reference/{name}.safetensors")).unwrap();
    let own = |(name, tensor): (String, _)| Some((name.strip_prefix("model.")?.to_owned(), tensor));
    let own = reference.into_iter().filter_map(own).collect();
    let source = dir.join("source.safetensors");
    weights::save(&source, &own, &BTreeMap::new()).unwrap();
    let flags =
        ["convert", "--to", "hf", "--heads", "2", "--decoder-heads", "2", "--input-size", "16", "--frames", "4"];
    // MVD's classifiers have the same names.
    let model: &[&str] = if name == "classifier" { &["--model", "videomae"] } else { &[] };
    let (success, text) = mvd(&[&flags[..], model].concat(), &[&source, &dir.join(name)]);
    assert!(success, "{text}");
}

#[test]
fn transformers_was_run_on_these_bytes() {
    let expected = std::fs::read(format!("{ASSETS}/hugging_face/written.json")).unwrap();
    let expected: BTreeMap<String, u32> = serde_json::from_slice(&expected).unwrap();
    let dir = tempfile::tempdir().unwrap();
    for name in ["mae", "videomae", "classifier"] {
        convert(name, dir.path());
        for file in ["config.json", "model.safetensors"] {
            let mut crc = flate2::Crc::new();
            crc.update(&std::fs::read(dir.path().join(name).join(file)).unwrap());
            let key = format!("{name}/{file}");
            assert_eq!(crc.sum(), expected[&key], "{key} has changed: run assets/hugging_face/make.py and look");
        }
    }
}

#[test]
fn what_is_written_gives_the_numbers_of_transformers() {
    let dir = tempfile::tempdir().unwrap();
    for (name, compared) in [("mae", 2), ("videomae", 3), ("classifier", 1)] {
        convert(name, dir.path());
        let stored = dir.path().join(format!("{name}_io.safetensors"));
        std::fs::copy(format!("{ASSETS}/hugging_face/{name}_io.safetensors"), &stored).unwrap();
        let (success, text) = mvd(&["selftest", "--reference"], &[&stored]);
        assert!(success && text.contains(&format!("{compared} compared, 0 failed")), "{name}: {text}");
        // The comparison can fail: another value in one bias.
        let file = dir.path().join(name).join("model.safetensors");
        let mut tensors = weights::load(&file).unwrap();
        let bias = tensors.iter().map(|(n, _)| n.to_owned()).find(|n| n.ends_with("blocks.1.mlp.fc2.bias")).unwrap();
        let mut changed = tensors.remove(&bias).unwrap();
        changed.data[0] += 0.01;
        tensors.insert(bias, changed);
        weights::save(&file, &tensors, &BTreeMap::new()).unwrap();
        let (success, text) = mvd(&["selftest", "--reference"], &[&stored]);
        assert!(!success, "{name}: {text}");
    }
}
