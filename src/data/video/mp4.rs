//! The sample index of an mp4: where each coded frame lies, when it is shown, whether decoding can start there.
//!
//! An index of our own rather than the `mp4` crate's reader: that one loops for ever on a `udta` that ends in zeros and
//! allocates by sizes that a file only claims. Here a box lies within its parent and a table within its box, so nothing
//! is larger than the file. (The crate's writer is used, in `data::synth`.)

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

/// A real index is far smaller (an hour at 60 frames a second takes some 3 MB).
const LARGEST_INDEX: u64 = 256 << 20;
/// Bounds the time spent on a file made of nothing but empty boxes.
const MOST_BOXES: usize = 100_000;

/// One coded frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sample {
    pub offset: usize,
    pub size: usize,
    /// Presentation time in the track's units.
    pub time: i64,
    /// Decoding can start here.
    pub sync: bool,
    /// False for what lies before the edit list's start: decoded if need be, never shown.
    pub shown: bool,
}

/// The first video track.
#[derive(Debug, Clone)]
pub(super) struct Track {
    /// `avcC`, the decoder's configuration.
    pub config: Vec<u8>,
    /// In the order of decoding.
    pub samples: Vec<Sample>,
    /// Quarter turns, clockwise, that show the frames upright.
    pub turns: u8,
}

/// Why a file has no index here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// In words.
    pub reason: String,
    /// Not damage: a container, codec or feature that another decoder may read.
    pub unsupported: bool,
}

impl Fault {
    fn unsupported(reason: impl Into<String>) -> Self {
        Fault { reason: reason.into(), unsupported: true }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.reason)
    }
}

impl From<String> for Fault {
    fn from(reason: String) -> Self {
        Fault { reason, unsupported: false }
    }
}

impl From<&str> for Fault {
    fn from(reason: &str) -> Self {
        reason.to_owned().into()
    }
}

type Parsed<T> = Result<T, Fault>;

/// Boxes of one level: type and payload, each within `data`.
fn boxes(data: &[u8]) -> Parsed<Vec<([u8; 4], &[u8])>> {
    let mut found = Vec::new();
    let mut rest = data;
    while rest.len() >= 8 {
        let kind = [rest[4], rest[5], rest[6], rest[7]];
        let (header, size) = match be32(rest, 0)? {
            0 => (8, rest.len()),
            1 => (16, usize::try_from(be64(rest, 8)?).map_err(|_| "a box is larger than memory".to_owned())?),
            size => (8, size),
        };
        let name = String::from_utf8_lossy(&kind).into_owned();
        if size < header || size > rest.len() {
            // A writer that pads `udta` with zeros ends its boxes there; elsewhere this is damage.
            return if kind == [0; 4] {
                Ok(found)
            } else {
                Err(format!("box {name} claims {size} bytes of {}", rest.len()).into())
            };
        }
        found.push((kind, &rest[header..size]));
        rest = &rest[size..];
    }
    Ok(found)
}

fn child<'a>(data: &'a [u8], kind: &[u8; 4]) -> Parsed<Option<&'a [u8]>> {
    Ok(boxes(data)?.into_iter().find(|b| &b.0 == kind).map(|b| b.1))
}

fn need<'a>(data: &'a [u8], kind: &[u8; 4]) -> Parsed<&'a [u8]> {
    child(data, kind)?.ok_or_else(|| format!("broken mp4: no {} box", String::from_utf8_lossy(kind)).into())
}

fn be32(data: &[u8], at: usize) -> Parsed<usize> {
    let bytes = data.get(at..at + 4).ok_or("a box ends in the middle of a number")?;
    Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize)
}

fn be64(data: &[u8], at: usize) -> Parsed<u64> {
    Ok(((be32(data, at)? as u64) << 32) | be32(data, at + 4)? as u64)
}

/// Rows of `width` bytes of a table that starts with version, flags and a count.
fn table<'a>(data: &'a [u8], what: &str, width: usize) -> Parsed<impl Iterator<Item = &'a [u8]>> {
    let count = be32(data, 4)?;
    let rows = data.get(8..).unwrap_or_default();
    if rows.len() / width < count {
        return Err(format!("broken mp4: {what} claims {count} entries, its box holds {}", rows.len() / width).into());
    }
    Ok(rows.chunks_exact(width).take(count))
}

/// Reads `bytes` at a place of the file.
pub(super) fn read_at(file: &mut File, at: u64, bytes: &mut [u8]) -> Parsed<()> {
    file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(bytes)).map_err(|e| e.to_string().into())
}

