//! H.264 in mp4, decoded by `rust_h264`; only what the wanted frames need.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rust_h264::decoder::{Frame, OrderedDecoder};
use rust_h264::nal::{NalUnitType, parse_avcc, parse_avcc_config};
use rust_h264::sps::parse_sps;

use super::mp4::{self, Track};
use super::rgb::{Colour, to_rgb};
use super::{Frames, Video};
use crate::data::error::{Error, Result};

pub(super) struct Mp4Video {
    path: PathBuf,
    file: Vec<u8>,
    track: Track,
    colour: Colour,
    /// Sample of each rank.
    by_rank: Vec<usize>,
}

impl Mp4Video {
    pub fn open(path: &Path) -> Result<Self> {
        let file = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        let broken = |reason: String| Error::video(path, reason);
        let track = mp4::parse(&file).map_err(broken)?;
        let config = parse_avcc_config(&track.config).map_err(|e| broken(format!("broken mp4: {e}")))?;
        let sps = config.sps_nals.iter().find(|n| n.nal_unit_type == NalUnitType::Sps);
        let colour = sps.and_then(|n| parse_sps(&n.rbsp).ok()).map_or(Colour::default(), |sps| Colour {
            matrix: sps.matrix_coefficients,
            full_range: sps.video_full_range_flag,
        });
        let mut by_rank: Vec<usize> = (0..track.samples.len()).collect();
        by_rank.retain(|&s| track.samples[s].time >= i64::MIN / 2);
        by_rank.sort_by_key(|&s| track.samples[s].time);
        Ok(Mp4Video { path: path.to_owned(), file, track, colour, by_rank })
    }

    /// The sample at which decoding must start for a sample: the last one that allows it and is shown no later.
    fn start_of(&self, sample: usize) -> usize {
        let samples = &self.track.samples;
        let starts = (0..=sample).rev().find(|&s| samples[s].sync && samples[s].time <= samples[sample].time);
        starts.unwrap_or(0)
    }

    /// Decodes samples `range` and hands over those that are wanted.
    fn decode(&self, range: std::ops::RangeInclusive<usize>, mut take: impl FnMut(usize, Frame)) -> Result<()> {
        let broken = |reason: String| Error::video(&self.path, reason);
        let config = parse_avcc_config(&self.track.config).map_err(|e| broken(format!("broken mp4: {e}")))?;
        let mut decoder: OrderedDecoder<usize> = OrderedDecoder::with_max_depth(1);
        let mut emit = |frames: Vec<(Frame, usize)>| frames.into_iter().for_each(|(frame, sample)| take(sample, frame));
        let parameters = config.sps_nals.iter().chain(&config.pps_nals);
        for nal in parameters {
            let set = decoder.decode_nal_with_meta(nal, *range.start());
            emit(set.map_err(|e| broken(format!("H.264 parameter set: {e}")))?);
        }
        for index in range {
            let sample = self.track.samples[index];
            let data = &self.file[sample.offset..sample.offset + sample.size];
            for nal in parse_avcc(data, config.length_size) {
                let decoded = decoder.decode_nal_with_meta(&nal, index);
                emit(decoded.map_err(|e| broken(format!("H.264 frame {index}: {e}")))?);
            }
        }
        emit(decoder.flush_with_meta());
        Ok(())
    }
}

impl Video for Mp4Video {
    fn len(&self) -> usize {
        self.by_rank.len()
    }

    fn frames(&mut self, ranks: &[usize]) -> Result<Frames> {
        let mut wanted = Vec::new();
        for &rank in ranks {
            let sample = self.by_rank.get(rank).copied();
            let count = self.by_rank.len();
            let missing = || Error::video(&self.path, format!("frame {rank} of {count} was asked for"));
            wanted.push(sample.ok_or_else(missing)?);
        }
        let mut order = wanted.clone();
        order.sort_unstable();
        order.dedup();
        let mut decoded: HashMap<usize, (usize, usize, Vec<u8>)> = HashMap::new();
        let mut pending = order.as_slice();
        while let Some(&first) = pending.first() {
            // One run of the decoder goes on until all further frames start behind it; in an open GOP, frames that
            // follow a key frame may still start before it.
            let starts: Vec<usize> = pending.iter().map(|&s| self.start_of(s)).collect();
            let apart = |&i: &usize| starts[i..].iter().all(|&s| s > pending[i - 1]);
            let (run, rest) = pending.split_at((1..pending.len()).find(apart).unwrap_or(pending.len()));
            let start = starts[..run.len()].iter().copied().min().unwrap_or(first);
            let last = run.last().copied().unwrap_or(first);
            let colour = self.colour;
            self.decode(start..=last, |sample, frame| {
                if run.contains(&sample) {
                    let rgb = to_rgb(&frame, colour);
                    decoded.insert(sample, (frame.width as usize, frame.height as usize, rgb));
                }
            })?;
            pending = rest;
        }
        let mut frames = Frames { width: 0, height: 0, rgb: Vec::with_capacity(wanted.len()) };
        for sample in wanted {
            let lost = || Error::video(&self.path, format!("H.264 frame {sample} decodes to no picture"));
            let (width, height, rgb) = decoded.get(&sample).ok_or_else(lost)?;
            if !frames.rgb.is_empty() && (frames.width, frames.height) != (*width, *height) {
                let (w, h) = (frames.width, frames.height);
                let reason = format!("frame size changes from {w}x{h} to {width}x{height}");
                return Err(Error::video(&self.path, reason));
            }
            (frames.width, frames.height) = (*width, *height);
            frames.rgb.push(rgb.clone());
        }
        Ok(frames)
    }
}
