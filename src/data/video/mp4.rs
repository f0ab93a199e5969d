//! The sample index of an mp4: where each coded frame lies, when it is shown, whether decoding can start there.
//!
//! An index of our own rather than the `mp4` crate's reader: that one loops for ever on a `udta` that ends in zeros and
//! allocates by sizes that a file only claims. Here a box lies within its parent and a table within its box, so nothing
//! is larger than the file. (The crate's writer is used, in `data::synth`.)

/// One coded frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sample {
    pub offset: usize,
    pub size: usize,
    /// Presentation time in the track's units.
    pub time: i64,
    /// Decoding can start here.
    pub sync: bool,
}

/// The first video track.
#[derive(Debug, Clone)]
pub(super) struct Track {
    /// `avcC`, the decoder's configuration.
    pub config: Vec<u8>,
    /// In the order of decoding.
    pub samples: Vec<Sample>,
}

type Parsed<T> = Result<T, String>;

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
                Err(format!("box {name} claims {size} bytes of {}", rest.len()))
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
    child(data, kind)?.ok_or_else(|| format!("broken mp4: no {} box", String::from_utf8_lossy(kind)))
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
        return Err(format!("broken mp4: {what} claims {count} entries, its box holds {}", rows.len() / width));
    }
    Ok(rows.chunks_exact(width).take(count))
}

/// Finds the first video track of an mp4 or mov that is wholly in `file`.
pub(super) fn parse(file: &[u8]) -> Parsed<Track> {
    if file.len() < 8 || !matches!(&file[4..8], b"ftyp" | b"moov" | b"mdat" | b"free" | b"skip" | b"wide") {
        return Err("not an mp4 file (its first box is none that an mp4 starts with)".into());
    }
    let top = boxes(file).map_err(|e| format!("broken or truncated mp4: {e}"))?;
    let moov = top.iter().find(|b| &b.0 == b"moov").ok_or("broken or truncated mp4: no moov box")?.1;
    if top.iter().any(|b| &b.0 == b"moof") {
        return Err("fragmented mp4 is not supported; remux it: ffmpeg -i IN -c copy -movflags faststart OUT".into());
    }
    for (kind, trak) in boxes(moov)? {
        if &kind != b"trak" {
            continue;
        }
        let mdia = need(trak, b"mdia")?;
        if need(mdia, b"hdlr")?.get(8..12) == Some(b"vide") {
            return video_track(trak, mdia, file.len());
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
    let shown_from = edit_start(trak)?;
    if let Some(last) = samples.iter().map(|s| s.time).max().filter(|&last| last >= shown_from) {
        // What lies before the edit is decoded but never shown: it gets times that no rank reaches.
        samples.iter_mut().filter(|s| s.time < shown_from).for_each(|s| s.time = i64::MIN + (last - s.time));
    }
    Ok(Track { config, samples })
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
            Err(format!("codec {name} is not supported, only H.264 is; convert it: ffmpeg -i IN -c:v libx264 OUT.mp4"))
        }
    }
}

fn places(stbl: &[u8], file_len: usize) -> Parsed<Vec<Sample>> {
    let stsz = need(stbl, b"stsz")?;
    let (fixed, count) = (be32(stsz, 4)?, be32(stsz, 8)?);
    let sizes: Vec<usize> = if fixed > 0 {
        if count > file_len {
            return Err(format!("broken mp4: stsz claims {count} samples, the file has {file_len} bytes"));
        }
        vec![fixed; count]
    } else {
        table(&stsz[4..], "stsz", 4)?.map(|row| be32(row, 0)).collect::<Parsed<_>>()?
    };
    let chunks: Vec<usize> = match child(stbl, b"stco")? {
        Some(stco) => table(stco, "stco", 4)?.map(|row| be32(row, 0)).collect::<Parsed<_>>()?,
        None => table(need(stbl, b"co64")?, "co64", 8)?.map(|row| Ok(be64(row, 0)? as usize)).collect::<Parsed<_>>()?,
    };
    let runs = table(need(stbl, b"stsc")?, "stsc", 12)?.map(|row| Ok((be32(row, 0)?, be32(row, 4)?)));
    let runs: Vec<(usize, usize)> = runs.collect::<Parsed<_>>()?;
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
                    ));
                }
                samples.push(Sample { offset, size, time: 0, sync: true });
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
    let (mut next, mut time) = (0, 0i64);
    for row in table(need(stbl, b"stts")?, "stts", 8)? {
        let (count, delta) = (be32(row, 0)?, be32(row, 4)?);
        for sample in samples.iter_mut().skip(next).take(count) {
            sample.time = time;
            time += delta as i64;
            next += 1;
        }
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
fn edit_start(trak: &[u8]) -> Parsed<i64> {
    let Some(elst) = child(trak, b"edts")?.map(|e| child(e, b"elst")).transpose()?.flatten() else { return Ok(0) };
    let wide = elst.first() == Some(&1);
    for row in table(elst, "elst", if wide { 20 } else { 12 })? {
        let start = if wide { be64(row, 8)? as i64 } else { i64::from(be32(row, 4)? as u32 as i32) };
        if start >= 0 {
            return Ok(start);
        }
    }
    Ok(0)
}
