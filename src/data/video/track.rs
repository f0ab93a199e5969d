//! What a container says of its video: where each coded frame lies, when it is shown, whether decoding can start there.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};

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
    /// Which of the track's descriptions it is coded by.
    pub description: u16,
}

/// What a decoder must know of samples before it sees one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Description {
    /// The decoder's configuration: `avcC` of H.264, nothing of VP9.
    pub config: Vec<u8>,
    /// What the container says of colours; the stream's own word counts more.
    pub colour: Option<Colour>,
}

/// The video track that is shown: the first that is enabled and default, and no picture that is attached to something else.
#[derive(Debug, Clone)]
pub(super) struct Track {
    pub container: &'static str,
    pub codec: Codec,
    /// One at least; those that no sample is coded by are empty.
    pub descriptions: Vec<Description>,
    /// In the order of decoding.
    pub samples: Vec<Sample>,
    /// Quarter turns, clockwise, that show the frames upright.
    pub turns: u8,
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
    pub kind: FaultKind,
}

/// What kind of fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FaultKind {
    /// The file is damaged.
    Damage,
    /// A container, codec or feature that another decoder may read.
    Unsupported,
    /// The system could not read the file.
    Io(ErrorKind),
}

impl Fault {
    pub fn unsupported(reason: impl Into<String>) -> Self {
        Fault { reason: reason.into(), kind: FaultKind::Unsupported }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.reason)
    }
}

impl From<String> for Fault {
    fn from(reason: String) -> Self {
        Fault { reason, kind: FaultKind::Damage }
    }
}

impl From<&str> for Fault {
    fn from(reason: &str) -> Self {
        reason.to_owned().into()
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        // A file that ends too early is no trouble of the system's.
        let kind =
            if error.kind() == ErrorKind::UnexpectedEof { FaultKind::Damage } else { FaultKind::Io(error.kind()) };
        Fault { reason: error.to_string(), kind }
    }
}

pub(super) type Parsed<T> = Result<T, Fault>;

/// Reads `bytes` at a place of the file.
pub(super) fn read_at(file: &mut File, at: u64, bytes: &mut [u8]) -> Parsed<()> {
    file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(bytes)).map_err(Fault::from)
}