/// Finds `moov` among the boxes of the file's top level, of which only the headers are read.
fn index(file: &mut File, len: u64) -> Parsed<Vec<u8>> {
    let (mut at, mut found) = (0u64, None);
    for _ in 0..MOST_BOXES {
        let mut header = [0u8; 16];
        let left = len - at;
        let known = left.min(16) as usize;
        read_at(file, at, &mut header[..known])?;
        let kind = &header[4..8];
        if at == 0 && !matches!(kind, b"ftyp" | b"moov" | b"mdat" | b"free" | b"skip" | b"wide") {
            return Err(Fault::unsupported("not an mp4 file (its first box is none that an mp4 starts with)"));
        }
        // Fewer than 8 bytes, or zeros, are padding.
        if known < 8 || kind == [0; 4] {
            break;
        }
        let (start, size) = match be32(&header, 0)? {
            0 => (8, left),
            1 => (16, be64(&header, 8)?),
            size => (8, size as u64),
        };
        if size < start || size > left {
            let kind = String::from_utf8_lossy(kind);
            return Err(format!("broken or truncated mp4: box {kind} claims {size} bytes of {left}").into());
        }
        match kind {
            b"moof" => {
                let advice = "remux it: ffmpeg -i IN -c copy -movflags faststart OUT";
                return Err(Fault::unsupported(format!("fragmented mp4 is not supported; {advice}")));
            }
            b"moov" if size > LARGEST_INDEX => {
                return Err(format!("broken mp4: moov of {size} bytes, at most {LARGEST_INDEX} are read").into());
            }
            b"moov" => found = Some((at + start, size - start)),
            _ => {}
        }
        at += size;
        if at == len {
            break;
        }
    }
    let (at, size) = found.ok_or("broken or truncated mp4: no moov box")?;
    let mut moov = vec![0; size as usize];
    read_at(file, at, &mut moov)?;
    Ok(moov)
}

/// Finds the first video track of an mp4 or mov.
pub(super) fn parse(file: &mut File) -> Parsed<Track> {
    let len = file.metadata().map_err(|e| e.to_string())?.len();
    let moov = index(file, len)?;
    track(&moov, usize::try_from(len).unwrap_or(usize::MAX))
}

fn track(moov: &[u8], file_len: usize) -> Parsed<Track> {
    for (kind, trak) in boxes(moov)? {
        if &kind != b"trak" {
            continue;
        }
        let mdia = need(trak, b"mdia")?;
        if need(mdia, b"hdlr")?.get(8..12) == Some(b"vide") {
            return video_track(trak, mdia, file_len);
        }
    }
    Err("no video track in this mp4".into())
}

fn video_track(trak: &[u8], mdia: &[u8], file_len: usize) -> Parsed<Track> {
    let stbl = need(need(mdia, b"minf")?, b"stbl")?;
    let config = config(need(stbl, b"stsd")?)?;
    let mut samples = places(stbl, file_len)?;
    times(stbl, &mut samples)?;
    if let Some(stss) = child(stbl, b"stss")? {
        samples.iter_mut().for_each(|s| s.sync = false);
        for row in table(stss, "stss", 4)? {
            if let Some(sample) = be32(row, 0)?.checked_sub(1).and_then(|i| samples.get_mut(i)) {
                sample.sync = true;
            }
        }
    }
    // An edit that would hide everything is taken as damage to the edit alone.
    if let Some(from) = edit_start(trak)?.filter(|&from| samples.iter().any(|s| s.time >= from)) {
        samples.iter_mut().for_each(|s| s.shown = s.time >= from);
    }
    Ok(Track { config, samples, turns: turns(need(trak, b"tkhd")?)? })
}

/// Quarter turns of a track header's matrix.
fn turns(tkhd: &[u8]) -> Parsed<u8> {
    // Version 1 has times and duration in 8 bytes each.
    let at = if tkhd.first() == Some(&1) { 52 } else { 40 };
    const ONE: i32 = 1 << 16;
    let sign = |index: usize| be32(tkhd, at + 4 * index).map(|v| (v as u32 as i32).clamp(-ONE, ONE));
    // Rows (a, b, u) and (c, d, v); a matrix of zeros says nothing.
    match [sign(0)?, sign(1)?, sign(3)?, sign(4)?] {
        [ONE, 0, 0, ONE] | [0, 0, 0, 0] => Ok(0),
        [0, ONE, c, 0] if c == -ONE => Ok(1),
        [a, 0, 0, d] if a == -ONE && d == -ONE => Ok(2),
        [0, b, ONE, 0] if b == -ONE => Ok(3),
        other => Err(Fault::unsupported(format!("frames shown through the matrix {other:?} are not supported"))),
    }
}

