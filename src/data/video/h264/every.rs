//! Every kind of H.264 that is read here, by `rust_h264`.

use std::ops::RangeInclusive;

use rust_h264::decoder::{ChromaFormat, Frame, OrderedDecoder};
use rust_h264::nal::parse_avcc;

use super::super::rgb::Planes;
use super::super::source::Source;
use super::{Need, Needs, config};
use crate::data::error::Result;

/// See `super::decode`.
pub(super) fn decode(
    source: &mut Source,
    range: RangeInclusive<usize>,
    wanted: &[usize],
    take: &mut dyn FnMut(usize, Planes<'_>),
) -> Result<()> {
    let config = config(source)?;
    // Pictures come out in any order, each with its sample: no reordering is needed.
    let mut decoder: OrderedDecoder<usize> = OrderedDecoder::with_max_depth(1);
    let mut emit = |frames: Vec<(Frame, usize)>| frames.iter().for_each(|(frame, sample)| take(*sample, planes(frame)));
    for nal in config.sps_nals.iter().chain(&config.pps_nals) {
        let set = decoder.decode_nal_with_meta(nal, *range.start());
        emit(set.map_err(|e| source.broken(format!("H.264 parameter set: {e}")))?);
    }
    let needs = Needs::new(source, *range.start(), wanted)?;
    let mut data = Vec::new();
    for index in range {
        let Some(need) = needs.read(source, index, &mut data)? else { continue };
        for nal in parse_avcc(&data, needs.length_size) {
            match decoder.decode_nal_with_meta(&nal, index) {
                Ok(frames) => emit(frames),
                Err(_) if need == Need::Leading => {}
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
