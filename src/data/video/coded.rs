//! Coded frames of a track, decoded by a codec of our own choice; only what the wanted frames need.

use std::collections::HashMap;
use std::fs::File;
use std::ops::RangeInclusive;
use std::path::Path;

use fast_image_resize::Resizer;

use super::rgb::{Colour, Planes, to_rgb, turned};
use super::source::Source;
use super::track::{Codec, Parsed, Track};
use super::{Facts, Frames, Reader, Video, h264, is_installed, vp9};
use crate::data::crop::{Region, resize};
use crate::data::error::Result;

/// A video of coded frames.
pub(super) struct Coded {
    source: Source,
    /// Of each description.
    colours: Vec<Colour>,
    /// Sample of each rank.
    by_rank: Vec<usize>,
    /// Width and height of the first frame as it is shown, and whether decoding it told them.
    size: (usize, usize),
    is_seen: bool,
    /// Samples of which it is known whether decoding can start there, whatever the container says.
    entries: HashMap<usize, bool>,
}

/// A decoded frame.
struct Picture {
    size: (usize, usize),
    rgb: Vec<u8>,
}

impl Coded {
    pub fn open(path: &Path, parse: impl FnOnce(&mut File) -> Parsed<Track>) -> Result<Self> {
        let mut source = Source::open(path, parse)?;
        let samples = &source.track.samples;
        let mut by_rank: Vec<usize> = (0..samples.len()).collect();
        by_rank.retain(|&s| samples[s].shown);
        by_rank.sort_by_key(|&s| samples[s].time);
        let (mut colours, mut size) = (Vec::new(), None);
        for description in 0..source.track.descriptions.len() {
            let first = source.track.samples.iter().position(|sample| usize::from(sample.description) == description);
            // One that no sample is coded by.
            let Some(first) = first else {
                colours.push(Colour::default());
                continue;
            };
            source.description = description;
            let (colour, own) = match source.track.codec {
                Codec::H264 => h264::check(&source)?,
                Codec::Vp9 => vp9::check(&mut source)?,
            };
            colours.push(colour);
            size = if first == 0 { Some(own) } else { size };
        }
        let (width, height) = size.unwrap_or_default();
        let size = if source.track.turns % 2 == 1 { (height, width) } else { (width, height) };
        let mut coded = Coded { source, colours, by_rank, size, is_seen: false, entries: HashMap::new() };
        // Frames that are shown before the first one that is coded need one that is not there.
        let samples = &coded.source.track.samples;
        let leads = samples.iter().any(|sample| sample.shown && sample.time < samples[0].time);
        if leads || !coded.is_entry(0)? {
            return Err(coded.source.unsupported("the video starts within a group of pictures"));
        }
        Ok(coded)
    }

    /// Whether decoding can start at a sample, by its content.
    fn is_entry(&mut self, sample: usize) -> Result<bool> {
        if let Some(known) = self.entries.get(&sample) {
            return Ok(*known);
        }
        let mut data = Vec::new();
        self.source.read(sample, &mut data)?;
        self.source.description = usize::from(self.source.track.samples[sample].description);
        let entry = match self.source.track.codec {
            Codec::H264 => h264::is_entry(&self.source, &data)?,
            Codec::Vp9 => vp9::header(&data).is_some_and(|header| header.key_frame),
        };
        self.entries.insert(sample, entry);
        Ok(entry)
    }

    /// The sample at which decoding must start for a sample: the last one that allows it and is shown no later.
    fn start_of(&mut self, sample: usize) -> Result<usize> {
        for start in (0..=sample).rev() {
            let samples = &self.source.track.samples;
            if samples[start].sync && samples[start].time <= samples[sample].time && self.is_entry(start)? {
                return Ok(start);
            }
        }
        Ok(0)
    }

