//! Weight files of every kind, told by their content.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Component, Path, PathBuf};

use super::safetensors::io_error;
use super::{Error, Result, Tensors, hf, pth, safetensors};

/// Names that a folder of Hugging Face's may have its weights under.
const IN_FOLDER: [&str; 4] =
    ["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"];
/// Bytes of the largest index of shards.
const MOST_INDEX: u64 = 64 << 20;

fn malformed(path: &Path, reason: impl Into<String>) -> Error {
    Error::Malformed { path: path.to_path_buf(), reason: reason.into() }
}

/// Reads every tensor of a weight file, under official names where they are Hugging Face's: safetensors, a PyTorch
/// checkpoint, an index of shards of either, or a folder with one of them. All become f32.
///
/// # Errors
/// A file that is missing, cut, of another format, or holds what is not data; its size bounds what is allocated.
pub fn load(path: impl AsRef<Path>) -> Result<Tensors> {
    let path = path.as_ref();
    if path.is_dir() {
        let inside = IN_FOLDER.iter().map(|name| path.join(name)).find(|p| p.is_file());
        return load(inside.ok_or_else(|| malformed(path, format!("a folder without {}", IN_FOLDER.join(", "))))?);
    }
    hf::to_official(raw(path)?, path)
}

/// The same under the file's own names.
fn raw(path: &Path) -> Result<Tensors> {
    if path.extension().is_some_and(|e| e == "json") {
        return sharded(path);
    }
    let map = safetensors::map(path)?;
    if map.starts_with(b"PK\x03\x04") {
        return pth::load(path, &map);
    }
    if map.starts_with(&[0x80]) && map.get(1).is_some_and(|version| (2..=5).contains(version)) && map.get(7) != Some(&0)
    {
        let reason = "a bare pickle, as PyTorch before 1.6 wrote; load it there and torch.save it again";
        return Err(malformed(path, reason));
    }
    safetensors::read(path, &map)
}

/// Shards named by an index: `{"weight_map": {tensor: file}}`, files beside it.
fn sharded(path: &Path) -> Result<Tensors> {
    let about = File::open(path).and_then(|f| f.metadata()).map_err(io_error("open", path))?;
    if about.len() > MOST_INDEX {
        return Err(malformed(path, format!("an index of {} bytes", about.len())));
    }
    let text = std::fs::read_to_string(path).map_err(io_error("read", path))?;
    let index: serde_json::Value = serde_json::from_str(&text).map_err(|e| malformed(path, e.to_string()))?;
    let files =
        index["weight_map"].as_object().ok_or_else(|| malformed(path, "no weight_map: not an index of shards"))?;
    let mut all = Tensors::new();
    let names: BTreeSet<&str> = files.values().filter_map(|f| f.as_str()).collect();
    for name in names {
        let plain = Path::new(name);
        if plain.components().count() != 1 || !matches!(plain.components().next(), Some(Component::Normal(_))) {
            return Err(malformed(path, format!("expected shards beside it, got {name}")));
        }
        let shard: PathBuf = path.with_file_name(name);
        if shard.extension().is_some_and(|e| e == "json") {
            return Err(malformed(path, format!("expected a shard of tensors, got {name}")));
        }
        all.extend(raw(&shard)?);
    }
    match files.keys().find(|name| all.get(name).is_none()) {
        None => Ok(all),
        Some(name) => Err(malformed(path, format!("its shards lack {name}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{HostTensor, save};
    use super::*;

    #[test]
    fn shards_and_folders() {
        let dir = tempfile::tempdir().unwrap();
        let tensor = |v: f32| HostTensor { shape: vec![2], data: vec![v; 2] };
        for (file, name, value) in [("a.safetensors", "x", 1.0), ("b.safetensors", "y", 2.0)] {
            let tensors = [(name.to_owned(), tensor(value))].into_iter().collect();
            save(dir.path().join(file), &tensors, &Default::default()).unwrap();
        }
        let index = dir.path().join("model.safetensors.index.json");
        let write = |text: &str| std::fs::write(&index, text).unwrap();
        write(r#"{"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}"#);
        let got = load(dir.path()).unwrap();
        assert_eq!((got.len(), got.get("y")), (2, Some(&tensor(2.0))));
        write(r#"{"weight_map": {"x": "a.safetensors", "z": "b.safetensors"}}"#);
        assert!(load(&index).unwrap_err().to_string().contains("its shards lack z"));
        for outside in ["../a.safetensors", "/etc/passwd", "..", "model.safetensors.index.json"] {
            write(&format!(r#"{{"weight_map": {{"x": "{outside}"}}}}"#));
            assert!(load(&index).unwrap_err().to_string().contains("expected"), "{outside}");
        }
        write("{}");
        assert!(load(&index).unwrap_err().to_string().contains("no weight_map"));
        std::fs::remove_file(&index).unwrap();
        assert!(load(dir.path()).unwrap_err().to_string().contains("a folder without model.safetensors"));
    }
}
