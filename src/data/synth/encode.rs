//! Grey frames into an mp4: H.264 with lossless (I_PCM) key frames, so that every frame can be read alone.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use less_avc::ycbcr_image::{DataPlane, Planes, YCbCrImage};
use less_avc::{BitDepth, LessEncoder};

use crate::data::error::{Error, Result};

/// Writes frames of `size` x `size` grey levels at 16 frames a second.
pub(super) fn write(path: &Path, frames: &[Vec<u8>], size: usize) -> Result<()> {
    let failed = |what: &str| Error::video(path, format!("could not be encoded: {what}"));
    let stride = size.next_multiple_of(16);
    let chroma = vec![128u8; stride * stride / 4];
    let mut encoder: Option<LessEncoder> = None;
    let (mut parameters, mut coded) = (None, Vec::new());
    for grey in frames {
        // The encoder marks its streams as full range: luma is the grey level itself.
        let mut padded = vec![0u8; stride * stride];
        for (to, from) in padded.chunks_exact_mut(stride).zip(grey.chunks_exact(size)) {
            to[..size].copy_from_slice(from);
        }
        let plane = |data, stride| DataPlane { data, stride, bit_depth: BitDepth::Depth8 };
        let side = plane(chroma.as_slice(), stride / 2);
        let other = plane(chroma.as_slice(), stride / 2);
        let planes = Planes::YCbCr((plane(padded.as_slice(), stride), side, other));
        let image = YCbCrImage { planes, width: size as u32, height: size as u32 };
        let nal = match &mut encoder {
            Some(encoder) => encoder.encode(&image).map_err(|e| failed(&e.to_string()))?,
            None => {
                let (first, started) = LessEncoder::new(&image).map_err(|e| failed(&e.to_string()))?;
                encoder = Some(started);
                parameters = Some((first.sps.to_nal_unit(), first.pps.to_nal_unit()));
                first.frame
            }
        };
        coded.push(nal.to_nal_unit());
    }
    let (sps, pps) = parameters.ok_or_else(|| failed("no frames"))?;
    mux(path, size, sps, pps, coded).map_err(|e| failed(&e.to_string()))
}

fn mux(path: &Path, size: usize, sps: Vec<u8>, pps: Vec<u8>, coded: Vec<Vec<u8>>) -> mp4::Result<()> {
    let brand = mp4::FourCC { value: *b"isom" };
    let avc = mp4::FourCC { value: *b"avc1" };
    let config =
        mp4::Mp4Config { major_brand: brand, minor_version: 512, compatible_brands: vec![brand, avc], timescale: 16 };
    let mut writer = mp4::Mp4Writer::write_start(BufWriter::new(File::create(path)?), &config)?;
    let (width, height) = (size as u16, size as u16);
    let track = mp4::AvcConfig { width, height, seq_param_set: sps, pic_param_set: pps };
    writer.add_track(&mp4::TrackConfig { timescale: 16, ..mp4::TrackConfig::from(track) })?;
    for (index, nal) in coded.into_iter().enumerate() {
        let mut bytes = (nal.len() as u32).to_be_bytes().to_vec();
        bytes.extend(nal);
        let sample = mp4::Mp4Sample {
            start_time: index as u64,
            duration: 1,
            rendering_offset: 0,
            is_sync: true,
            bytes: bytes.into(),
        };
        writer.write_sample(1, &sample)?;
    }
    writer.write_end()?;
    use std::io::Write;
    writer.into_writer().flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::video;

    /// Steps that a deblocking filter would smooth, were raw macroblocks taken for coarsely quantised ones.
    #[test]
    fn what_is_written_is_read_back() {
        let size = 48;
        let grey = |frame: usize, i: usize| 100 + 6 * ((i % size / 4 + i / size / 4 + frame) % 2) as u8;
        let mut frames: Vec<Vec<u8>> = (0..3).map(|frame| (0..size * size).map(|i| grey(frame, i)).collect()).collect();
        // Every level there is.
        frames.push((0..size * size).map(|i| i as u8).collect());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("clip.mp4");
        write(&path, &frames, size).unwrap();
        let read = video::open(&path).unwrap().frames(&[0, 1, 2, 3]).unwrap();
        for (rgb, frame) in read.rgb.iter().zip(&frames) {
            assert!(rgb.chunks_exact(3).zip(frame).all(|(rgb, grey)| rgb == [*grey; 3]));
        }
    }
}
