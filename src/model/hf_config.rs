//! Hugging Face's `config.json` beside a weight file: how its facts are read, and what of them contradicts the tensors.

use std::path::Path;

use serde_json::{Map, Value};

use crate::weights::{Description, Error, Kind, LazyTensor, Result, TensorSource, Tensors};

/// What `transformers` calls the models that are read here.
const VIDEO: &str = "videomae";
const IMAGE: &str = "vit_mae";
/// Keys whose value may be a height and a width.
const SIDES: [&str; 2] = ["image_size", "patch_size"];
/// Keys of numbers that are read.
const NUMBERS: [&str; 10] = [
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "image_size",
    "patch_size",
    "num_channels",
    "num_frames",
    "tubelet_size",
    "num_labels",
];

/// The `config.json` beside a weight file; null if there is none.
///
/// # Errors
/// It cannot be read, or is no JSON.
pub(super) fn read(file: &Path) -> Result<Value> {
    let path = file.with_file_name("config.json");
    let unusable = |what: String| Error::Unknown { path: path.clone(), what };
    match std::fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|e| unusable(e.to_string())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Value::Null),
        Err(e) => Err(unusable(format!("cannot be read: {e}"))),
    }
}

/// A number that it states, if it does; of a height and a width that are equal, one of them.
///
/// # Errors
/// Something else than such a number.
pub(super) fn number(config: &Value, key: &str) -> std::result::Result<Option<usize>, String> {
    let value = &config[key];
    let whole = |value: &Value| value.as_u64().and_then(|value| usize::try_from(value).ok());
    match value {
        Value::Null => Ok(None),
        Value::Array(sides) if SIDES.contains(&key) => match sides.as_slice() {
            [height, width] if height == width && whole(height).is_some() => Ok(whole(height)),
            _ => Err(format!("{key}: expected one number, or height and width that are equal, got {value}")),
        },
        _ => whole(value).map(Some).ok_or_else(|| format!("{key}: expected a whole number, got {value}")),
    }
}

