//! H.264 in mp4, decoded by `rust_h264`; only what the wanted frames need.

use std::collections::HashMap;
use std::fs::File;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use rust_h264::decoder::{Frame, OrderedDecoder};
use rust_h264::nal::{NalUnitType, parse_avcc, parse_avcc_config};
use rust_h264::sps::{Sps, parse_sps};

use super::mp4::{self, Track};
use super::rgb::{Colour, to_rgb, turned};
use super::{Frames, Video};
use crate::data::error::{Error, Result};

/// Macroblocks of the largest picture of any H.264 level (table A-1): a size beyond it is damage, not a video.
const LARGEST_PICTURE: usize = 139_264;

pub(super) struct Mp4Video {
    path: PathBuf,
    file: File,
    track: Track,
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

impl Mp4Video {
    pub fn open(path: &Path) -> Result<Self> {
        let mut file = File::open(path).map_err(|e| Error::io(path, e))?;
        let broken = |reason: String| Error::video(path, reason);
        let track = mp4::parse(&mut file).map_err(|fault| match fault.unsupported {
            true => Error::Unsupported { path: path.to_owned(), reason: fault.reason },
            false => broken(fault.reason),
        })?;
        let config = parse_avcc_config(&track.config).map_err(|e| broken(format!("broken mp4: {e}")))?;
        let sps = config.sps_nals.iter().find(|n| n.nal_unit_type == NalUnitType::Sps);
        let sps = sps.and_then(|n| parse_sps(&n.rbsp).ok());
        if let Some((width, height)) = sps.as_ref().and_then(too_large) {
            return Err(broken(format!("broken mp4: {width} x {height} macroblocks, over any H.264 level's limit")));
        }
        let colour = sps.map_or(Colour::default(), |sps| Colour {
            matrix: sps.matrix_coefficients,
            full_range: sps.video_full_range_flag,
        });
        let mut by_rank: Vec<usize> = (0..track.samples.len()).collect();
        by_rank.retain(|&s| track.samples[s].shown);
        by_rank.sort_by_key(|&s| track.samples[s].time);
        Ok(Mp4Video { path: path.to_owned(), file, track, colour, by_rank })
    }

    fn broken(&self, reason: String) -> Error {
        Error::video(&self.path, reason)
    }

    /// The sample at which decoding must start for a sample: the last one that allows it and is shown no later.
    fn start_of(&self, sample: usize) -> usize {
        let samples = &self.track.samples;
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

    /// Decodes the samples of `range` that `wanted` (sorted) needs and hands over every picture that results.
    fn decode(
        &mut self,
        range: RangeInclusive<usize>,
        wanted: &[usize],
        mut take: impl FnMut(usize, Frame),
    ) -> Result<()> {
        let config = parse_avcc_config(&self.track.config).map_err(|e| self.broken(format!("broken mp4: {e}")))?;
        let length_size = config.length_size;
        // Pictures come out in any order, each with its sample: no reordering is needed.
        let mut decoder: OrderedDecoder<usize> = OrderedDecoder::with_max_depth(1);
        let mut emit = |frames: Vec<(Frame, usize)>| frames.into_iter().for_each(|(frame, sample)| take(sample, frame));
        for nal in config.sps_nals.iter().chain(&config.pps_nals) {
            let set = decoder.decode_nal_with_meta(nal, *range.start());
            emit(set.map_err(|e| self.broken(format!("H.264 parameter set: {e}")))?);
        }
        let shown_first = self.track.samples[*range.start()].time;
        let mut data = Vec::new();
        for index in range {
            let sample = self.track.samples[index];
            data.resize(sample.size, 0);
            let read = mp4::read_at(&mut self.file, sample.offset as u64, &mut data);
            read.map_err(|e| Error::video(&self.path, format!("frame {index}: {e}")))?;
            let is_wanted = wanted.binary_search(&index).is_ok();
            if !is_wanted && !is_reference(&data, length_size) {
                continue;
            }
            for nal in parse_avcc(&data, length_size) {
                match decoder.decode_nal_with_meta(&nal, index) {
                    Ok(frames) => emit(frames),
                    // Shown before the key frame that decoding started at: it may lack references, and nobody needs it.
                    Err(_) if !is_wanted && sample.time < shown_first => {}
                    Err(e) => return Err(Error::video(&self.path, format!("H.264 frame {index}: {e}"))),
                }
            }
        }
        emit(decoder.flush_with_meta());
        Ok(())
    }
}

/// Size in macroblocks, if no level allows it.
fn too_large(sps: &Sps) -> Option<(usize, usize)> {
    let (width, height) = (sps.pic_width_in_mbs_minus1 as usize + 1, sps.pic_height_in_map_units_minus1 as usize + 1);
    let height = height * if sps.frame_mbs_only_flag { 1 } else { 2 };
    (width.saturating_mul(height) > LARGEST_PICTURE).then_some((width, height))
}

/// Whether other pictures may need this one, or it carries parameter sets (`data` is length-prefixed NAL units).
fn is_reference(mut data: &[u8], length_size: usize) -> bool {
    while data.len() > length_size {
        let (prefix, rest) = data.split_at(length_size);
        let length = prefix.iter().fold(0usize, |n, &b| n << 8 | usize::from(b));
        let header = rest[0];
        let parameters = matches!(header & 31, 7 | 8);
        if parameters || (matches!(header & 31, 1..=5) && header >> 5 & 3 != 0) {
            return true;
        }
        data = rest.get(length..).unwrap_or_default();
    }
    false
}

impl Video for Mp4Video {
    fn len(&self) -> usize {
        self.by_rank.len()
    }

    fn frames(&mut self, ranks: &[usize]) -> Result<Frames> {
        let mut wanted = Vec::new();
        for &rank in ranks {
            let count = self.by_rank.len();
            let missing = || self.broken(format!("frame {rank} of {count} was asked for"));
            wanted.push(self.by_rank.get(rank).copied().ok_or_else(missing)?);
        }
        let mut order = wanted.clone();
        order.sort_unstable();
        order.dedup();
        let mut decoded: HashMap<usize, Picture> = HashMap::new();
        let (colour, turns) = (self.colour, self.track.turns);
        for (range, run) in self.runs(&order) {
            self.decode(range, &run, |sample, frame| {
                if run.binary_search(&sample).is_ok() {
                    let (width, height) = (frame.width as usize, frame.height as usize);
                    let (rgb, width, height) = turned(to_rgb(&frame, colour), width, height, turns);
                    decoded.insert(sample, Picture { width, height, rgb });
                }
            })?;
        }
        let mut frames = Frames { width: 0, height: 0, rgb: Vec::with_capacity(wanted.len()) };
        for (i, sample) in wanted.iter().enumerate() {
            let picture = decoded.get_mut(sample);
            let picture = picture.ok_or_else(|| self.broken(format!("H.264 frame {sample} decodes to no picture")))?;
            let (width, height) = (picture.width, picture.height);
            if i > 0 && (frames.width, frames.height) != (width, height) {
                let (w, h) = (frames.width, frames.height);
                return Err(self.broken(format!("frame size changes from {w}x{h} to {width}x{height}")));
            }
            (frames.width, frames.height) = (width, height);
            let again = wanted[i + 1..].contains(sample);
            frames.rgb.push(if again { picture.rgb.clone() } else { std::mem::take(&mut picture.rgb) });
        }
        Ok(frames)
    }
}
