//! Folders as Hugging Face has them: under which names weights lie in them, and indexes of shards.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Component, Path};

use super::Result;
use super::error::{io_error, malformed};

/// Names that a folder of Hugging Face's may have its weights under.
pub(super) const IN_FOLDER: [&str; 4] =
    ["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"];
/// Bytes of the largest index of shards.
const MOST_INDEX: u64 = 16 << 20;

/// The tensors and the files of an index of shards, `{"weight_map": {tensor: file}}`, all files beside it.
pub(super) fn shards(path: &Path) -> Result<(Vec<String>, BTreeSet<String>)> {
    let about = File::open(path).and_then(|f| f.metadata()).map_err(io_error("open", path))?;
    if about.len() > MOST_INDEX {
        return Err(malformed(path, format!("an index of {} bytes", about.len())));
    }
    let text = std::fs::read_to_string(path).map_err(io_error("read", path))?;
    let index: serde_json::Value = serde_json::from_str(&text).map_err(|e| malformed(path, e.to_string()))?;
    let files =
        index["weight_map"].as_object().ok_or_else(|| malformed(path, "no weight_map: not an index of shards"))?;
    let names: BTreeSet<&str> = files.values().filter_map(|f| f.as_str()).collect();
    for name in &names {
        let mut parts = Path::new(name).components();
        if !matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) {
            return Err(malformed(path, format!("expected shards beside it, got {name}")));
        }
        if Path::new(name).extension().is_some_and(|e| e == "json") {
            return Err(malformed(path, format!("expected a shard of tensors, got {name}")));
        }
    }
    Ok((files.keys().cloned().collect(), names.into_iter().map(str::to_owned).collect()))
}
