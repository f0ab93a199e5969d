//! VP9, decoded by `rusty_vp9`.

use std::ops::RangeInclusive;

use rusty_vp9::{BitReader, DecodedFrame, Error as Vp9Error, FrameHeader, Vp9Decoder, parse_uncompressed_header};

use super::rgb::{Colour, Planes};
use super::source::Source;
use crate::data::error::Result;

/// Pixels of the largest picture that is taken, as of H.264's levels.
const LARGEST_PICTURE: usize = 139_264 * 256;

/// Frames of the fullest packet.
const MOST_FRAMES: usize = 8;

/// The header of a frame, of a packet of several the first one's.
pub(super) fn header(data: &[u8]) -> Option<FrameHeader> {
    // Sizes of references matter to frames that are no key frames, whose size nobody asks for.
    parse_uncompressed_header(&mut BitReader::new(data), &[(1, 1); 8]).ok()
}

/// How many frames a packet holds, in how many bytes their sizes are, and where the index of sizes starts; none if it is
/// a single frame. An index starts and ends with one marker.
fn superframe(data: &[u8]) -> Option<(usize, usize, usize)> {
    let marker = *data.last().filter(|marker| *marker >> 5 == 0b110)?;
    let (count, width) = (usize::from(marker & 7) + 1, usize::from(marker >> 3 & 3) + 1);
    let start = data.len().checked_sub(2 + count * width)?;
    (data[start] == marker).then_some((count, width, start))
}

/// Whether a packet holds several frames.
pub(super) fn is_superframe(data: &[u8]) -> bool {
    superframe(data).is_some()
}

/// The frames of a packet.
fn frames(data: &[u8]) -> Vec<&[u8]> {
    let Some((count, width, start)) = superframe(data) else { return vec![data] };
    let mut rest = &data[..start];
    let sizes = data[start + 1..].chunks_exact(width).take(count);
    let mut next = |size: &[u8]| {
        let size = size.iter().rev().fold(0usize, |n, byte| n << 8 | usize::from(*byte));
        let (frame, left) = rest.split_at(size.min(rest.len()));
        rest = left;
        frame
    };
    sizes.map(&mut next).collect()
}

/// Width and height, if they are more than a decoder should be asked to hold.
fn too_large(header: &FrameHeader) -> Option<(u32, u32)> {
    let pixels = (header.width as usize).saturating_mul(header.height as usize);
    (pixels > LARGEST_PICTURE).then_some((header.width, header.height))
}

/// Whether a key frame's values take the full range. Its bit follows marker, profile, flags, sync code and colour space.
fn full_range(data: &[u8], profile: u32) -> bool {
    let mut bits = BitReader::new(data);
    let before = 4 + u32::from(profile == 3) + 4 + 24 + u32::from(profile >= 2) + 3;
    (0..before).all(|_| bits.f(1).is_ok()) && bits.f(1) == Ok(1)
}

/// Matrices of VP9's colour spaces, in the numbers of H.264.
const MATRICES: [u8; 8] = [2, 6, 1, 6, 7, 9, 2, 0];

/// Refuses what cannot be decoded here; gives the stream's colours, and the width and height of its first frame.
pub(super) fn check(source: &mut Source) -> Result<(Colour, (usize, usize))> {
    let Some(first) = source.track.samples.iter().position(|s| s.sync) else {
        return Err(source.broken("VP9 without a key frame"));
    };
    let mut data = Vec::new();
    source.read(first, &mut data)?;
    let header = header(&data).ok_or_else(|| source.broken(format!("VP9 frame {first}: broken header")))?;
    if let Some((width, height)) = too_large(&header) {
        return Err(source.broken(format!("VP9 frames of {width} x {height} pixels are too large")));
    }
    if (header.subsampling_x, header.subsampling_y) != (1, 1) {
        return Err(source.unsupported(format!("VP9 of profile {} is not supported, only 4:2:0 is", header.profile)));
    }
    let matrix = MATRICES[header.color_space as usize & 7];
    let colour = Colour { matrix, full_range: full_range(&data, header.profile) }.or(source.described().colour);
    Ok((colour, (header.width as usize, header.height as usize)))
}

/// Decodes the samples of `range` and hands over every picture that is shown.
pub(super) fn decode(
    source: &mut Source,
    range: RangeInclusive<usize>,
    take: &mut dyn FnMut(usize, Planes<'_>),
) -> Result<()> {
    let mut decoder = Vp9Decoder::new();
    let mut data = Vec::new();
    for index in range {
        source.read(index, &mut data)?;
        let broken = |e: Vp9Error| source.broken(format!("VP9 frame {index}: {e}"));
        // Frames may say sizes of their own.
        if let Some((width, height)) = frames(&data).into_iter().filter_map(header).find_map(|h| too_large(&h)) {
            return Err(source.broken(format!("VP9 frame {index}: {width} x {height} pixels are too many")));
        }
        decoder.push(&data, None).map_err(broken)?;
        for _ in 0..MOST_FRAMES {
            match decoder.next_frame() {
                Ok(frame) => take(index, planes(&frame).map_err(|reason| broken(Vp9Error::invalid(reason)))?),
                // Hidden, or there is no more.
                Err(Vp9Error::Again) => {}
                Err(error) => return Err(broken(error)),
            }
        }
    }
    Ok(())
}

fn planes(frame: &DecodedFrame) -> std::result::Result<Planes<'_>, String> {
    let (width, height) = (frame.width as usize, frame.height as usize);
    let ([y, u, v], (1, 1)) = (frame.planes.as_slice(), (frame.subsampling_x, frame.subsampling_y)) else {
        return Err("the kind of chroma changes".into());
    };
    let (chroma_width, chroma_height) = (width.div_ceil(2), height.div_ceil(2));
    let depth = frame.bit_depth as u8;
    Ok(Planes { width, height, chroma_width, chroma_height, half_height: true, depth, planes: [y, u, v] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_of_several_frames_are_taken_apart() {
        // Two frames of 3 and 2 bytes, sizes in one byte each.
        let packet = [1, 2, 3, 4, 5, 0b1100_0001, 3, 2, 0b1100_0001];
        assert_eq!(frames(&packet), [&[1, 2, 3][..], &[4, 5]]);
        // Sizes that lie are cut.
        let packet = [1, 2, 3, 4, 5, 0b1100_0001, 200, 2, 0b1100_0001];
        assert_eq!(frames(&packet), [&[1, 2, 3, 4, 5][..], &[]]);
        for single in [&[1, 2, 3][..], &[0b1100_0001], &[9, 3, 2, 0b1100_0001], &[]] {
            assert_eq!(frames(single), [single]);
        }
    }
}
