//! The tables of a `stbl`: sizes, places, times, sync samples, edits.

use std::ops::Range;

use super::super::track::{Parsed, Sample};
use super::{be32, be64, child, need, table};

/// The frames that lie within the file, in the order of decoding, and how many the tables have beyond. Of a fragmented
/// file the tables may be empty.
pub(super) fn samples(stbl: &[u8], file_len: usize, fragmented: bool) -> Parsed<(Vec<Sample>, usize)> {
    let (mut samples, missing) = places(stbl, file_len, fragmented)?;
    times(stbl, &mut samples)?;
    if let Some(stss) = child(stbl, b"stss")?.filter(|_| !samples.is_empty()) {
        samples.iter_mut().for_each(|s| s.sync = false);
        for row in table(stss, "stss", 4)? {
            if let Some(sample) = be32(row, 0)?.checked_sub(1).and_then(|i| samples.get_mut(i)) {
                sample.sync = true;
            }
        }
    }
    Ok((samples, missing))
}

fn places(stbl: &[u8], file_len: usize, fragmented: bool) -> Parsed<(Vec<Sample>, usize)> {
    let stsz = need(stbl, b"stsz")?;
    let (fixed, count) = (be32(stsz, 4)?, be32(stsz, 8)?);
    if fragmented && count == 0 {
        return Ok((Vec::new(), 0));
    }
    let sizes: Vec<usize> = if fixed > 0 {
        // More than that cannot be in the file.
        vec![fixed; count.min(file_len / fixed + 1)]
    } else {
        table(&stsz[4..], "stsz", 4)?.map(|row| be32(row, 0)).collect::<Parsed<_>>()?
    };
    let chunks: Vec<usize> = match child(stbl, b"stco")? {
        Some(stco) => table(stco, "stco", 4)?.map(|row| be32(row, 0)).collect::<Parsed<_>>()?,
        None => table(need(stbl, b"co64")?, "co64", 8)?.map(|row| Ok(be64(row, 0)? as usize)).collect::<Parsed<_>>()?,
    };
    let runs = table(need(stbl, b"stsc")?, "stsc", 12)?.map(|row| Ok((be32(row, 0)?, be32(row, 4)?, be32(row, 8)?)));
    let runs: Vec<(usize, usize, usize)> = runs.collect::<Parsed<_>>()?;
    // Runs that go back would make the walk over chunks quadratic.
    if runs.windows(2).any(|pair| pair[1].0 <= pair[0].0) {
        return Err("broken mp4: the runs of stsc are not in order".into());
    }
    let mut samples = Vec::with_capacity(sizes.len());
    for (i, &(first, per_chunk, description)) in runs.iter().enumerate() {
        let description = described(description);
        let end = runs.get(i + 1).map_or(chunks.len() + 1, |next| next.0);
        for chunk in first..end.min(chunks.len() + 1) {
            let mut offset = *chunks.get(chunk.wrapping_sub(1)).ok_or("broken mp4: stsc names no chunk")?;
            for _ in 0..per_chunk.min(sizes.len() - samples.len()) {
                let size = sizes[samples.len()];
                if offset.checked_add(size).is_none_or(|end| end > file_len) {
                    // The file ends here; frames that come later in it may need this one.
                    let missing = count.saturating_sub(samples.len());
                    return Ok((samples, missing));
                }
                samples.push(Sample { offset, size, time: 0, sync: true, shown: true, description });
                offset += size;
            }
        }
    }
    Ok((samples, 0))
}

/// The place of a description by its number, which counts from 1.
pub(super) fn described(number: usize) -> u16 {
    u16::try_from(number.saturating_sub(1)).unwrap_or(u16::MAX)
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

/// The media times that edits show; `film` and `media` are units of time a second.
pub(super) fn edits(trak: &[u8], film: f64, media: f64) -> Parsed<Vec<Range<i64>>> {
    let Some(elst) = child(trak, b"edts")?.map(|e| child(e, b"elst")).transpose()?.flatten() else {
        return Ok(Vec::new());
    };
    let wide = elst.first() == Some(&1);
    let mut edits = Vec::new();
    for row in table(elst, "elst", if wide { 20 } else { 12 })? {
        let (length, start) = match wide {
            true => (be64(row, 0)? as f64, be64(row, 8)? as i64),
            false => (be32(row, 0)? as f64, i64::from(be32(row, 4)? as u32 as i32)),
        };
        // An empty edit shows nothing for a while, one without a length all that there is.
        if start >= 0 {
            let length = if length > 0.0 { (length / film * media).round() as i64 } else { i64::MAX };
            edits.push(start..start.saturating_add(length));
        }
    }
    Ok(edits)
}