/// Holds it against the tensors beside it.
///
/// # Errors
/// All that contradicts them, itself, or what is computed here.
pub(super) fn check(config: &Value, file: &Path, about: &Description, tensors: &Tensors<LazyTensor>) -> Result<()> {
    let path = file.with_file_name("config.json");
    let weights = file.file_name().unwrap_or_default().to_string_lossy();
    if let Some(what) = other_model(config, about, &weights) {
        return Err(Error::Unknown { path, what });
    }
    let mut wrong: Vec<String> = NUMBERS.iter().filter_map(|key| number(config, key).err()).collect();
    wrong.extend(sizes(config, about, tensors));
    wrong.extend(blocks(config, about, tensors));
    if let Some(classes) = about.classes {
        wrong.extend(pooling(config, tensors));
        wrong.extend(labels(config, classes));
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let what = format!(
        "does not fit {weights} beside it: {}; correct it, or take the config.json that these weights came with",
        wrong.join("; ")
    );
    Err(Error::Unknown { path, what })
}

/// Why it is of a model that is none of these tensors'.
fn other_model(config: &Value, about: &Description, weights: &str) -> Option<String> {
    let kind = config["model_type"].as_str()?;
    let is = about.kind.an();
    let fits = match kind {
        VIDEO => matches!(about.kind, Kind::VideoMae | Kind::Classifier | Kind::Encoder) && about.learned.is_none(),
        IMAGE => about.kind == Kind::Mae,
        _ => {
            return Some(format!(
                "model_type: expected {VIDEO} or {IMAGE}, the models of transformers that mvd reads, got {kind}; \
                 without a config.json beside them the weights are told by their tensors alone"
            ));
        }
    };
    (!fits).then(|| {
        format!(
            "model_type: it says {kind}, the tensors of {weights} are of {is}; take the config.json that they came with"
        )
    })
}

/// Sizes that differ from those of the tensors.
fn sizes(config: &Value, about: &Description, tensors: &Tensors<LazyTensor>) -> Vec<String> {
    let hidden = tensors.get(&format!("{}blocks.0.mlp.fc1.bias", about.inner())).map(TensorSource::elements);
    let of_clips = about.kind != Kind::Mae;
    let known = [
        ("hidden_size", Some(about.encoder.dim)),
        ("num_hidden_layers", Some(about.encoder.depth)),
        ("intermediate_size", hidden),
        ("patch_size", Some(about.patch)),
        ("tubelet_size", of_clips.then_some(about.tubelet)),
        ("num_channels", Some(3)),
        ("num_labels", about.classes),
    ];
    let differs = |(key, has): (&str, Option<usize>)| {
        let (has, says) = (has?, number(config, key).ok()??);
        (has != says).then(|| match key {
            "num_channels" => format!("{key}: it says {says}, mvd reads frames of {has} colours alone"),
            _ => format!("{key}: it says {says}, the tensors have {has}"),
        })
    };
    known.into_iter().filter_map(differs).collect()
}

/// What it says of the blocks and they are not.
fn blocks(config: &Value, about: &Description, tensors: &Tensors<LazyTensor>) -> Vec<String> {
    let mut wrong = Vec::new();
    let stack = format!("{}blocks.", about.inner());
    let bias = |name: &str| {
        let ends = ["attn.q_bias", "attn.v_bias", "attn.qkv.bias"];
        name.starts_with(&stack) && ends.iter().any(|end| name.ends_with(end))
    };
    let found = tensors.iter().map(|(name, _)| name).find(|name| bias(name));
    match (config["qkv_bias"].as_bool(), found) {
        (Some(false), Some(name)) => wrong.push(format!("qkv_bias: it says false, the tensors have {name}")),
        (Some(true), None) => wrong.push("qkv_bias: it says true, the tensors have no such biases".to_owned()),
        _ => {}
    }
    if let Some(other) = config["hidden_act"].as_str().filter(|name| *name != "gelu") {
        wrong.push(format!("hidden_act: it says {other}, mvd computes gelu alone"));
    }
    wrong
}

/// Another norm before the head than the tensors have.
fn pooling(config: &Value, tensors: &Tensors<LazyTensor>) -> Option<String> {
    let mean = config["use_mean_pooling"].as_bool()?;
    let (wanted, other) = if mean { ("fc_norm", "norm") } else { ("norm", "fc_norm") };
    let has = |norm: &str| tensors.get(&format!("{norm}.weight")).is_some();
    (!has(wanted) && has(other)).then(|| {
        let theirs = |norm| if norm == "norm" { "videomae.layernorm" } else { norm };
        let (wanted, other) = (theirs(wanted), theirs(other));
        format!("use_mean_pooling: it says {mean}, which reads {wanted}; the tensors have {other}")
    })
}

/// What is wrong with the names of the classes.
fn labels(config: &Value, classes: usize) -> Option<String> {
    let given = &config["id2label"];
    let all =
        format!("a name for each of the {classes} classes of the tensors, by the indices 0 to {}", classes.max(1) - 1);
    let names = match given {
        Value::Null => None,
        Value::Object(names) => Some(names),
        _ => return Some(format!("id2label: expected {all}, got {given}")),
    };
    let whole = |names: &Map<String, Value>| {
        names.len() == classes && (0..classes).all(|i| names.get(&i.to_string()).is_some_and(Value::is_string))
    };
    if let Some(names) = names.filter(|names| !whole(names)) {
        let some = names.keys().take(8).cloned().collect::<Vec<_>>().join(", ");
        return Some(format!("id2label: expected {all}, got {} names by the indices {some}", names.len()));
    }
    for (name, index) in config["label2id"].as_object()? {
        let number = index.as_u64().or_else(|| index.as_str()?.parse().ok());
        let said = names.and_then(|names| names.get(&number?.to_string())?.as_str());
        // Placeholders, which transformers keeps beside names that were given afterwards.
        let placeholder = number.is_some_and(|number| *name == format!("LABEL_{number}"));
        if names.is_some() && said != Some(name) && !placeholder {
            let said = said.map_or("has no such index".to_owned(), |said| format!("calls that class {said}"));
            return Some(format!("label2id: it gives {name} the index {index}, id2label {said}"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sides_are_numbers_or_pairs_of_the_same() {
        let config = json!({ "image_size": [32, 32], "patch_size": [8, 16], "num_frames": "16", "hidden_size": 64 });
        assert_eq!(number(&config, "image_size"), Ok(Some(32)));
        assert_eq!(number(&config, "hidden_size"), Ok(Some(64)));
        assert_eq!(number(&config, "tubelet_size"), Ok(None));
        assert!(number(&config, "patch_size").unwrap_err().contains("equal, got [8,16]"));
        assert!(number(&config, "num_frames").unwrap_err().contains("expected a whole number, got \"16\""));
        assert!(number(&json!({ "num_frames": [16, 16] }), "num_frames").is_err());
        assert!(number(&json!({ "image_size": [32] }), "image_size").is_err());
    }

    #[test]
    fn names_of_classes_are_as_many_as_the_classes_and_agree() {
        let said = |config: Value| labels(&config, 2).unwrap_or_default();
        assert_eq!(said(json!({ "id2label": { "0": "a", "1": "b" }, "label2id": { "a": 0, "b": "1" } })), "");
        // As transformers leaves it where only id2label was set.
        assert_eq!(said(json!({ "id2label": { "0": "a", "1": "b" }, "label2id": { "LABEL_0": 0, "LABEL_1": 1 } })), "");
        assert_eq!(said(json!({})), "");
        for wrong in
            [json!({ "0": "a" }), json!({ "1": "a", "2": "b" }), json!({ "0": "a", "1": 7 }), json!(["a", "b"])]
        {
            assert!(
                said(json!({ "id2label": wrong })).contains("expected a name for each of the 2 classes"),
                "{wrong}"
            );
        }
        let text = said(json!({ "id2label": { "0": "a", "1": "b" }, "label2id": { "a": 1 } }));
        assert!(text.contains("gives a the index 1, id2label calls that class b"), "{text}");
        let text = said(json!({ "id2label": { "0": "a", "1": "b" }, "label2id": { "c": 2 } }));
        assert!(text.contains("gives c the index 2, id2label has no such index"), "{text}");
    }
}
