//! Weight files of every kind, told by their content.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{io_error, malformed};
use super::lazy::Bytes;
use super::shards::{IN_FOLDER, shards};
use super::wrap::Copies;
use super::{LazyTensor, Result, Tensors, hf, hub, no_weights, pth, safetensors, wrap};

/// In a checkpoint's folder.
const OWN: &str = "weights.safetensors";

/// Where tensors were read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The file: of a folder, the one in it; of a Hugging Face repository, where it lies in the cache.
    pub path: PathBuf,
    /// What kind of file it is, for people.
    pub format: &'static str,
    /// Files that hold tensors.
    pub files: usize,
    /// Bytes of all of them.
    pub bytes: u64,
    /// Whether the names in it are Hugging Face's.
    pub hugging_face: bool,
    /// What stood before the model's names (`model._orig_mod.`), see [`open_model`].
    pub prefix: String,
    /// Prefixes of other weights of the model in the file, such as their average over steps.
    pub others: Vec<String>,
    /// Tensors and objects that were passed over.
    pub passed: Vec<String>,
}

/// Reads every tensor of a weight file, under official names where they are Hugging Face's: safetensors, a PyTorch
/// checkpoint, an index of shards of either, or a folder with one of them. All become f32.
///
/// # Errors
/// A file that is missing, cut, of another format, or holds what is not data; its size bounds what is allocated.
pub fn load(path: impl AsRef<Path>) -> Result<Tensors> {
    open(path)?.0.host()
}

/// Finds what [`load`] reads, and what the file is; values are read when they are asked for.
///
/// # Errors
/// As of [`load`].
pub fn open(path: impl AsRef<Path>) -> Result<(Tensors<LazyTensor>, Origin)> {
    let (found, mut origin) = everything(path.as_ref())?;
    origin.hugging_face = hf::recognise(&found).is_some();
    Ok((hf::to_official(found, &origin.path)?, origin))
}

/// The model of a weight file: its tensors under official names, whatever wrappers (`state_dict`, `module.`,
/// `_orig_mod.`) stood before them, and what the file is. What was passed over is warned of.
///
/// # Errors
/// As of [`load`]; a file with several models, or without the copy asked for.
pub fn open_model(path: impl AsRef<Path>, copies: Copies) -> Result<(Tensors<LazyTensor>, Origin)> {
    let (found, mut origin) = everything(path.as_ref())?;
    let model = wrap::unwrap(found, copies, &origin.path)?;
    if !origin.passed.is_empty() {
        log::warn!("{}: passed over: {}", origin.path.display(), origin.passed.join(", "));
    }
    (origin.prefix, origin.others) = (model.prefix, model.others);
    origin.hugging_face = hf::recognise(&model.tensors).is_some();
    Ok((wrap::official(hf::to_official(model.tensors, &origin.path)?), origin))
}

/// Every tensor of what a path means, under the file's own names.
fn everything(path: &Path) -> Result<(Tensors<LazyTensor>, Origin)> {
    let path = local(path)?;
    let mut origin = Origin {
        path,
        format: "",
        files: 0,
        bytes: 0,
        hugging_face: false,
        prefix: String::new(),
        others: Vec::new(),
        passed: Vec::new(),
    };
    let found = raw(&origin.path.clone(), &mut origin)?;
    Ok((found, origin))
}

/// The file that a path means: of a folder, the one in it; of a run, its newest checkpoint's; of a Hugging Face
/// repository (`hf:owner/name`), the one in the cache, after a download if need be.
///
/// # Errors
/// A folder without weights, a repository that cannot be read.
pub(super) fn local(path: &Path) -> Result<PathBuf> {
    if let Some(found) = hub::local(path)? {
        return Ok(found.path);
    }
    if !path.is_dir() {
        if let Some(name) = hub::meant(path).filter(|_| !path.exists()) {
            let what =
                format!("no such file or folder here; {name} is the repository of that name on the Hugging Face Hub");
            return Err(io_error("open", path)(io::Error::new(io::ErrorKind::NotFound, what)));
        }
        return Ok(path.to_path_buf());
    }
    let inside = IN_FOLDER.iter().chain(&[OWN]).map(|name| path.join(name)).find(|p| p.is_file());
    let found = inside.or_else(|| newest(&path.join("checkpoints")));
    found.ok_or_else(|| malformed(path, format!("a folder without checkpoints or {}", IN_FOLDER.join(", "))))
}

