//! What a container says of its video: where each coded frame lies, when it is shown, whether decoding can start there.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use super::rgb::Colour;

/// A codec that is decoded here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    H264,
    Vp9,
}

impl Codec {
    pub fn name(self) -> &'static str {
        match self {
            Codec::H264 => "h264",
            Codec::Vp9 => "vp9",
        }
    }
}

/// One coded frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sample {
    pub offset: usize,
    pub size: usize,
    /// Presentation time in the track's units.
    pub time: i64,
    /// Decoding can start here.
    pub sync: bool,
    /// False for what no edit shows: decoded if need be, never shown.
    pub shown: bool,
}

/// The first video track.
#[derive(Debug, Clone)]
pub(super) struct Track {
    pub container: &'static str,
    pub codec: Codec,
    /// The decoder's configuration: `avcC` of H.264, nothing of VP9.
    pub config: Vec<u8>,
    /// In the order of decoding.
    pub samples: Vec<Sample>,
    /// Quarter turns, clockwise, that show the frames upright.
    pub turns: u8,
    /// What the container says of colours; the stream's own word counts more.
    pub colour: Option<Colour>,
    /// Units of time in a second.
    pub timescale: f64,
    /// Frames that the index has and the file has not: it was cut.
    pub missing: usize,
}

/// Why a file has no index here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// In words.
    pub reason: String,
    /// Not damage: a container, codec or feature that another decoder may read.
    pub unsupported: bool,
}

impl Fault {
    pub fn unsupported(reason: impl Into<String>) -> Self {
        Fault { reason: reason.into(), unsupported: true }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.reason)
    }
}

impl From<String> for Fault {
    fn from(reason: String) -> Self {
        Fault { reason, unsupported: false }
    }
}

impl From<&str> for Fault {
    fn from(reason: &str) -> Self {
        reason.to_owned().into()
    }
}

pub(super) type Parsed<T> = Result<T, Fault>;

/// Reads `bytes` at a place of the file.
pub(super) fn read_at(file: &mut File, at: u64, bytes: &mut [u8]) -> Parsed<()> {
    file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(bytes)).map_err(|e| e.to_string().into())
}
