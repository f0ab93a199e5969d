//! The sample index of an mp4 or mov, also of a fragmented or cut one.
//!
//! An index of our own rather than the `mp4` crate's reader: that one loops for ever on a `udta` that ends in zeros and
//! allocates by sizes that a file only claims. Here a box lies within its parent and a table within its box, so nothing
//! is larger than the file. (The crate's writer is used, in `data::synth`.)

mod fragments;
mod tables;

use std::fs::File;

use super::rgb::{Colour, quarter_turns};
use super::track::{Codec, Description, Fault, Parsed, Sample, Track, read_at};

/// A real index is far smaller (an hour at 60 frames a second takes some 3 MB).
const LARGEST_INDEX: u64 = 256 << 20;
/// Bounds the time spent on a file made of nothing but empty boxes.
const MOST_BOXES: usize = 100_000;

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

/// The parts of a file that tell where its frames are.
struct Index {
    moov: Vec<u8>,
    /// Place and content of each fragment's header.
    moofs: Vec<(usize, Vec<u8>)>,
}

/// Finds the index among the boxes of the file's top level, of which else only the headers are read.
fn index(file: &mut File, len: u64) -> Parsed<Index> {
    let (mut at, mut moov, mut moofs, mut total) = (0u64, None, Vec::new(), 0);
    for _ in 0..MOST_BOXES {
        let mut header = [0u8; 16];
        let left = len - at;
        let known = left.min(16) as usize;
        read_at(file, at, &mut header[..known])?;
        let kind = &header[4..8];
        if at == 0 && !matches!(kind, b"ftyp" | b"styp" | b"moov" | b"mdat" | b"free" | b"skip" | b"wide") {
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
        if size < start || (size > left && moov.is_none()) {
            let kind = String::from_utf8_lossy(kind);
            return Err(format!("broken or truncated mp4: box {kind} claims {size} bytes of {left}").into());
        }
        // A cut file whose index comes first: what is there can be read.
        if size > left {
            break;
        }
        if matches!(kind, b"moov" | b"moof") {
            total += size;
            if total > LARGEST_INDEX {
                return Err(format!("broken mp4: an index of {total} bytes, at most {LARGEST_INDEX} are read").into());
            }
            let mut content = vec![0; (size - start) as usize];
            read_at(file, at + start, &mut content)?;
            match kind {
                b"moov" => moov = Some(content),
                _ => moofs.push((at as usize, content)),
            }
        }
        at += size;
        if at == len {
            break;
        }
    }
    Ok(Index { moov: moov.ok_or("broken or truncated mp4: no moov box")?, moofs })
}

/// Finds the video track of an mp4 or mov: the first that is enabled, else the first. Pictures of chapters are none.
pub(super) fn parse(file: &mut File) -> Parsed<Track> {
    let len = file.metadata()?.len();
    let index = index(file, len)?;
    let file_len = usize::try_from(len).unwrap_or(usize::MAX);
    let (mut tracks, mut chapters) = (Vec::new(), Vec::new());
    for (kind, trak) in boxes(&index.moov)? {
        if &kind != b"trak" {
            continue;
        }
        if let Some(chap) = child(trak, b"tref")?.map(|tref| child(tref, b"chap")).transpose()?.flatten() {
            chapters.extend(chap.as_chunks::<4>().0.iter().map(|id| u32::from_be_bytes(*id) as usize));
        }
        let mdia = need(trak, b"mdia")?;
        if need(mdia, b"hdlr")?.get(8..12) == Some(b"vide") {
            let tkhd = need(trak, b"tkhd")?;
            tracks.push((track_id(tkhd)?, be32(tkhd, 0)? & 1 != 0, trak, mdia));
        }
    }
    tracks.retain(|(id, ..)| !chapters.contains(id));
    let enabled = tracks.iter().find(|(_, enabled, ..)| *enabled).or(tracks.first());
    let (_, _, trak, mdia) = enabled.ok_or("no video track in this mp4")?;
    video_track(&index, trak, mdia, file_len)
}

/// The number of a track, by its header.
fn track_id(tkhd: &[u8]) -> Parsed<usize> {
    // Versions differ in the width of two times before it.
    be32(tkhd, if tkhd.first() == Some(&1) { 20 } else { 12 })
}

fn video_track(index: &Index, trak: &[u8], mdia: &[u8], file_len: usize) -> Parsed<Track> {
    let stbl = need(need(mdia, b"minf")?, b"stbl")?;
    let tkhd = need(trak, b"tkhd")?;
    let timescale = timescale(need(mdia, b"mdhd")?)?;
    let fragmented = child(&index.moov, b"mvex")?;
    let (mut samples, mut missing) = tables::samples(stbl, file_len, fragmented.is_some())?;
    match fragmented {
        Some(mvex) => {
            missing += fragments::append(&index.moofs, mvex, track_id(tkhd)?, file_len, &mut samples)?;
        }
        None => {
            let edits = tables::edits(trak, film_timescale(&index.moov)?, timescale)?;
            let shown = |time: i64| edits.iter().any(|edit| edit.contains(&time));
            // Edits that would hide everything are taken as damage to them alone.
            if samples.iter().any(|s| shown(s.time)) {
                samples.iter_mut().for_each(|s| s.shown = shown(s.time));
            }
        }
    }
    if samples.is_empty() {
        let cut = "truncated mp4: not one whole frame is left of it";
        return Err(if missing > 0 { cut } else { "the video track has no frames" }.into());
    }
    let (codec, descriptions) = descriptions(need(stbl, b"stsd")?, &samples)?;
    Ok(Track { container: "mp4", codec, descriptions, samples, turns: turns(tkhd)?, timescale, missing })
}

/// Units a second of an `mvhd` or `mdhd`.
fn timescale(header: &[u8]) -> Parsed<f64> {
    let units = be32(header, if header.first() == Some(&1) { 20 } else { 12 })?;
    Ok(units.max(1) as f64)
}

/// Units a second of the whole film, by which edits are measured.
fn film_timescale(moov: &[u8]) -> Parsed<f64> {
    timescale(need(moov, b"mvhd")?)
}

/// Quarter turns of a track header's matrix.
fn turns(tkhd: &[u8]) -> Parsed<u8> {
    // Version 1 has times and duration in 8 bytes each.
    let at = if tkhd.first() == Some(&1) { 52 } else { 40 };
    let number = |index: usize| be32(tkhd, at + 4 * index).map(|v| v as u32 as i32);
    // Rows (a, b, u) and (c, d, v).
    let matrix = [number(0)?, number(1)?, number(3)?, number(4)?];
    let unknown = || Fault::unsupported(format!("frames shown through the matrix {matrix:?} are not supported"));
    quarter_turns(matrix).ok_or_else(unknown)
}

/// The codec, and the descriptions that samples are coded by.
fn descriptions(stsd: &[u8], samples: &[Sample]) -> Parsed<(Codec, Vec<Description>)> {
    let entries = boxes(stsd.get(8..).unwrap_or_default())?;
    let (mut codec, mut found): (Option<Codec>, Vec<Description>) = (None, Vec::new());
    for (place, entry) in entries.iter().enumerate() {
        let is_used = samples.iter().any(|sample| usize::from(sample.description) == place);
        let (own, description) = match is_used {
            true => description(entry.0, entry.1)?,
            false => {
                found.push(Description { config: Vec::new(), colour: None });
                continue;
            }
        };
        if codec.is_some_and(|codec| codec != own) {
            return Err(Fault::unsupported("a track of several codecs is not supported"));
        }
        codec = Some(own);
        found.push(description);
    }
    if samples.iter().any(|sample| usize::from(sample.description) >= found.len()) {
        return Err("broken mp4: samples of a description that is not there".into());
    }
    Ok((codec.ok_or("broken mp4: stsd is empty")?, found))
}

/// A sample description, or an error that names the codec.
fn description(kind: [u8; 4], entry: &[u8]) -> Parsed<(Codec, Description)> {
    let codec = match &kind {
        b"avc1" | b"avc3" => Codec::H264,
        b"vp09" => Codec::Vp9,
        other => {
            let name = String::from_utf8_lossy(other);
            let advice = "convert it: ffmpeg -i IN -c:v libx264 OUT.mp4";
            return Err(Fault::unsupported(format!("codec {name} is not supported, only H.264 and VP9 are; {advice}")));
        }
    };
    // 78 bytes of a visual sample entry come before its own boxes.
    let own = entry.get(78..).ok_or("broken mp4: short sample entry")?;
    let config = if codec == Codec::H264 { need(own, b"avcC")?.to_vec() } else { Vec::new() };
    Ok((codec, Description { config, colour: child(own, b"colr")?.and_then(colour) }))
}

/// The matrix and range of a `colr` box; other kinds of it hold profiles.
fn colour(colr: &[u8]) -> Option<Colour> {
    let matrix = u8::try_from(u16::from_be_bytes([*colr.get(8)?, *colr.get(9)?])).ok()?;
    match colr.get(..4)? {
        b"nclx" => Some(Colour { matrix, full_range: colr.get(10)? >> 7 == 1 }),
        b"nclc" => Some(Colour { matrix, full_range: false }),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
