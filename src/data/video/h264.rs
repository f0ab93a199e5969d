//! H.264, decoded by `rust_h264`.

use std::ops::RangeInclusive;

use rust_h264::decoder::{ChromaFormat, Frame, OrderedDecoder};
use rust_h264::nal::{AvccConfig, NalUnitType, parse_avcc, parse_avcc_config};
use rust_h264::sps::{Sps, parse_sps};

use super::coded::Source;
use super::rgb::{Colour, Planes};
use crate::data::error::Result;

/// Macroblocks of the largest picture of any H.264 level (table A-1): a size beyond it is damage, not a video.
const LARGEST_PICTURE: usize = 139_264;

fn config(source: &Source) -> Result<AvccConfig<'_>> {
    parse_avcc_config(&source.track.config).map_err(|e| source.broken(format!("broken H.264 configuration: {e}")))
}

/// Refuses what cannot be decoded here; gives the stream's colours.
pub(super) fn check(source: &Source) -> Result<Colour> {
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
    let own = sps.map_or(Colour::default(), |sps| Colour {
        matrix: sps.matrix_coefficients,
        full_range: sps.video_full_range_flag,
    });
    Ok(own.or(source.track.colour))
}

/// Decodes the samples of `range` that `wanted` (sorted) needs and hands over every picture that results.
pub(super) fn decode(
    source: &mut Source,
    range: RangeInclusive<usize>,
    wanted: &[usize],
    take: &mut dyn FnMut(usize, Planes<'_>),
) -> Result<()> {
    let config = config(source)?;
    let length_size = config.length_size;
    // Pictures come out in any order, each with its sample: no reordering is needed.
    let mut decoder: OrderedDecoder<usize> = OrderedDecoder::with_max_depth(1);
    let mut emit = |frames: Vec<(Frame, usize)>| frames.iter().for_each(|(frame, sample)| take(*sample, planes(frame)));
    for nal in config.sps_nals.iter().chain(&config.pps_nals) {
        let set = decoder.decode_nal_with_meta(nal, *range.start());
        emit(set.map_err(|e| source.broken(format!("H.264 parameter set: {e}")))?);
    }
    let shown_first = source.track.samples[*range.start()].time;
    let mut data = Vec::new();
    for index in range {
        source.read(index, &mut data)?;
        let is_wanted = wanted.binary_search(&index).is_ok();
        if !is_wanted && !is_reference(&data, length_size) {
            continue;
        }
        for nal in parse_avcc(&data, length_size) {
            match decoder.decode_nal_with_meta(&nal, index) {
                Ok(frames) => emit(frames),
                // Shown before the key frame that decoding started at: it may lack references, and nobody needs it.
                Err(_) if !is_wanted && source.track.samples[index].time < shown_first => {}
                Err(e) => return Err(source.broken(format!("H.264 frame {index}: {e}"))),
            }
        }
    }
    emit(decoder.flush_with_meta());
    Ok(())
}

fn planes(frame: &Frame) -> Planes<'_> {
    Planes {
        width: frame.width as usize,
        height: frame.height as usize,
        chroma_width: frame.chroma_width() as usize,
        chroma_height: frame.chroma_height() as usize,
        half_height: frame.chroma_format == ChromaFormat::Yuv420,
        depth: frame.bit_depth,
        planes: [&frame.y, &frame.u, &frame.v],
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
