//! The sample index of a webm or mkv, by `matroska-demuxer`: its blocks are walked through once, their data is left in
//! the file.

use std::cell::RefCell;
use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek, SeekFrom};
use std::rc::Rc;

use matroska_demuxer::{DemuxError, Frame, MatrixCoefficients, MatroskaFile, Range, TrackEntry, TrackType, Video};

use super::rgb::Colour;
use super::track::{Codec, Description, Fault, FaultKind, Parsed, Sample, Track};
use super::vp9;

/// Files up to this size are read at once, which is faster than in bits.
const AT_ONCE: u64 = 64 << 20;

/// What a file is read through.
trait Bytes: Read + Seek {}

impl<T: Read + Seek> Bytes for T {}

/// Something that was read in one go: where, how many bytes, and the first of them.
#[derive(Clone, Copy)]
struct Taken {
    at: u64,
    len: usize,
    first: [u8; 8],
}

impl Taken {
    fn new(at: u64, bytes: &[u8]) -> Taken {
        let mut first = [0; 8];
        let count = bytes.len().min(8);
        first[..count].copy_from_slice(&bytes[..count]);
        Taken { at, len: bytes.len(), first }
    }
}

/// A reader that tells what was read where. (Behind a block's data there may be more of its group, so where the reader
/// stands does not tell where the data is.)
struct Placed<'a> {
    inner: Box<dyn Bytes + 'a>,
    at: u64,
    taken: Rc<RefCell<Vec<Taken>>>,
}

impl Read for Placed<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(bytes)?;
        self.at += count as u64;
        Ok(count)
    }

    fn read_exact(&mut self, bytes: &mut [u8]) -> std::io::Result<()> {
        self.inner.read_exact(bytes)?;
        self.taken.borrow_mut().push(Taken::new(self.at, bytes));
        self.at += bytes.len() as u64;
        Ok(())
    }
}

impl Seek for Placed<'_> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.at = self.inner.seek(to)?;
        Ok(self.at)
    }
}

/// Finds the video track of a webm or mkv: the first that is enabled and default, else the first.
pub(super) fn parse(file: &mut File) -> Parsed<Track> {
    let len = file.metadata()?.len();
    if len > AT_ONCE {
        return walk(Box::new(BufReader::new(file)), len);
    }
    let mut bytes = Vec::with_capacity(len as usize);
    file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_end(&mut bytes))?;
    match walk(Box::new(Cursor::new(&bytes)), len) {
        Err(fault) if fault.kind == FaultKind::Damage && hide_seek_head(&mut bytes) => {
            walk(Box::new(Cursor::new(&bytes)), len)
        }
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
    let taken = Rc::new(RefCell::new(Vec::new()));
    let mut file = MatroskaFile::open(Placed { inner: reader, at: 0, taken: Rc::clone(&taken) }).map_err(fault)?;
    let tracks: Vec<&TrackEntry> = file.tracks().iter().filter(|t| t.track_type() == TrackType::Video).collect();
    let shown = |track: &&&TrackEntry| track.flag_enabled() && track.flag_default();
    let shown = tracks.iter().find(shown).or_else(|| tracks.iter().find(|track| track.flag_enabled()));
    let entry = *shown.or(tracks.first()).ok_or("no video track in this webm")?;
    let (codec, config) = codec(entry)?;
    let (number, colour) = (entry.track_number().get(), entry.video().and_then(colour));
    let container = if file.ebml_header().doc_type() == "webm" { "webm" } else { "mkv" };
    let timescale = 1e9 / file.info().timestamp_scale().get() as f64;
    let (mut samples, mut frame, mut missing) = (Vec::new(), Frame::default(), 0);
    loop {
        taken.borrow_mut().clear();
        match file.next_frame(&mut frame) {
            Ok(true) if frame.track != number => {}
            Ok(true) => {
                // Of reads of the same bytes, any will do.
                let data = Taken::new(0, &frame.data);
                let is_data = |read: &&Taken| (read.len, read.first) == (data.len, data.first);
                let Some(read) = taken.borrow().iter().rfind(is_data).copied() else {
                    return Err(Fault::unsupported("mkv whose blocks are not read in one piece is not supported"));
                };
                let (sync, shown) = kind(codec, &frame);
                samples.push(Sample {
                    offset: read.at as usize,
                    size: frame.data.len(),
                    time: frame.timestamp as i64,
                    sync,
                    shown: shown && !frame.is_invisible,
                    description: 0,
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
    let descriptions = vec![Description { config, colour }];
    Ok(Track { container, codec, descriptions, samples, turns: 0, timescale, missing })
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
