//! The coded samples of a file.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::track::{Description, FaultKind, Parsed, Track, read_at};
use crate::data::error::{Error, Result};

/// A file, and where its frames are.
pub(super) struct Source {
    pub path: PathBuf,
    file: File,
    pub track: Track,
    /// The description of the samples that are decoded.
    pub description: usize,
}

impl Source {
    /// A file whose container `parse` reads.
    pub fn open(path: &Path, parse: impl FnOnce(&mut File) -> Parsed<Track>) -> Result<Source> {
        let mut file = File::open(path).map_err(|e| Error::io(path, e))?;
        let track = parse(&mut file).map_err(|fault| match fault.kind {
            FaultKind::Unsupported => Error::Unsupported { path: path.to_owned(), reason: fault.reason },
            FaultKind::Damage => Error::video(path, fault.reason),
            FaultKind::Io(kind) => Error::io(path, std::io::Error::new(kind, fault.reason)),
        })?;
        Ok(Source { path: path.to_owned(), file, track, description: 0 })
    }

    /// The description in use.
    pub fn described(&self) -> &Description {
        &self.track.descriptions[self.description]
    }

    pub fn broken(&self, reason: impl Into<String>) -> Error {
        Error::video(&self.path, reason)
    }

    pub fn unsupported(&self, reason: impl Into<String>) -> Error {
        Error::Unsupported { path: self.path.clone(), reason: reason.into() }
    }

    /// The bytes of a sample, into `data`.
    pub fn read(&mut self, index: usize, data: &mut Vec<u8>) -> Result<()> {
        let sample = self.track.samples[index];
        data.resize(sample.size, 0);
        read_at(&mut self.file, sample.offset as u64, data).map_err(|fault| match fault.kind {
            FaultKind::Io(kind) => Error::io(&self.path, std::io::Error::new(kind, fault.reason)),
            _ => self.broken(format!("frame {index}: {fault}")),
        })
    }
}
