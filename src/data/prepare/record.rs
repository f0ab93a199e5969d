//! What was made from which file and how, one JSON object a line: a second call makes anew what would be another.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::PrepareConfig;
use crate::data::error::{Error, Result};
use crate::lock::Locked;

/// One video that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Made {
    #[serde(with = "bytes")]
    name: PathBuf,
    is_frames: bool,
    config: PrepareConfig,
    #[serde(with = "bytes")]
    source: PathBuf,
    /// Bytes of the source, and the time it was written, in seconds and nanoseconds since 1970.
    stamp: (u64, u64, u32),
}

/// Paths as the bytes that they are: names need not be text.
mod bytes {
    use std::ffi::OsString;
    use std::path::{Path, PathBuf};

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Name {
        Text(String),
        Other(OsString),
    }

    pub fn serialize<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
        let text = path.to_str().map(|text| Name::Text(text.to_owned()));
        text.unwrap_or_else(|| Name::Other(path.into())).serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
        Ok(match Name::deserialize(from)? {
            Name::Text(text) => text.into(),
            Name::Other(name) => name.into(),
        })
    }
}

impl Made {
    pub fn new(name: PathBuf, source: &Path, config: &PrepareConfig, is_frames: bool) -> Result<Made> {
        let failed = |e| Error::io(source, e);
        let about = source.metadata().map_err(failed)?;
        let modified = about.modified().map_err(failed)?.duration_since(UNIX_EPOCH).unwrap_or_default();
        let stamp = (about.len(), modified.as_secs(), modified.subsec_nanos());
        // Frames have no rate factor and no key frames.
        let config = if is_frames { PrepareConfig { keyint: 0, crf: 0, ..*config } } else { *config };
        let source = std::path::absolute(source).map_err(failed)?;
        Ok(Made { name, is_frames, config, source, stamp })
    }
}

/// The file of what was made, which one process at a time may have.
pub(super) struct Record {
    path: PathBuf,
    before: HashMap<PathBuf, Made>,
    file: Mutex<Locked>,
}

impl Record {
    pub fn open(out: &Path) -> Result<Record> {
        let path = out.join("prepared.jsonl");
        let failed = |e| Error::io(&path, e);
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(failed)?;
        let Some(file) = Locked::new(file, &path).map_err(failed)? else {
            return Err(Error::Busy { path: out.to_owned() });
        };
        let mut before = HashMap::new();
        for line in BufReader::new(File::open(&path).map_err(failed)?).split(b'\n') {
            // A line that a killed call left half: that video is made again.
            if let Ok(made) = serde_json::from_slice::<Made>(&line.map_err(failed)?) {
                before.insert(made.name.clone(), made);
            }
        }
        Ok(Record { path, before, file: Mutex::new(file) })
    }

    /// Whether just this was made by a call before.
    pub fn has(&self, made: &Made) -> bool {
        self.before.get(&made.name) == Some(made)
    }

    pub fn add(&self, made: Made) -> Result<()> {
        // A half line ends here.
        let text = serde_json::to_string(&made).map_err(|e| Error::io(&self.path, e.into()))?;
        let Ok(file) = self.file.lock() else { return Ok(()) };
        (&**file).write_all(format!("\n{text}\n").as_bytes()).map_err(|e| Error::io(&self.path, e))
    }
}
