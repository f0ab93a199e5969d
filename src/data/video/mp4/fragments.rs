//! The frames of a fragmented mp4: runs (`trun`) of track fragments (`traf`) of fragments (`moof`).

use super::super::track::{Parsed, Sample};
use super::tables::described;
use super::{be32, be64, boxes, child, need};

/// What a run takes where it does not say otherwise.
#[derive(Debug, Clone, Copy, Default)]
struct Defaults {
    /// Number of the sample description, from 1.
    description: usize,
    duration: usize,
    size: usize,
    flags: usize,
}

/// A sample flag: decoding cannot start here.
const NOT_SYNC: usize = 1 << 16;

/// Fields of a fixed order of which flags say which are there.
struct Fields<'a> {
    data: &'a [u8],
    at: usize,
}

impl Fields<'_> {
    fn next(&mut self) -> Parsed<usize> {
        let value = be32(self.data, self.at)?;
        self.at += 4;
        Ok(value)
    }

    /// The next field if it is there, else `or`.
    fn next_if(&mut self, there: bool, or: usize) -> Parsed<usize> {
        if there { self.next() } else { Ok(or) }
    }
}

/// Version and flags, at the start of a box.
fn flags(data: &[u8]) -> Parsed<usize> {
    Ok(be32(data, 0)? & 0xff_ffff)
}

/// Adds the frames of all fragments of track `id` that lie within the file; gives how many do not.
pub(super) fn append(
    moofs: &[(usize, Vec<u8>)],
    mvex: &[u8],
    id: usize,
    file_len: usize,
    samples: &mut Vec<Sample>,
) -> Parsed<usize> {
    let mut extends = Defaults::default();
    for (kind, trex) in boxes(mvex)? {
        if &kind == b"trex" && be32(trex, 4)? == id {
            let number = |at: usize| be32(trex, at);
            extends =
                Defaults { description: number(8)?, duration: number(12)?, size: number(16)?, flags: number(20)? };
        }
    }
    let (mut time, mut missing) = (0i64, 0);
    for (moof_at, moof) in moofs {
        // Where the data of the track fragment before ended.
        let mut end = *moof_at;
        for (kind, traf) in boxes(moof)? {
            if &kind != b"traf" {
                continue;
            }
            let mut run = Run::of(traf, id, extends, *moof_at, end)?;
            if let (Some(tfdt), true) = (child(traf, b"tfdt")?, run.wanted) {
                time = if tfdt.first() == Some(&1) { be64(tfdt, 4)? as i64 } else { be32(tfdt, 4)? as i64 };
            }
            for (kind, trun) in boxes(traf)? {
                if &kind == b"trun" {
                    missing += run.read(trun, file_len, &mut time, samples)?;
                }
            }
            end = run.at;
        }
    }
    Ok(missing)
}

/// The state of reading one track fragment.
struct Run {
    wanted: bool,
    defaults: Defaults,
    /// Where the fragment's offsets start.
    base: usize,
    /// Where the next frame lies.
    at: usize,
}

impl Run {
    fn of(traf: &[u8], id: usize, extends: Defaults, moof_at: usize, end: usize) -> Parsed<Run> {
        let tfhd = need(traf, b"tfhd")?;
        let flags = flags(tfhd)?;
        let wanted = be32(tfhd, 4)? == id;
        let mut fields = Fields { data: tfhd, at: 8 };
        let base = match flags {
            f if f & 0x1 != 0 => {
                fields.at += 8;
                usize::try_from(be64(tfhd, 8)?).unwrap_or(usize::MAX)
            }
            f if f & 0x2_0000 != 0 => moof_at,
            _ => end,
        };
        let description = fields.next_if(flags & 0x2 != 0, extends.description)?;
        let duration = fields.next_if(flags & 0x8 != 0, extends.duration)?;
        let size = fields.next_if(flags & 0x10 != 0, extends.size)?;
        let flags = fields.next_if(flags & 0x20 != 0, extends.flags)?;
        Ok(Run { wanted, defaults: Defaults { description, duration, size, flags }, base, at: base })
    }

    fn read(&mut self, trun: &[u8], file_len: usize, time: &mut i64, samples: &mut Vec<Sample>) -> Parsed<usize> {
        let present = flags(trun)?;
        let has = |flag: usize| present & flag != 0;
        let mut fields = Fields { data: trun, at: 4 };
        let count = fields.next()?;
        if has(0x1) {
            let offset = fields.next()? as u32 as i32 as isize;
            self.at = self.base.saturating_add_signed(offset);
        }
        let first = if has(0x4) { Some(fields.next()?) } else { None };
        // Frames of no bytes that take none in the table could be any number.
        if !has(0x200) && self.defaults.size == 0 && count > 0 {
            return Err("broken mp4: a run of frames without a size".into());
        }
        for index in 0..count {
            let duration = fields.next_if(has(0x100), self.defaults.duration)?;
            let size = fields.next_if(has(0x200), self.defaults.size)?;
            let flags = fields.next_if(has(0x400), self.defaults.flags)?;
            let shift = fields.next_if(has(0x800), 0)? as u32 as i32;
            let flags = first.filter(|_| index == 0).unwrap_or(flags);
            let end = self.at.saturating_add(size);
            if end > file_len {
                return Ok(if self.wanted { count - index } else { 0 });
            }
            if self.wanted {
                let (offset, shown) = (self.at, time.saturating_add(i64::from(shift)));
                let (sync, description) = (flags & NOT_SYNC == 0, described(self.defaults.description));
                samples.push(Sample { offset, size, time: shown, sync, shown: true, description });
                *time = time.saturating_add(duration as i64);
            }
            self.at = end;
        }
        Ok(0)
    }
}