/// `avcC` of the sample description, or an error that names the codec.
fn config(stsd: &[u8]) -> Parsed<Vec<u8>> {
    let entries = boxes(stsd.get(8..).unwrap_or_default())?;
    let (kind, entry) = entries.first().ok_or("broken mp4: stsd is empty")?;
    match kind {
        // 78 bytes of a visual sample entry come before its own boxes.
        b"avc1" | b"avc3" => Ok(need(entry.get(78..).ok_or("broken mp4: short avc1 entry")?, b"avcC")?.to_vec()),
        other => {
            let name = String::from_utf8_lossy(other);
            let advice = "convert it: ffmpeg -i IN -c:v libx264 OUT.mp4";
            Err(Fault::unsupported(format!("codec {name} is not supported, only H.264 is; {advice}")))
        }
    }
}

fn places(stbl: &[u8], file_len: usize) -> Parsed<Vec<Sample>> {
    let stsz = need(stbl, b"stsz")?;
    let (fixed, count) = (be32(stsz, 4)?, be32(stsz, 8)?);
    let sizes: Vec<usize> = if fixed > 0 {
        if fixed.checked_mul(count).is_none_or(|all| all > file_len) {
            return Err(
                format!("truncated mp4: {count} frames of {fixed} bytes are more than the file's {file_len}").into()
            );
        }
        vec![fixed; count]
    } else {
        table(&stsz[4..], "stsz", 4)?.map(|row| be32(row, 0)).collect::<Parsed<_>>()?
    };
    let all: usize = sizes.iter().sum();
    if all > file_len {
        return Err(format!("truncated mp4: its frames take {all} bytes, the file has {file_len}").into());
    }
    let chunks: Vec<usize> = match child(stbl, b"stco")? {
        Some(stco) => table(stco, "stco", 4)?.map(|row| be32(row, 0)).collect::<Parsed<_>>()?,
        None => table(need(stbl, b"co64")?, "co64", 8)?.map(|row| Ok(be64(row, 0)? as usize)).collect::<Parsed<_>>()?,
    };
    let runs = table(need(stbl, b"stsc")?, "stsc", 12)?.map(|row| Ok((be32(row, 0)?, be32(row, 4)?)));
    let runs: Vec<(usize, usize)> = runs.collect::<Parsed<_>>()?;
    // Runs that go back would make the walk over chunks quadratic.
    if runs.windows(2).any(|pair| pair[1].0 <= pair[0].0) {
        return Err("broken mp4: the runs of stsc are not in order".into());
    }
    let mut samples = Vec::with_capacity(sizes.len());
    for (i, &(first, per_chunk)) in runs.iter().enumerate() {
        let end = runs.get(i + 1).map_or(chunks.len() + 1, |next| next.0);
        for chunk in first..end.min(chunks.len() + 1) {
            let mut offset = *chunks.get(chunk.wrapping_sub(1)).ok_or("broken mp4: stsc names no chunk")?;
            for _ in 0..per_chunk.min(sizes.len() - samples.len()) {
                let size = sizes[samples.len()];
                if offset.checked_add(size).is_none_or(|end| end > file_len) {
                    return Err(format!(
                        "truncated mp4: frame {} ends past the file's {file_len} bytes",
                        samples.len()
                    )
                    .into());
                }
                samples.push(Sample { offset, size, time: 0, sync: true, shown: true });
                offset += size;
            }
        }
    }
    if samples.is_empty() {
        return Err("the video track has no frames".into());
    }
    Ok(samples)
}

fn times(stbl: &[u8], samples: &mut [Sample]) -> Parsed<()> {
    let (mut next, mut time, mut step) = (0, 0i64, 1);
    for row in table(need(stbl, b"stts")?, "stts", 8)? {
        let count = be32(row, 0)?;
        step = be32(row, 4)? as i64;
        for sample in samples.iter_mut().skip(next).take(count) {
            sample.time = time;
            time += step;
            next += 1;
        }
    }
    // A table that is too short goes on as it ended.
    for sample in samples.iter_mut().skip(next) {
        sample.time = time;
        time += step;
    }
    if let Some(ctts) = child(stbl, b"ctts")? {
        let mut next = 0;
        for row in table(ctts, "ctts", 8)? {
            let (count, shift) = (be32(row, 0)?, be32(row, 4)? as u32 as i32);
            for sample in samples.iter_mut().skip(next).take(count) {
                sample.time += i64::from(shift);
                next += 1;
            }
        }
    }
    Ok(())
}

