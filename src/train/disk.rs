//! The file operations behind a checkpoint, in one place so that tests can stop after any of them.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use crate::weights::sync_dir;

/// A kind of operation, as tests see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    /// A folder is made.
    CreateDir,
    /// A file is opened for writing.
    Create,
    /// Bytes of it are written.
    Write,
    /// It is synced.
    Sync,
    /// A file or folder is renamed.
    Rename,
    /// A folder's entries are synced.
    SyncDir,
    /// A folder is removed.
    Remove,
}

/// Called before each operation; an error takes the operation's place.
type Hook = Arc<dyn Fn(Op, &Path) -> io::Result<()> + Send + Sync>;

/// The disk, or one that fails as a test wants.
#[derive(Clone)]
pub(crate) struct Disk(Option<Hook>);

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Disk(hooked)" } else { "Disk" })
    }
}

impl Disk {
    /// The disk itself.
    pub(crate) fn real() -> Self {
        Self(None)
    }

    /// One that asks `hook` first.
    #[cfg(test)]
    pub(crate) fn hooked(hook: Hook) -> Self {
        Self(Some(hook))
    }

    fn ask(&self, op: Op, path: &Path) -> io::Result<()> {
        self.0.as_ref().map_or(Ok(()), |hook| hook(op, path))
    }

    /// Makes a folder and those above it.
    pub(crate) fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.ask(Op::CreateDir, path)?;
        fs::create_dir_all(path)
    }

    /// Writes a new file and syncs it; `refused` says what becomes of errors of the system.
    pub(crate) fn write<E>(
        &self,
        path: &Path,
        refused: impl Fn(io::Error) -> E,
        content: impl FnOnce(&mut dyn Write) -> Result<(), E>,
    ) -> Result<(), E> {
        let file = self.ask(Op::Create, path).and_then(|()| File::create(path)).map_err(&refused)?;
        let mut out = BufWriter::with_capacity(1 << 20, Asking { disk: self, path, file });
        content(&mut out)?;
        let Asking { file, .. } = out.into_inner().map_err(|e| refused(e.into_error()))?;
        self.ask(Op::Sync, path).and_then(|()| file.sync_all()).map_err(refused)
    }

    /// Renames within one file system.
    pub(crate) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.ask(Op::Rename, from)?;
        fs::rename(from, to)
    }

    /// Makes a folder's entries durable.
    pub(crate) fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.ask(Op::SyncDir, path)?;
        sync_dir(path)
    }

    /// Removes a folder and all in it, file by file.
    pub(crate) fn remove_dir(&self, path: &Path) -> io::Result<()> {
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                self.remove_dir(&entry.path())?;
            } else {
                self.ask(Op::Remove, &entry.path())?;
                fs::remove_file(entry.path())?;
            }
        }
        self.ask(Op::Remove, path)?;
        fs::remove_dir(path)
    }
}

struct Asking<'a> {
    disk: &'a Disk,
    path: &'a Path,
    file: File,
}

impl Write for Asking<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.disk.ask(Op::Write, self.path)?;
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
