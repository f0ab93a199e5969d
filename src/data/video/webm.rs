//! The sample index of a webm or mkv, by `matroska-demuxer`: its blocks are walked through once, their data is left in
//! the file.

use std::cell::Cell;
use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek, SeekFrom};
use std::rc::Rc;

use matroska_demuxer::{DemuxError, Frame, MatrixCoefficients, MatroskaFile, Range, TrackEntry, TrackType, Video};

use super::rgb::Colour;
use super::track::{Codec, Fault, Parsed, Sample, Track};
use super::vp9;

/// Files up to this size are read at once, which is faster than in bits.
const AT_ONCE: u64 = 64 << 20;

/// What a file is read through.
trait Bytes: Read + Seek {}

impl<T: Read + Seek> Bytes for T {}

/// A reader that tells where it stands.
struct Placed<'a> {
    inner: Box<dyn Bytes + 'a>,
    at: Rc<Cell<u64>>,
}

impl Read for Placed<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(bytes)?;
        self.at.set(self.at.get() + count as u64);
        Ok(count)
    }
}

impl Seek for Placed<'_> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let at = self.inner.seek(to)?;
        self.at.set(at);
        Ok(at)
    }
}

/// Finds the first video track of a webm or mkv.
pub(super) fn parse(file: &mut File) -> Parsed<Track> {
    let len = file.metadata().map_err(|e| e.to_string())?.len();
    if len > AT_ONCE {
        return walk(Box::new(BufReader::new(file)), len);
    }
    let mut bytes = Vec::with_capacity(len as usize);
    file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_end(&mut bytes)).map_err(|e| e.to_string())?;
    match walk(Box::new(Cursor::new(&bytes)), len) {
        Err(fault) if !fault.unsupported && hide_seek_head(&mut bytes) => walk(Box::new(Cursor::new(&bytes)), len),
        other => other,
    }
}

/// Turns the table of contents into a void of the same size: that of a cut file points behind its end.
fn hide_seek_head(bytes: &mut [u8]) -> bool {
    let start = &bytes[..bytes.len().min(4096)];
    let Some(at) = start.windows(4).position(|id| id == [0x11, 0x4d, 0x9b, 0x74]) else { return false };
    // A size has as many bytes as its first one has leading zeros, and one more.
    let width = start.get(at + 4).map_or(0, |first| first.leading_zeros() as usize + 1);
    let Some(size) = start.get(at + 4..at + 4 + width).filter(|_| (1..=8).contains(&width)) else { return false };
    let mask = 0xffu8.checked_shr(width as u32).unwrap_or(0);
    let size = size[1..].iter().fold(u64::from(size[0] & mask), |n, byte| n << 8 | u64::from(*byte));
    // The void's own header: an id of one byte, a size of eight.
    let Some(left) = (4 + width as u64 + size).checked_sub(9).filter(|left| *left < 1 << 56) else { return false };
    let header = [&[0xec][..], &(left | 1 << 56).to_be_bytes()].concat();
    bytes.get_mut(at..at + 9).is_some_and(|old| {
        old.copy_from_slice(&header);
        true
    })
}

fn fault(error: DemuxError) -> Fault {
    // Errors of the system come out nameless.
    match error {
        DemuxError::IoError(e) => format!("broken or truncated webm: {e}").into(),
        other => format!("broken webm: {other}").into(),
    }
}

