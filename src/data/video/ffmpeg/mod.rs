//! Videos of any kind through the `ffmpeg` and `ffprobe` programs: frames come over a pipe, as it would show them.

mod listing;
mod program;

use std::fs::File;
use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Facts, Frames, Reader, Video, span};
use crate::data::error::{Error, Result};
use program::Program;

pub(in crate::data) use listing::mapped;
pub(in crate::data) use program::{is_installed, passthrough};

/// How long a program, or a library, may be silent.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// Pixels of the largest frame that is taken.
pub(super) const LARGEST_FRAME: usize = 1 << 26;

/// What `ffprobe`, or the libraries behind it, says of a video.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    container: String,
    codec: String,
    /// Presentation times in seconds by rank; of some containers unknown.
    times: Vec<Option<f64>>,
    /// Its times are those of frames, so that one can begin at one: mp4, mov, webm, mkv. (In avi they are of packets.)
    seekable: bool,
    /// The stream that is its video, of all streams of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stream: Option<usize>,
    /// Width and height of the first frame as it is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<(usize, usize)>,
    /// All of it was decoded to count its frames.
    #[serde(default)]
    counted: bool,
}

impl Known {
    /// Times may come in any order.
    pub(super) fn new(path: &Path, container: String, codec: String, mut times: Vec<Option<f64>>) -> Result<Known> {
        // The first of several names that a container has; of mp4 it is that of an older one.
        let container = if container == "mov" { "mp4".to_owned() } else { container };
        if times.iter().all(Option::is_some) {
            times.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
        }
        let seekable = seekable(path).map_err(|e| Error::io(path, e))?;
        Ok(Known { container, codec, times, seekable, stream: None, size: None, counted: false })
    }

    pub(super) fn len(&self) -> usize {
        self.times.len()
    }

    /// The video's stream, for `-map`.
    fn map(&self) -> String {
        self.stream.map_or("0:V:0".to_owned(), |stream| format!("0:{stream}"))
    }

    pub(super) fn facts(&self, reader: Reader) -> Facts {
        let times = || self.times.iter().flatten();
        let seconds = times().last().unwrap_or(&0.0) - times().next().unwrap_or(&0.0);
        Facts { container: self.container.clone(), codec: self.codec.clone(), seconds, reader, missing: 0 }
    }

    /// Where to begin for a rank, halfway from the one before; nowhere if times do not tell.
    pub(super) fn seek(&self, rank: usize) -> Option<f64> {
        if !self.seekable {
            return None;
        }
        let before = self.times.get(rank.checked_sub(1)?).copied().flatten()?;
        let own = self.times.get(rank).copied().flatten()?;
        (own > before).then_some((before + own) / 2.0)
    }

    /// Whether a time is that of a rank that can be begun at.
    #[cfg(feature = "ffmpeg")]
    pub(super) fn is_at(&self, rank: usize, time: f64) -> bool {
        let own = self.times.get(rank).copied().flatten();
        self.seek(rank).zip(own).is_some_and(|(from, own)| (time - own).abs() < own - from)
    }

    #[cfg(feature = "ffmpeg")]
    pub(super) fn codec(&self) -> &str {
        &self.codec
    }
}

pub(super) struct External {
    path: PathBuf,
    known: Known,
}

fn seekable(path: &Path) -> std::io::Result<bool> {
    let mut start = [0; 8];
    let count = File::open(path)?.read(&mut start)?;
    Ok(start[..count].starts_with(&[0x1a, 0x45, 0xdf, 0xa3]) || start[4..] == *b"ftyp")
}

impl External {
    /// A video of which all is known.
    pub fn of(path: &Path, known: &Known) -> Self {
        External { path: path.to_owned(), known: known.clone() }
    }

    /// Lists the video's frames; `why` says why the built-in decoder does not read it.
    pub fn open(path: &Path, why: &str) -> Result<Self> {
        Ok(External { path: path.to_owned(), known: listing::list(path, why)? })
    }

    fn broken(&self, reason: impl Into<String>) -> Error {
        Error::video(&self.path, reason.into())
    }