    /// Splits sorted samples into runs that are decoded in one go: a run ends where all further samples start behind
    /// it. (In an open GOP, frames that follow a key frame may still start before it.) What is coded by another
    /// description is a run of its own.
    fn runs(&mut self, mut pending: &[usize]) -> Result<Vec<(RangeInclusive<usize>, Vec<usize>)>> {
        let mut runs = Vec::new();
        while let Some(&first) = pending.first() {
            let starts = pending.iter().map(|&s| self.start_of(s)).collect::<Result<Vec<usize>>>()?;
            // From the back: the earliest start of what remains.
            let mut earliest = starts.clone();
            for i in (1..earliest.len()).rev() {
                earliest[i - 1] = earliest[i - 1].min(earliest[i]);
            }
            let description = |s: usize| self.source.track.samples[s].description;
            let apart =
                |&i: &usize| earliest[i] > pending[i - 1] || description(pending[i]) != description(pending[i - 1]);
            let (run, rest) = pending.split_at((1..pending.len()).find(apart).unwrap_or(pending.len()));
            let start = starts[..run.len()].iter().copied().min().unwrap_or(first);
            let last = run.last().copied().unwrap_or(first);
            if (start..last).any(|s| description(s) != description(last)) {
                return Err(self
                    .source
                    .unsupported("frames that need others of another description are not supported"));
            }
            runs.push((start..=last, run.to_vec()));
            pending = rest;
        }
        Ok(runs)
    }

    /// The pictures of sorted samples.
    fn decode(&mut self, samples: &[usize]) -> Result<HashMap<usize, Picture>> {
        let mut decoded = HashMap::new();
        let turns = self.source.track.turns;
        for (range, run) in self.runs(samples)? {
            self.source.description = usize::from(self.source.track.samples[*range.start()].description);
            let colour = self.colours[self.source.description];
            let mut take = |sample: usize, planes: Planes<'_>| {
                if run.binary_search(&sample).is_ok() {
                    let (rgb, width, height) = turned(to_rgb(&planes, colour), planes.width, planes.height, turns);
                    decoded.insert(sample, Picture { size: (width, height), rgb });
                }
            };
            match self.source.track.codec {
                Codec::H264 => h264::decode(&mut self.source, range, &run, &mut take)?,
                Codec::Vp9 => vp9::decode(&mut self.source, range, &mut take)?,
            }
        }
        match samples.iter().find(|sample| !decoded.contains_key(sample)) {
            Some(sample) => Err(self.source.broken(format!("frame {sample} decodes to no picture"))),
            None => Ok(decoded),
        }
    }

    /// Gives all pictures the size of the video's first frame, as the `ffmpeg` program does, which is asked instead where it
    /// is there.
    fn scale(&mut self, pictures: &mut HashMap<usize, Picture>) -> Result<()> {
        if let (Some(first), false) = (self.by_rank.first().copied(), self.is_seen)
            && pictures.values().any(|picture| picture.size != self.size)
        {
            self.size = self.decode(&[first])?[&first].size;
            self.is_seen = true;
        }
        let (width, height) = self.size;
        let mut resizer = Resizer::new();
        for picture in pictures.values_mut().filter(|picture| picture.size != (width, height)) {
            let (w, h) = picture.size;
            if is_installed() {
                let reason = format!("frames change from {width}x{height} to {w}x{h} pixels");
                return Err(self.source.unsupported(reason));
            }
            let (mut scaled, region) = (vec![0; 3 * width * height], Region { x: 0, y: 0, width: w, height: h });
            resize(&mut resizer, (&picture.rgb, w, h), region, self.size, &mut scaled)
                .map_err(|e| self.source.broken(e))?;
            *picture = Picture { size: self.size, rgb: scaled };
        }
        Ok(())
    }
}

impl Video for Coded {
    fn len(&self) -> usize {
        self.by_rank.len()
    }

    fn size(&self) -> Option<(usize, usize)> {
        Some(self.size)
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
        let mut decoded = self.decode(&order)?;
        self.scale(&mut decoded)?;
        let mut frames = Frames { width: 0, height: 0, rgb: Vec::with_capacity(wanted.len()) };
        for (i, sample) in wanted.iter().enumerate() {
            let Some(picture) = decoded.get_mut(sample) else { continue };
            frames.expect_size(&self.source.path, picture.size)?;
            let again = wanted[i + 1..].contains(sample);
            frames.rgb.push(if again { picture.rgb.clone() } else { std::mem::take(&mut picture.rgb) });
        }
        Ok(frames)
    }
}