/// The weights under the `step-N` of the highest N.
fn newest(checkpoints: &Path) -> Option<PathBuf> {
    let step = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.ok()?.path();
        let step: u64 = path.file_name()?.to_str()?.strip_prefix("step-")?.parse().ok()?;
        Some((step, path.join(OWN))).filter(|(_, weights)| weights.is_file())
    };
    std::fs::read_dir(checkpoints).ok()?.filter_map(step).max().map(|(_, weights)| weights)
}

/// Every tensor under the file's own names.
fn raw(path: &Path, origin: &mut Origin) -> Result<Tensors<LazyTensor>> {
    if path.extension().is_some_and(|e| e == "json") {
        return sharded(path, origin);
    }
    let bytes = Arc::new(Bytes::open(path)?);
    origin.files += 1;
    origin.bytes += bytes.len;
    let (tensors, format) = parse(&bytes, &mut origin.passed)?;
    origin.format = format;
    Ok(tensors)
}

/// Every tensor of a safetensors file or PyTorch checkpoint that is in memory already, under its own names; `path` is
/// for messages.
///
/// # Errors
/// Bytes that are cut, of another format, or hold what is not data.
pub fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Tensors> {
    parse(&Arc::new(Bytes::of(path, bytes)), &mut Vec::new())?.0.host()
}

/// The tensors of a file, and its format.
fn parse(bytes: &Arc<Bytes>, passed: &mut Vec<String>) -> Result<(Tensors<LazyTensor>, &'static str)> {
    let mut head = [0; no_weights::LOOKED_AT];
    let head = &mut head[..bytes.len.min(no_weights::LOOKED_AT as u64) as usize];
    bytes.read_at(0, head)?;
    if let Some(reason) = no_weights::told(head) {
        return Err(malformed(&bytes.path, reason));
    }
    if head.starts_with(b"PK\x03\x04") {
        return Ok((pth::load(bytes, passed)?, "PyTorch checkpoint"));
    }
    Ok((safetensors::read(bytes, passed)?, "safetensors"))
}

fn sharded(path: &Path, origin: &mut Origin) -> Result<Tensors<LazyTensor>> {
    let (tensors, files) = shards(path)?;
    let mut all = Tensors::new();
    let absent: Vec<&str> = files.iter().map(String::as_str).filter(|f| !path.with_file_name(f).is_file()).collect();
    if !absent.is_empty() {
        let absent = absent.join(", ");
        return Err(malformed(path, format!("an index whose shards are not beside it: {absent}; download them too")));
    }
    for name in files {
        all.extend(raw(&path.with_file_name(name), origin)?);
    }
    match tensors.iter().find(|name| all.get(name).is_none()) {
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
        assert!(
            load(dir.path()).unwrap_err().to_string().contains("a folder without checkpoints or model.safetensors")
        );
    }

    #[test]
    fn a_run_is_its_newest_checkpoint() {
        let dir = tempfile::tempdir().unwrap();
        for step in [9, 10] {
            let folder = dir.path().join(format!("checkpoints/step-{step}"));
            std::fs::create_dir_all(&folder).unwrap();
            let tensor = HostTensor { shape: vec![1], data: vec![step as f32] };
            let tensors = [("x".to_owned(), tensor)].into_iter().collect();
            save(folder.join("weights.safetensors"), &tensors, &Default::default()).unwrap();
        }
        std::fs::create_dir_all(dir.path().join("checkpoints/step-11")).unwrap();
        assert_eq!(load(dir.path()).unwrap().get("x").unwrap().data, [10.0]);
        assert_eq!(load(dir.path().join("checkpoints/step-9")).unwrap().get("x").unwrap().data, [9.0]);
    }
}