    /// One frame of a PPM stream: width, height, RGB; none at the end.
    fn picture(&self, out: &mut impl BufRead) -> std::result::Result<Option<(usize, usize, Vec<u8>)>, String> {
        let mut header = Vec::new();
        for _ in 0..3 {
            let limit = 64;
            let mut line = Vec::new();
            out.by_ref().take(limit).read_until(b'\n', &mut line).map_err(|e| format!("ffmpeg: {e}"))?;
            header.extend(line);
        }
        if header.is_empty() {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(&header);
        let fields: Vec<&str> = text.split_whitespace().collect();
        let size = |at: usize| fields.get(at).and_then(|f| f.parse::<usize>().ok());
        let (Some(&"P6"), Some(width), Some(height), Some(255)) = (fields.first(), size(1), size(2), size(3)) else {
            return Err("ffmpeg sent something that is no frame".to_owned());
        };
        if width.saturating_mul(height) > LARGEST_FRAME {
            return Err(format!("frames of {width} x {height} pixels are too large"));
        }
        let mut rgb = vec![0; 3 * width * height];
        out.read_exact(&mut rgb).map_err(|e| format!("ffmpeg ended within a frame: {e}"))?;
        Ok(Some((width, height, rgb)))
    }
}

/// A path that ffmpeg does not take for an option or a protocol.
pub(in crate::data) fn local(path: &Path) -> std::ffi::OsString {
    let mut name = std::ffi::OsString::from("file:");
    name.push(path);
    name
}

impl External {
    /// The frames of some ranks, decoded from a time halfway to the first or from the start.
    fn decode(&self, ranks: &[usize], (first, last): (usize, usize), from: Option<f64>) -> Result<Frames> {
        let mut program = Program::start("ffmpeg", &self.path, "", |command| {
            command.args(["-v", "error", "-nostdin", "-threads", "1"]);
            if let Some(seconds) = from {
                command.args(["-seek_timestamp", "1", "-ss", &format!("{seconds:.6}")]);
            }
            command.arg("-i").arg(local(&self.path)).args(["-map", &self.known.map()]).args(passthrough());
            command.args(["-f", "image2pipe", "-c:v", "ppm", "-pix_fmt", "rgb24", "-"]);
        })?;
        let mut at = if from.is_some() { first } else { 0 };
        let mut frames = Frames { width: 0, height: 0, rgb: vec![Vec::new(); ranks.len()] };
        while at <= last {
            let picture = self.picture(&mut program.out);
            let Some((width, height, rgb)) = picture.map_err(|reason| program.error(&self.path, &reason))? else {
                return Err(program.error(&self.path, &format!("ffmpeg gives no frame {at} of {}", self.len())));
            };
            program.sign();
            // Frames of other sizes are scaled to the size of the first one, which only decoding from the start has.
            if from.is_some() && self.known.size.is_some_and(|size| size != (width, height)) {
                return self.decode(ranks, (first, last), None);
            }
            let wanted: Vec<usize> = (0..ranks.len()).filter(|i| ranks[*i] == at).collect();
            at += 1;
            frames.put(&self.path, &wanted, (width, height), rgb)?;
        }
        Ok(frames)
    }
}

impl Video for External {
    fn len(&self) -> usize {
        self.known.len()
    }

    fn size(&self) -> Option<(usize, usize)> {
        self.known.size
    }

    fn facts(&self) -> Facts {
        self.known.facts(Reader::Program)
    }

    fn known(&self) -> Option<Known> {
        Some(self.known.clone())
    }

    fn frames(&mut self, ranks: &[usize]) -> Result<Frames> {
        let span = span(ranks, self.len(), |reason| self.broken(reason))?;
        let Some((first, last)) = span else { return Ok(Frames::none()) };
        let decoded = self.decode(ranks, (first, last), self.known.seek(first));
        match decoded {
            // Not all packets are frames: what there is, is known once all of it is decoded.
            Err(error @ Error::Video { .. }) if !self.known.counted => {
                let len = self.len();
                self.known = listing::count(&self.path, &self.known, "")?;
                if self.len() == len { self.decode(ranks, (first, last), None) } else { Err(error) }
            }
            other => other,
        }
    }
}