fn walk(reader: Box<dyn Bytes + '_>, len: u64) -> Parsed<Track> {
    let at = Rc::new(Cell::new(0));
    let mut file = MatroskaFile::open(Placed { inner: reader, at: Rc::clone(&at) }).map_err(fault)?;
    let tracks = file.tracks().iter();
    let Some(entry) = tracks.into_iter().find(|t| t.track_type() == TrackType::Video) else {
        return Err("no video track in this webm".into());
    };
    let (codec, config) = codec(entry)?;
    let (number, colour) = (entry.track_number().get(), entry.video().and_then(colour));
    let container = if file.ebml_header().doc_type() == "webm" { "webm" } else { "mkv" };
    let timescale = 1e9 / file.info().timestamp_scale().get() as f64;
    let (mut samples, mut frame, mut missing) = (Vec::new(), Frame::default(), 0);
    loop {
        match file.next_frame(&mut frame) {
            Ok(true) if frame.track != number => {}
            Ok(true) => {
                let offset = at.get().saturating_sub(frame.data.len() as u64);
                let (sync, shown) = kind(codec, &frame);
                let (offset, time) = (offset as usize, frame.timestamp as i64);
                samples.push(Sample {
                    offset,
                    size: frame.data.len(),
                    time,
                    sync,
                    shown: shown && !frame.is_invisible,
                });
            }
            Ok(false) => break,
            // A file that was cut ends within a frame; what comes before can be read.
            Err(DemuxError::ElementSizeExceedsStream { .. } | DemuxError::IoError(_)) if !samples.is_empty() => {
                missing = 1;
                break;
            }
            Err(error) => return Err(fault(error)),
        }
        // Blocks of nothing, over and over, are no video.
        if samples.len() as u64 > len {
            return Err("broken webm: more frames than bytes".into());
        }
    }
    if samples.is_empty() {
        return Err("the video track has no frames".into());
    }
    Ok(Track { container, codec, config, samples, turns: 0, colour, timescale, missing })
}

/// The codec and its configuration, or an error that names it.
fn codec(entry: &TrackEntry) -> Parsed<(Codec, Vec<u8>)> {
    if entry.content_encodings().is_some_and(|encodings| !encodings.is_empty()) {
        return Err(Fault::unsupported("mkv with packed frames is not supported"));
    }
    match (entry.codec_id(), entry.codec_private()) {
        ("V_VP9", _) => Ok((Codec::Vp9, Vec::new())),
        ("V_MPEG4/ISO/AVC", Some(config)) => Ok((Codec::H264, config.to_vec())),
        (other, _) => {
            let advice = "convert it: ffmpeg -i IN -c:v libx264 OUT.mp4";
            Err(Fault::unsupported(format!("codec {other} is not supported, only H.264 and VP9 are; {advice}")))
        }
    }
}

fn colour(video: &Video) -> Option<Colour> {
    let colour = video.colour()?;
    let matrix = match colour.matrix_coefficients()? {
        MatrixCoefficients::Bt709 => 1,
        MatrixCoefficients::Fcc73682 => 4,
        MatrixCoefficients::Bt470bg => 5,
        MatrixCoefficients::Smpte170 => 6,
        MatrixCoefficients::Smpte240 => 7,
        MatrixCoefficients::Bt2020Ncl => 9,
        MatrixCoefficients::Bt2020Cl => 10,
        _ => 2,
    };
    Some(Colour { matrix, full_range: colour.range() == Some(Range::Full) })
}

/// Whether decoding can start at a frame, and whether it is shown.
fn kind(codec: Codec, frame: &Frame) -> (bool, bool) {
    match codec {
        Codec::Vp9 => vp9::header(&frame.data).map_or((false, true), |header| {
            let shown = header.show_frame || header.show_existing_frame || vp9::is_superframe(&frame.data);
            (header.key_frame, shown)
        }),
        // Only simple blocks are marked; else an IDR slice tells.
        Codec::H264 => (frame.is_keyframe.unwrap_or_else(|| has_idr(&frame.data)), true),
    }
}

/// Whether one of the NAL units, each after 4 bytes of length, is a slice of an IDR picture.
fn has_idr(mut data: &[u8]) -> bool {
    while let [a, b, c, d, rest @ ..] = data {
        if rest.first().is_some_and(|header| header & 31 == 5) {
            return true;
        }
        data = rest.get(u32::from_be_bytes([*a, *b, *c, *d]) as usize..).unwrap_or_default();
    }
    false
}
