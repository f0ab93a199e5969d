//! The bytes of a list, whatever it is written in, and its lines.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::Path;

use super::super::error::{Error, Result};
use super::wrong;

/// What a list is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// UTF-8, or names in whatever bytes the file system has, after so many bytes of a mark.
    Bytes(usize),
    /// UTF-16 after so many bytes of a mark, least significant byte first or not.
    Wide { mark: usize, little: bool },
    /// UTF-32.
    Wider,
}

impl Encoding {
    /// Told by a byte order mark, or by the zeros of the first letters.
    pub fn of(start: &[u8]) -> Encoding {
        match start {
            [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => Encoding::Wider,
            [0xef, 0xbb, 0xbf, ..] => Encoding::Bytes(3),
            [0xff, 0xfe, ..] => Encoding::Wide { mark: 2, little: true },
            [0xfe, 0xff, ..] => Encoding::Wide { mark: 2, little: false },
            [a, 0, b, 0, ..] if *a != 0 && *b != 0 => Encoding::Wide { mark: 0, little: true },
            [0, a, 0, b, ..] if is_letter(*a) && is_letter(*b) => Encoding::Wide { mark: 0, little: false },
            _ => Encoding::Bytes(0),
        }
    }

    pub fn is_wide(self) -> bool {
        matches!(self, Encoding::Wide { .. })
    }
}

/// Whether a byte begins the text of a list. (Videos of some containers begin with zeros too.)
fn is_letter(byte: u8) -> bool {
    byte.is_ascii_graphic()
}

/// The list's bytes without a mark, in UTF-8 if it is in UTF-16.
pub(super) fn open(path: &Path) -> Result<Box<dyn BufRead>> {
    let failed = |e| Error::io(path, e);
    let mut file = File::open(path).map_err(failed)?;
    let mut start = Vec::new();
    (&mut file).take(4).read_to_end(&mut start).map_err(failed)?;
    let encoding = Encoding::of(&start);
    let mark = match encoding {
        Encoding::Bytes(mark) | Encoding::Wide { mark, .. } => mark,
        Encoding::Wider => return Err(wrong(path, 1, "the list is in UTF-32; expected UTF-8 or UTF-16")),
    };
    file.seek(SeekFrom::Start(mark as u64)).map_err(failed)?;
    let Encoding::Wide { little, .. } = encoding else {
        return Ok(Box::new(BufReader::with_capacity(1 << 20, file)));
    };
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(failed)?;
    let (pairs, odd) = bytes.as_chunks::<2>();
    let units = pairs.iter().map(|pair| if little { u16::from_le_bytes(*pair) } else { u16::from_be_bytes(*pair) });
    let mut text = String::with_capacity(bytes.len());
    for letter in char::decode_utf16(units) {
        let line = || text.matches('\n').count() + 1;
        text.push(
            letter.map_err(|e| wrong(path, line(), format!("the list is in UTF-16, which is broken here: {e}")))?,
        );
    }
    if !odd.is_empty() {
        return Err(wrong(path, text.lines().count(), "the list is in UTF-16 and ends within a letter"));
    }
    Ok(Box::new(Cursor::new(text.into_bytes())))
}

/// The lines of a list, which end in a line feed, a carriage return, or both.
pub(super) struct Lines<'a> {
    path: &'a Path,
    reader: Box<dyn BufRead>,
    bytes: Vec<u8>,
    /// Where in `bytes` the next line starts.
    at: usize,
    /// Number of the last line.
    number: usize,
}

impl<'a> Lines<'a> {
    pub fn open(path: &'a Path) -> Result<Lines<'a>> {
        Ok(Lines { path, reader: open(path)?, bytes: Vec::new(), at: 0, number: 0 })
    }

    /// The next line's number, and the line without what ends it; none at the end.
    pub fn next(&mut self) -> Result<Option<(usize, &[u8])>> {
        if self.at == self.bytes.len() {
            self.bytes.clear();
            self.at = 0;
            self.reader.read_until(b'\n', &mut self.bytes).map_err(|e| Error::io(self.path, e))?;
            if self.bytes.is_empty() {
                return Ok(None);
            }
            let ending = [&b"\r\n"[..], b"\n", b"\r"].into_iter().find(|ending| self.bytes.ends_with(ending));
            let len = self.bytes.len() - ending.map_or(0, <[u8]>::len);
            self.bytes.truncate(len);
            self.bytes.push(b'\r');
        }
        let rest = &self.bytes[self.at..];
        let len = rest.iter().position(|byte| *byte == b'\r').unwrap_or(rest.len());
        let line = self.at..self.at + len;
        self.at = (line.end + 1).min(self.bytes.len());
        self.number += 1;
        Ok(Some((self.number, &self.bytes[line])))
    }
}
