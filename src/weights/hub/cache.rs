//! The Hub's cache on this machine, laid out as `huggingface_hub` does, so that all programs share it: `blobs/ETAG` holds the bytes,
//! `snapshots/COMMIT/FILE` links to them, `refs/REVISION` says which commit a branch was at.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::super::Result;
use super::super::error::io_error;
use crate::lock::Locked;

/// A variable of the environment that is set to something.
pub(super) fn given(key: &str) -> Option<String> {
    std::env::var(key).ok().filter(|value| !value.is_empty())
}

/// Whether a variable is set to what `huggingface_hub` takes for yes.
pub(super) fn yes(key: &str) -> bool {
    given(key).is_some_and(|value| ["1", "ON", "YES", "TRUE"].contains(&value.to_ascii_uppercase().as_str()))
}

/// A path whose `~` is the user's folder.
fn expanded(path: &str) -> PathBuf {
    match (path.strip_prefix('~'), dirs::home_dir()) {
        (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with(['/', '\\']) => {
            home.join(rest.trim_start_matches(['/', '\\']))
        }
        _ => PathBuf::from(path),
    }
}

/// `HF_HOME`, or where it is by default; none where the user has no folder.
pub(super) fn home() -> Option<PathBuf> {
    let caches = || given("XDG_CACHE_HOME").map(|path| expanded(&path));
    let default = || caches().or_else(|| dirs::home_dir().map(|home| home.join(".cache")));
    given("HF_HOME").map(|path| expanded(&path)).or_else(|| Some(default()?.join("huggingface")))
}

/// The folder of all repositories.
pub(super) fn root() -> Option<PathBuf> {
    let named = ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"].into_iter().find_map(given);
    named.map(|path| expanded(&path)).or_else(|| Some(home()?.join("hub")))
}

/// The user's token: `HF_TOKEN`, else what `hf auth login` keeps.
pub(super) fn token() -> Option<String> {
    let kept = || {
        let file = given("HF_TOKEN_PATH").map(|path| expanded(&path)).or_else(|| Some(home()?.join("token")))?;
        fs::read_to_string(file).ok()
    };
    let token = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"].into_iter().find_map(given).or_else(kept)?;
    Some(token.trim().to_owned()).filter(|token| !token.is_empty())
}

/// A repository's folder in the cache.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    path: PathBuf,
    locks: PathBuf,
}

impl Folder {
    pub fn of(root: &Path, repository: &str) -> Folder {
        let name = format!("models--{}", repository.replace('/', "--"));
        Folder { path: root.join(&name), locks: root.join(".locks").join(name) }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The commit that a revision stood for when it was last asked for; a revision may be a commit itself.
    pub fn commit(&self, revision: &str) -> Option<String> {
        let noted = fs::read_to_string(self.path.join("refs").join(revision)).ok();
        let commit = noted.map_or_else(|| revision.to_owned(), |text| text.trim().to_owned());
        self.snapshot(&commit).is_dir().then_some(commit)
    }

    /// Notes the commit of a revision.
    pub fn note(&self, revision: &str, commit: &str) -> Result<()> {
        if revision == commit {
            return Ok(());
        }
        let file = self.path.join("refs").join(revision);
        self.made(&file)?;
        fs::write(&file, commit).map_err(io_error("write", &file))
    }

    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.path.join("snapshots").join(commit)
    }

    /// Where the bytes of an ETag lie.
    pub fn blob(&self, etag: &str) -> PathBuf {
        self.path.join("blobs").join(etag)
    }

    /// Makes the folder that a file is in.
    pub fn made(&self, file: &Path) -> Result<()> {
        let folder = file.parent().unwrap_or(&self.path);
        fs::create_dir_all(folder).map_err(io_error("create", folder))
    }

    /// Holds an ETag's download against other processes, `huggingface_hub`'s too, until it is dropped.
    pub fn lock(&self, etag: &str) -> Result<Locked> {
        let path = self.locks.join(format!("{etag}.lock"));
        self.made(&path)?;
        let mut told = false;
        loop {
            let file = File::options().create(true).append(true).open(&path).map_err(io_error("create", &path))?;
            if let Some(locked) = Locked::new(file, &path).map_err(io_error("lock", &path))? {
                return Ok(locked);
            }
            if !told {
                log::warn!("another process downloads into {}; waiting for it", self.path.display());
            }
            told = true;
        }
    }

    /// Gives a whole blob its name in a snapshot.
    pub fn link(&self, etag: &str, commit: &str, file: &str) -> Result<PathBuf> {
        let pointer = self.snapshot(commit).join(file);
        if pointer.exists() {
            return Ok(pointer);
        }
        self.made(&pointer)?;
        if pointer.symlink_metadata().is_ok() {
            // Its blob was removed by hand.
            fs::remove_file(&pointer).map_err(io_error("remove", &pointer))?;
        }
        let up = "../".repeat(file.split('/').count() + 1);
        symlink(&self.blob(etag), Path::new(&format!("{up}blobs/{etag}")), &pointer)
            .map_err(io_error("link", &pointer))?;
        Ok(pointer)
    }
}

#[cfg(unix)]
fn symlink(_blob: &Path, relative: &Path, pointer: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(relative, pointer)
}

/// Without the right to make links the file itself goes to its place, as `huggingface_hub` does it.
#[cfg(windows)]
fn symlink(blob: &Path, relative: &Path, pointer: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(relative, pointer).or_else(|_| fs::rename(blob, pointer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_the_names_that_other_programs_look_for() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::of(dir.path(), "owner/name");
        assert_eq!(folder.path(), dir.path().join("models--owner--name"));
        assert_eq!(folder.commit("main"), None);
        folder.made(&folder.blob("tag")).unwrap();
        fs::write(folder.blob("tag"), "bytes").unwrap();
        for file in ["config.json", "deep/er/weights.pth"] {
            let pointer = folder.link("tag", "c0ffee", file).unwrap();
            assert_eq!(pointer, folder.path().join("snapshots/c0ffee").join(file));
            assert_eq!(fs::read(&pointer).unwrap(), b"bytes", "{file}");
            assert_eq!(folder.link("tag", "c0ffee", file).unwrap(), pointer, "it is there already");
        }
        folder.note("main", "c0ffee").unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("refs/main")).unwrap(), "c0ffee");
        assert_eq!(folder.commit("main").as_deref(), Some("c0ffee"));
        assert_eq!(folder.commit("c0ffee").as_deref(), Some("c0ffee"));
        folder.note("c0ffee", "c0ffee").unwrap();
        assert!(!folder.path().join("refs/c0ffee").exists(), "a commit needs no note");
        // A link whose bytes were removed is none, and is made anew.
        fs::remove_file(folder.blob("tag")).unwrap();
        fs::write(folder.blob("other"), "more").unwrap();
        assert_eq!(fs::read(folder.link("other", "c0ffee", "config.json").unwrap()).unwrap(), b"more");
        drop(folder.lock("tag").unwrap());
        assert!(dir.path().join(".locks/models--owner--name/tag.lock").is_file());
    }

    #[test]
    fn a_tilde_is_the_users_folder() {
        let home = dirs::home_dir().unwrap();
        assert_eq!(expanded("~/a/b"), home.join("a/b"));
        assert_eq!(expanded("~"), home);
        assert_eq!(expanded("~other/a"), Path::new("~other/a"));
        assert_eq!(expanded("/a/~"), Path::new("/a/~"));
    }
}
