//! What is kept on disk between runs, per adapter, driver and version of the shaders: choices of kernels, built pipelines.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::gpu::record::Choices;
use crate::gpu::shader::SHADERS;

/// What was measured for one question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// The fastest kernel.
    pub kernel: String,
    /// Milliseconds of each.
    pub ms: BTreeMap<String, f64>,
}

/// The choices for one adapter, as they lie in a file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tuned {
    /// Name, backend and driver.
    pub adapter: String,
    /// By question.
    pub choices: BTreeMap<String, Measured>,
    /// Kernels that the driver refused or computed wrongly, and why.
    #[serde(default)]
    pub refused: BTreeMap<String, String>,
    /// Kernels that agreed with their CPU twins, and in what.
    #[serde(default)]
    pub checked: BTreeSet<String>,
}

/// The files of one adapter.
#[derive(Debug, Clone)]
pub(super) struct Store {
    folder: PathBuf,
    adapter: String,
    key: u64,
}

const KERNELS: &str = "kernels";
const PIPELINES: &str = "pipelines";

/// FNV-1a over several texts.
fn hash<'a>(texts: impl Iterator<Item = &'a str>) -> u64 {
    let bytes = texts.flat_map(|text| text.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

/// Where caches are kept if no other place is named.
pub fn default_folder() -> Option<PathBuf> {
    dirs::cache_dir().map(|caches| caches.join("mvd"))
}

/// Writes a file aside and renames it, so that there is always a whole one.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let aside = path.with_extension(format!("{}.tmp", std::process::id()));
    std::fs::write(&aside, bytes)?;
    std::fs::rename(&aside, path)
}

/// A file of choices; one that cannot be read is warned of and holds none.
fn read(path: &Path) -> Tuned {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Tuned::default(),
        Err(error) => {
            log::warn!("{}: {error}; kernels are chosen anew", path.display());
            return Tuned::default();
        }
    };
    serde_json::from_str(&text).unwrap_or_else(|error| {
        log::warn!("{}: expected choices of kernels: {error}; kernels are chosen anew", path.display());
        Tuned::default()
    })
}

fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for kind in [KERNELS, PIPELINES] {
        match std::fs::read_dir(folder.join(kind)) {
            Ok(entries) => files.extend(entries.map(|e| Ok(e?.path())).collect::<io::Result<Vec<_>>>()?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    files.sort();
    Ok(files)
}

/// Every adapter's choices under a cache folder.
///
/// # Errors
/// What the system says of the folder.
pub fn tuned(folder: &Path) -> io::Result<Vec<Tuned>> {
    let files = files(folder)?;
    Ok(files.iter().filter(|path| path.extension().is_some_and(|e| e == "json")).map(|path| read(path)).collect())
}

/// Deletes all choices and pipelines under a cache folder; gives the files deleted.
///
/// # Errors
/// What the system says of a file.
pub fn clear(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let files = files(folder)?;
    files.iter().try_for_each(std::fs::remove_file)?;
    Ok(files)
}

impl Store {
    /// The files of an adapter and driver, as they describe themselves, for the shaders of this build.
    pub fn new(folder: &Path, adapter: &str) -> Self {
        let key = hash([adapter].into_iter().chain(SHADERS.iter().map(|s| s.source)));
        Store { folder: folder.to_owned(), adapter: adapter.to_owned(), key }
    }

    fn kernels(&self) -> PathBuf {
        self.folder.join(KERNELS).join(format!("{:016x}.json", self.key))
    }

    fn pipelines(&self) -> PathBuf {
        self.folder.join(PIPELINES).join(format!("{:016x}.bin", self.key))
    }

    /// What is known so far.
    pub fn tuned(&self) -> Tuned {
        read(&self.kernels())
    }

    /// The choices made so far.
    pub fn choices(&self) -> Choices {
        let mut choices = Choices::default();
        let known = self.tuned();
        known.choices.into_iter().for_each(|(question, measured)| choices.insert(question, measured.kernel));
        known.refused.into_keys().for_each(|kernel| choices.refuse(kernel));
        choices
    }

    /// Adds to what there is. A cache that cannot be written is warned of: all works without.
    pub fn add(&self, found: Tuned) {
        let path = self.kernels();
        let mut all = read(&path);
        all.adapter.clone_from(&self.adapter);
        all.choices.extend(found.choices);
        all.refused.extend(found.refused);
        all.checked.extend(found.checked);
        let written = serde_json::to_vec_pretty(&all).map_err(io::Error::from).and_then(|json| write(&path, &json));
        if let Err(error) = written {
            log::warn!("{}: {error}; choices of kernels are not kept", path.display());
        }
    }

    /// The driver's built pipelines, if they are whole: a checksum, then its data.
    pub fn built(&self) -> Option<Vec<u8>> {
        let bytes = std::fs::read(self.pipelines()).ok()?;
        let (sum, data) = bytes.split_first_chunk::<4>()?;
        (u32::from_le_bytes(*sum) == crc32c::crc32c(data)).then(|| data.to_vec())
    }

    /// Keeps the driver's built pipelines.
    pub fn keep_built(&self, data: &[u8]) {
        let path = self.pipelines();
        let bytes = [&crc32c::crc32c(data).to_le_bytes()[..], data].concat();
        if let Err(error) = write(&path, &bytes) {
            log::warn!("{}: {error}; built pipelines are not kept", path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(kernel: &str) -> Tuned {
        let measured = Measured { kernel: kernel.to_owned(), ms: BTreeMap::from([(kernel.to_owned(), 1.5)]) };
        let choices = BTreeMap::from([(format!("product for {kernel}"), measured)]);
        let refused = BTreeMap::from([(format!("not {kernel}"), "wrong".to_owned())]);
        Tuned { choices, refused, ..Tuned::default() }
    }

    #[test]
    fn choices_are_kept_apart_by_adapter_and_survive_broken_files() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (Store::new(dir.path(), "one, driver 1"), Store::new(dir.path(), "one, driver 2"));
        one.add(found("a"));
        one.add(found("b"));
        other.add(found("c"));
        assert!(one.choices().knows("product for a") && one.choices().knows("product for b"));
        assert!(!one.choices().knows("product for c"), "another driver's");
        assert_eq!(one.tuned().refused.keys().collect::<Vec<_>>(), ["not a", "not b"]);
        let all = tuned(dir.path()).unwrap();
        assert_eq!(all.iter().map(|t| t.choices.len()).sum::<usize>(), 3);
        std::fs::write(one.kernels(), "{\"adapter\": 1").unwrap();
        assert!(!one.choices().knows("product for a"));
        one.add(found("d"));
        assert!(one.choices().knows("product for d"));
        one.keep_built(b"binary");
        assert_eq!(one.built().as_deref(), Some(&b"binary"[..]));
        let cut = std::fs::read(one.pipelines()).unwrap();
        std::fs::write(one.pipelines(), &cut[..cut.len() - 1]).unwrap();
        assert_eq!(one.built(), None);
        assert_eq!(clear(dir.path()).unwrap().len(), 3);
        assert!(tuned(dir.path()).unwrap().is_empty());
    }
}
