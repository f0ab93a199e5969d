//! The kinds of H.264 that nearly all files are of, by `rusty_h264`: half again as fast, but of fewer kinds.

use std::ops::RangeInclusive;

use rust_h264::nal::AvccConfig;
use rust_h264::pps::parse_pps;
use rust_h264::sps::parse_sps;
use rusty_h264_decoder::Decoder;

use super::super::rgb::Planes;
use super::super::source::Source;
use super::{Need, Needs, is_parameters, macroblocks, units};
use crate::data::error::Result;

const START: [u8; 4] = [0, 0, 0, 1];
/// Bytes of 16 x 16 pixels as they are.
const RAW_MACROBLOCK: usize = 384;

/// Whether the decoder is right about streams of these parameters whose largest sample has so many bytes: Baseline, Main or
/// High, 8 bits, 4:2:0, frames alone, nothing made for lossy networks. It gives wrong pixels without a word of
///
/// * constrained intra prediction;
/// * pictures cropped at their left or top;
/// * raw macroblocks (I_PCM), which it deblocks as if they were quantised like the one before. That shows only where an encoder
///   writes them at coarse quantisers, as lossless ones do, and then samples are about as large as pixels.
pub(super) fn suits(config: &AvccConfig<'_>, largest: usize) -> bool {
    let sets = config.sps_nals.iter().map(|nal| parse_sps(&nal.rbsp));
    let Ok(sets) = sets.collect::<std::result::Result<Vec<_>, _>>() else { return false };
    let frames = sets.iter().all(|sps| {
        matches!(sps.profile_idc, 66 | 77 | 100)
            && sps.chroma_format_idc == 1
            && (sps.bit_depth_luma_minus8, sps.bit_depth_chroma_minus8) == (0, 0)
            && !sps.qpprime_y_zero_transform_bypass_flag
            && sps.frame_mbs_only_flag
            && !sps.gaps_in_frame_num_value_allowed_flag
            && (sps.crop_left(), sps.crop_top()) == (0, 0)
            && {
                let (width, height) = macroblocks(sps);
                2 * largest < width * height * RAW_MACROBLOCK
            }
    });
    let slices = config.pps_nals.iter().all(|nal| {
        parse_pps(&nal.rbsp, sets.first()).is_ok_and(|pps| {
            !pps.constrained_intra_pred_flag && !pps.redundant_pic_cnt_present_flag && pps.num_slice_groups_minus1 == 0
        })
    });
    sets.len() == 1 && frames && slices
}

/// The parameter sets of an `avcC` box as they stand there.
fn parameter_sets(config: &[u8]) -> Option<Vec<&[u8]>> {
    let (mut rest, mut sets) = (config.get(5..)?, Vec::new());
    for mask in [31, 255] {
        let (count, mut behind) = rest.split_first()?;
        for _ in 0..count & mask {
            let (length, tail) = behind.split_first_chunk()?;
            let (set, tail) = tail.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
            sets.push(set);
            behind = tail;
        }
        rest = behind;
    }
    Some(sets)
}

/// See `super::decode`; false where the decoder gives up, or cannot be trusted with what follows.
pub(super) fn decode(
    source: &mut Source,
    range: RangeInclusive<usize>,
    wanted: &[usize],
    take: &mut dyn FnMut(usize, Planes<'_>),
) -> Result<bool> {
    let needs = Needs::new(source, *range.start(), wanted)?;
    let known = source.described().config.clone();
    let Some(known) = parameter_sets(&known) else { return Ok(false) };
    let mut decoder = Decoder::new();
    let (mut data, mut stream) = (Vec::new(), Vec::new());
    for set in &known {
        stream.extend(START.iter().chain(*set));
    }
    if decoder.decode(&stream).is_err() {
        return Ok(false);
    }
    for index in range {
        let Some(need) = needs.read(source, index, &mut data)? else { continue };
        stream.clear();
        for unit in units(&data, needs.length_size) {
            if is_parameters(unit) && !known.contains(&unit) {
                return Ok(false);
            }
            stream.extend(START.iter().chain(unit));
        }
        match decoder.decode(&stream) {
            Ok(Some(frame)) => {
                let (chroma_width, chroma_height) = (frame.width.div_ceil(2), frame.height.div_ceil(2));
                take(
                    index,
                    Planes {
                        width: frame.width,
                        height: frame.height,
                        chroma_width,
                        chroma_height,
                        half_height: true,
                        depth: 8,
                        planes: [&frame.y, &frame.u, &frame.v],
                    },
                );
            }
            _ if need == Need::Leading => {}
            Ok(None) | Err(_) => return Ok(false),
        }
    }
    Ok(true)
}
