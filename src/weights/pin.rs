//! Which file a path of weights stands for, and what is in it, so that a run goes on with what it began with.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::error::io_error;
use super::file::local;
use super::shards::shards;
use super::{Result, hub};
use crate::digest::Digest;

/// A weight file that is known again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinned {
    /// The file, absolute: of a run, its newest checkpoint's; of a repository its name with the commit and the file, which stands
    /// for the same bytes in any cache.
    pub path: PathBuf,
    /// `sha256:` and the digest of its bytes; of an index of shards, of its own and those of the shards after it.
    pub digest: String,
}

/// Looks up the file that a path means, and reads it through.
///
/// # Errors
/// A folder without weights, a repository or file that cannot be read.
pub fn pin(path: &Path) -> Result<Pinned> {
    let (path, name) = match hub::local(path)? {
        Some(found) => (found.path, found.name),
        None => {
            let path = local(path)?;
            let path = std::path::absolute(&path).map_err(io_error("find", &path))?;
            (path.clone(), path)
        }
    };
    let mut files = vec![path.clone()];
    if path.extension().is_some_and(|e| e == "json") {
        files.extend(shards(&path)?.1.into_iter().map(|name| path.with_file_name(name)));
    }
    let mut hash = Digest::default();
    for file in files {
        let mut open = File::open(&file).map_err(io_error("open", &file))?;
        io::copy(&mut open, &mut hash).map_err(io_error("read", &file))?;
    }
    Ok(Pinned { path: name, digest: hash.text() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_what_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (dir.path().join("one.safetensors"), dir.path().join("other.safetensors"));
        std::fs::write(&one, "abc").unwrap();
        std::fs::write(&other, "abc").unwrap();
        // As `sha256sum` has it.
        let expected = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(pin(&one).unwrap(), Pinned { path: one.clone(), digest: expected.to_owned() });
        assert_eq!(pin(&other).unwrap().digest, expected);
        let index = dir.path().join("model.safetensors.index.json");
        std::fs::write(&index, r#"{"weight_map": {"x": "one.safetensors", "y": "other.safetensors"}}"#).unwrap();
        let before = pin(dir.path()).unwrap();
        assert_eq!(before.path, index);
        std::fs::write(&other, "abd").unwrap();
        assert_ne!(pin(&index).unwrap().digest, before.digest, "a shard is another");
        assert!(pin(&dir.path().join("none")).unwrap_err().to_string().contains("none"));
    }
}
