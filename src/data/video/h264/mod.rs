//! H.264: the common kinds by a fast decoder, all others, and what that one gives up on, by one of every kind.

mod common;
mod every;

use std::ops::RangeInclusive;

use rust_h264::nal::{AvccConfig, NalUnitType, parse_avcc_config};
use rust_h264::sps::{Sps, parse_sps};

use super::rgb::{Colour, Planes};
use super::source::Source;
use crate::data::error::Result;

/// Macroblocks of the largest picture of any H.264 level (table A-1): a size beyond it is damage, not a video.
const LARGEST_PICTURE: usize = 139_264;

fn config(source: &Source) -> Result<AvccConfig<'_>> {
    parse_avcc_config(&source.described().config).map_err(|e| source.broken(format!("broken H.264 configuration: {e}")))
}

/// Refuses what cannot be decoded here; gives the stream's colours, and the width and height of its frames.
pub(super) fn check(source: &Source) -> Result<(Colour, (usize, usize))> {
    let config = config(source)?;
    let sps = config.sps_nals.iter().find(|n| n.nal_unit_type == NalUnitType::Sps);
    let sps = sps.and_then(|n| parse_sps(&n.rbsp).ok());
    if let Some((width, height)) = sps.as_ref().and_then(too_large) {
        return Err(source.broken(format!("broken H.264: {width} x {height} macroblocks, over any level's limit")));
    }
    if let Some(sps) = &sps {
        let depths = [sps.bit_depth_luma_minus8, sps.bit_depth_chroma_minus8];
        let plain = sps.chroma_format_idc < 3 && !sps.qpprime_y_zero_transform_bypass_flag;
        if !plain || depths[0] != depths[1] || !matches!(depths[0], 0 | 2) {
            let kind = "4:4:4, lossless, or of an unusual number of bits";
            return Err(source.unsupported(format!("H.264 of profile {} ({kind}) is not supported", sps.profile_idc)));
        }
    }
    let size = sps.as_ref().map_or((0, 0), |sps| (sps.width() as usize, sps.height() as usize));
    let own = sps.map_or(Colour::default(), |sps| Colour {
        matrix: sps.matrix_coefficients,
        full_range: sps.video_full_range_flag,
    });
    Ok((own.or(source.described().colour), size))
}

/// Whether decoding can start at a sample: an IDR picture, one that says that all is right from it on, or one of I slices.
pub(super) fn is_entry(source: &Source, data: &[u8]) -> Result<bool> {
    let mut intra = None;
    for unit in units(data, config(source)?.length_size) {
        match unit[0] & 31 {
            5 => return Ok(true),
            6 if recovers_at_once(&unit[1..]) => return Ok(true),
            1 | 2 => intra = intra.or_else(|| slice_is_intra(&unit[1..])),
            _ => {}
        }
    }
    Ok(intra == Some(true))
}

/// Whether supplemental information has a recovery point of 0 frames.
fn recovers_at_once(mut messages: &[u8]) -> bool {
    // A type and a size, each a sum that goes on after 255, then so many bytes.
    fn sum(bytes: &mut &[u8]) -> Option<usize> {
        let mut sum = 0;
        loop {
            let (first, rest) = bytes.split_first()?;
            *bytes = rest;
            sum += usize::from(*first);
            if *first != 255 {
                return Some(sum);
            }
        }
    }
    while messages.len() > 2 {
        let (Some(kind), Some(size)) = (sum(&mut messages), sum(&mut messages)) else { return false };
        // 0 is a single one bit.
        if kind == 6 {
            return messages.first().is_some_and(|byte| byte >> 7 == 1);
        }
        messages = messages.get(size..).unwrap_or_default();
    }
    false
}

/// Whether a slice, by its header, is of I or SI macroblocks alone.
fn slice_is_intra(header: &[u8]) -> Option<bool> {
    let mut bits = header.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1));
    // Numbers have as many bits behind the first one bit as zeros before it.
    let mut number = || {
        let zeros = bits.by_ref().take_while(|bit| *bit == 0).count();
        let rest = (zeros < 32).then(|| bits.by_ref().take(zeros).fold(1u64, |n, bit| n << 1 | u64::from(bit)))?;
        Some(rest - 1)
    };
    let _first_macroblock = number()?;
    Some(matches!(number()? % 5, 2 | 4))
}