/// The media time at which the first edit that shows anything starts.
fn edit_start(trak: &[u8]) -> Parsed<Option<i64>> {
    let Some(elst) = child(trak, b"edts")?.map(|e| child(e, b"elst")).transpose()?.flatten() else { return Ok(None) };
    let wide = elst.first() == Some(&1);
    for row in table(elst, "elst", if wide { 20 } else { 12 })? {
        let start = if wide { be64(row, 8)? as i64 } else { i64::from(be32(row, 4)? as u32 as i32) };
        if start >= 0 {
            return Ok(Some(start));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clip(name: &str) -> Vec<u8> {
        std::fs::read(format!("assets/clips/{name}.mp4")).unwrap()
    }

    fn parse_bytes(bytes: &[u8]) -> Parsed<Track> {
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, bytes).unwrap();
        parse(&mut file)
    }

    /// Where the payload of the first box of a kind starts.
    fn payload(bytes: &[u8], kind: &[u8; 4]) -> usize {
        bytes.windows(4).position(|w| w == kind).unwrap() + 4
    }

    fn set(bytes: &mut [u8], at: usize, value: u32) {
        bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
    }

    #[test]
    fn a_codec_that_is_not_read_is_named() {
        let mut bytes = clip("baseline");
        // After version, flags, count and the entry's size; the first `avc1` of the file is a brand.
        let at = payload(&bytes, b"stsd") + 12;
        bytes[at..at + 4].copy_from_slice(b"hev1");
        let error = parse_bytes(&bytes).unwrap_err().reason;
        assert!(error.contains("hev1") && error.contains("ffmpeg"), "{error}");
    }

    #[test]
    fn lying_tables_and_boxes_are_errors() {
        let cases: [(&[u8; 4], usize, u32, &str); 6] = [
            (b"stsz", 8, u32::MAX, "stsz claims"),
            (b"stsz", 4, u32::MAX, "truncated mp4"),
            (b"stsz", 12, u32::MAX, "truncated mp4"),
            (b"stco", 8, u32::MAX, "past the file"),
            (b"stts", 4, u32::MAX, "stts claims"),
            (b"trak", 0, u32::MAX, "claims"),
        ];
        for (kind, at, value, expected) in cases {
            let mut bytes = clip("high_bframes");
            let at = payload(&bytes, kind) + at;
            set(&mut bytes, at, value);
            let error = parse_bytes(&bytes).unwrap_err().reason;
            assert!(error.contains(expected), "{error}");
        }
        let mut bytes = clip("high_bframes");
        bytes.extend([0, 0, 0, 8, b'm', b'o', b'o', b'f']);
        assert!(parse_bytes(&bytes).unwrap_err().reason.contains("fragmented"));
    }

    #[test]
    fn padding_after_the_boxes_of_a_level_is_no_error() {
        let whole = clip("high_bframes");
        let expected = parse_bytes(&whole).unwrap().samples;
        // A `udta` whose boxes end in a zero, as some cameras write it.
        let mut bytes = whole.clone();
        let moov = payload(&bytes, b"moov") - 8;
        let size = be32(&bytes, moov).unwrap();
        let udta = [0, 0, 0, 12, b'u', b'd', b't', b'a', 0, 0, 0, 0];
        bytes.splice(moov + size..moov + size, udta);
        set(&mut bytes, moov, (size + udta.len()) as u32);
        assert_eq!(parse_bytes(&bytes).unwrap().samples.len(), expected.len());
        let mut bytes = whole;
        bytes.extend([0; 40]);
        assert_eq!(parse_bytes(&bytes).unwrap().samples, expected);
    }

    #[test]
    fn without_an_edit_list_every_frame_is_shown() {
        let mut bytes = clip("high_bframes");
        let at = payload(&bytes, b"edts");
        bytes[at - 4..at].copy_from_slice(b"free");
        // Negative composition offsets, as version 1 tables have them.
        let (ctts, rows) = (payload(&bytes, b"ctts"), be32(&bytes, payload(&bytes, b"ctts") + 4).unwrap());
        for row in 0..rows {
            let at = ctts + 12 + 8 * row;
            let shift = be32(&bytes, at).unwrap() as i32 - 100_000;
            set(&mut bytes, at, shift as u32);
        }
        let samples = parse_bytes(&bytes).unwrap().samples;
        assert!(samples.iter().all(|s| s.shown) && samples.iter().any(|s| s.time < 0));
    }
}
