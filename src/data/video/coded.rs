//! Coded frames of a track, decoded by a codec of our own choice; only what the wanted frames need.

use std::collections::HashMap;
use std::fs::File;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use super::rgb::{Colour, Planes, to_rgb, turned};
use super::track::{Codec, Parsed, Track, read_at};
use super::{Facts, Frames, Reader, Video, h264, vp9};
use crate::data::error::{Error, Result};

/// A file, and where its frames are.
pub(super) struct Source {
    path: PathBuf,
    file: File,
    pub track: Track,
}

impl Source {
    /// A file whose container `parse` reads.
    pub fn open(path: &Path, parse: impl FnOnce(&mut File) -> Parsed<Track>) -> Result<Source> {
        let mut file = File::open(path).map_err(|e| Error::io(path, e))?;
        let track = parse(&mut file).map_err(|fault| match fault.unsupported {
            true => Error::Unsupported { path: path.to_owned(), reason: fault.reason },
            false => Error::video(path, fault.reason),
        })?;
        Ok(Source { path: path.to_owned(), file, track })
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
        let read = read_at(&mut self.file, sample.offset as u64, data);
        read.map_err(|e| self.broken(format!("frame {index}: {e}")))
    }
}

/// A video of coded frames.
pub(super) struct Coded {
    source: Source,
    colour: Colour,
    /// Sample of each rank.
    by_rank: Vec<usize>,
}

/// A decoded frame.
struct Picture {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Coded {
    pub fn open(path: &Path, parse: impl FnOnce(&mut File) -> Parsed<Track>) -> Result<Self> {
        let mut source = Source::open(path, parse)?;
        let samples = &source.track.samples;
        let mut by_rank: Vec<usize> = (0..samples.len()).collect();
        by_rank.retain(|&s| samples[s].shown);
        by_rank.sort_by_key(|&s| samples[s].time);
        let colour = match source.track.codec {
            Codec::H264 => h264::check(&source)?,
            Codec::Vp9 => vp9::check(&mut source)?,
        };
        Ok(Coded { source, colour, by_rank })
    }

    /// The sample at which decoding must start for a sample: the last one that allows it and is shown no later.
    fn start_of(&self, sample: usize) -> usize {
        let samples = &self.source.track.samples;
        let starts = (0..=sample).rev().find(|&s| samples[s].sync && samples[s].time <= samples[sample].time);
        starts.unwrap_or(0)
    }

    /// Splits sorted samples into runs that are decoded in one go: a run ends where all further samples start behind
    /// it. (In an open GOP, frames that follow a key frame may still start before it.)
    fn runs(&self, mut pending: &[usize]) -> Vec<(RangeInclusive<usize>, Vec<usize>)> {
        let mut runs = Vec::new();
        while let Some(&first) = pending.first() {
            let starts: Vec<usize> = pending.iter().map(|&s| self.start_of(s)).collect();
            // From the back: the earliest start of what remains.
            let mut earliest = starts.clone();
            for i in (1..earliest.len()).rev() {
                earliest[i - 1] = earliest[i - 1].min(earliest[i]);
            }
            let apart = |&i: &usize| earliest[i] > pending[i - 1];
            let (run, rest) = pending.split_at((1..pending.len()).find(apart).unwrap_or(pending.len()));
            let start = starts[..run.len()].iter().copied().min().unwrap_or(first);
            let last = run.last().copied().unwrap_or(first);
            runs.push((start..=last, run.to_vec()));
            pending = rest;
        }
        runs
    }
}

impl Video for Coded {
    fn len(&self) -> usize {
        self.by_rank.len()
    }

    fn facts(&self) -> Facts {
        let track = &self.source.track;
        let times = self.by_rank.iter().map(|s| track.samples[*s].time);
        let span = times.clone().next_back().unwrap_or(0) - times.clone().next().unwrap_or(0);
        // The last frame lasts as long as the others do.
        let gaps = (times.len().max(2) - 1) as f64;
        let seconds = span as f64 * (gaps + 1.0) / gaps / track.timescale;
        let codec = track.codec.name().to_owned();
        Facts { container: track.container.to_owned(), codec, seconds, reader: Reader::Own, missing: track.missing }
    }

    fn frames(&mut self, ranks: &[usize]) -> Result<Frames> {
        let mut wanted = Vec::new();
        for &rank in ranks {
            let count = self.by_rank.len();
            let missing = || self.source.broken(format!("frame {rank} of {count} was asked for"));
            wanted.push(self.by_rank.get(rank).copied().ok_or_else(missing)?);
        }
        let mut order = wanted.clone();
        order.sort_unstable();
        order.dedup();
        let mut decoded: HashMap<usize, Picture> = HashMap::new();
        let (colour, turns) = (self.colour, self.source.track.turns);
        for (range, run) in self.runs(&order) {
            let mut take = |sample: usize, planes: Planes<'_>| {
                if run.binary_search(&sample).is_ok() {
                    let (rgb, width, height) = turned(to_rgb(&planes, colour), planes.width, planes.height, turns);
                    decoded.insert(sample, Picture { width, height, rgb });
                }
            };
            match self.source.track.codec {
                Codec::H264 => h264::decode(&mut self.source, range, &run, &mut take)?,
                Codec::Vp9 => vp9::decode(&mut self.source, range, &mut take)?,
            }
        }
        let mut frames = Frames { width: 0, height: 0, rgb: Vec::with_capacity(wanted.len()) };
        for (i, sample) in wanted.iter().enumerate() {
            let picture = decoded.get_mut(sample);
            let picture = picture.ok_or_else(|| self.source.broken(format!("frame {sample} decodes to no picture")))?;
            frames.expect_size(&self.source.path, (picture.width, picture.height))?;
            let again = wanted[i + 1..].contains(sample);
            frames.rgb.push(if again { picture.rgb.clone() } else { std::mem::take(&mut picture.rgb) });
        }
        Ok(frames)
    }
}