/// Decodes the samples of `range` that `wanted` (sorted) needs and hands over every picture that results; one may come
/// twice, the later is right.
pub(super) fn decode(
    source: &mut Source,
    range: RangeInclusive<usize>,
    wanted: &[usize],
    take: &mut dyn FnMut(usize, Planes<'_>),
) -> Result<()> {
    let largest = source.track.samples.iter().map(|sample| sample.size).max().unwrap_or(0);
    if common::suits(&config(source)?, largest) && common::decode(source, range.clone(), wanted, take)? {
        return Ok(());
    }
    every::decode(source, range, wanted, take)
}

/// Why a sample is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// It is wanted, or others that are may need it.
    Whole,
    /// Shown before the key frame that decoding started at: it may lack references, and nobody wants it.
    Leading,
}

/// What is to be decoded of a run of samples.
struct Needs<'a> {
    wanted: &'a [usize],
    shown_first: i64,
    length_size: usize,
}

impl<'a> Needs<'a> {
    fn new(source: &Source, first: usize, wanted: &'a [usize]) -> Result<Needs<'a>> {
        let shown_first = source.track.samples[first].time;
        Ok(Needs { wanted, shown_first, length_size: config(source)?.length_size })
    }

    /// Reads a sample into `data`; nothing if it can be left out.
    fn read(&self, source: &mut Source, index: usize, data: &mut Vec<u8>) -> Result<Option<Need>> {
        source.read(index, data)?;
        let is_wanted = self.wanted.binary_search(&index).is_ok();
        if !is_wanted && !is_reference(data, self.length_size) {
            return Ok(None);
        }
        let leading = !is_wanted && source.track.samples[index].time < self.shown_first;
        Ok(Some(if leading { Need::Leading } else { Need::Whole }))
    }
}

/// Width and height in macroblocks.
fn macroblocks(sps: &Sps) -> (usize, usize) {
    let (width, height) = (sps.pic_width_in_mbs_minus1 as usize + 1, sps.pic_height_in_map_units_minus1 as usize + 1);
    (width, height * if sps.frame_mbs_only_flag { 1 } else { 2 })
}

/// Size in macroblocks, if no level allows it.
fn too_large(sps: &Sps) -> Option<(usize, usize)> {
    let (width, height) = macroblocks(sps);
    (width.saturating_mul(height) > LARGEST_PICTURE).then_some((width, height))
}

/// The NAL units of a sample, each behind its length.
fn units(mut data: &[u8], length_size: usize) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (prefix, rest) = data.split_at_checked(length_size)?;
        let length = prefix.iter().fold(0usize, |n, &b| n << 8 | usize::from(b));
        let unit = rest.get(..length).unwrap_or(rest);
        data = &rest[unit.len()..];
        (!unit.is_empty()).then_some(unit)
    })
}

/// Whether a NAL unit is a set of parameters.
fn is_parameters(unit: &[u8]) -> bool {
    matches!(unit[0] & 31, 7 | 8)
}

/// Whether other pictures may need this one, or it carries parameter sets.
fn is_reference(data: &[u8], length_size: usize) -> bool {
    units(data, length_size).any(|unit| is_parameters(unit) || (matches!(unit[0] & 31, 1..=5) && unit[0] >> 5 & 3 != 0))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::data::video::mp4;

    /// Every picture's size and planes, by sample.
    type Pictures = BTreeMap<usize, (usize, usize, [Vec<u8>; 3])>;

    fn keep(pictures: &mut Pictures) -> impl FnMut(usize, Planes<'_>) {
        |sample, p| drop(pictures.insert(sample, (p.width, p.height, p.planes.map(<[u8]>::to_vec))))
    }

    #[test]
    fn both_decoders_give_the_same_pictures() {
        for name in ["high_bframes.mp4", "baseline.mp4", "open_gop_odd.mp4", "bt709_full.mp4", "fragmented.mp4"] {
            let path = std::path::Path::new("assets/clips").join(name);
            let mut source = Source::open(&path, mp4::parse).unwrap();
            let all: Vec<usize> = (0..source.track.samples.len()).collect();
            assert!(common::suits(&config(&source).unwrap(), 0), "{name}");
            let (mut fast, mut slow) = (Pictures::new(), Pictures::new());
            let range = 0..=all.len() - 1;
            assert!(common::decode(&mut source, range.clone(), &all, &mut keep(&mut fast)).unwrap(), "{name}");
            every::decode(&mut source, range, &all, &mut keep(&mut slow)).unwrap();
            assert_eq!(fast.len(), all.len(), "{name}");
            assert!(fast == slow, "{name}");
        }
    }

    #[test]
    fn samples_as_large_as_pixels_are_not_common() {
        let source = Source::open("assets/clips/high_bframes.mp4".as_ref(), mp4::parse).unwrap();
        let config = config(&source).unwrap();
        let (width, height) = macroblocks(&parse_sps(&config.sps_nals[0].rbsp).unwrap());
        let half = width * height * 192;
        assert!(common::suits(&config, half - 1) && !common::suits(&config, half));
    }
}
