//! List files in all the forms that video programs write:
//!
//! * `path label` (MVD, VideoMAE), `path frames label` (mmaction's frame folders), `path start frames label`, `path start frames`
//!   (VideoMAE V2), fields apart by a space, tab, comma or semicolon; a label or number of frames of -1 is none;
//! * `path` alone;
//! * CSV with a header that has a column of paths, and if need be labels, first frames and numbers of frames.
//!
//! `docs/data.md` says by what rules a line is read that could be of several forms.

mod classes;
mod forms;
mod plain;
mod table;
mod text;
mod write;

use std::path::{Path, PathBuf};

use super::error::{Error, Result};
use super::items::{Items, Part};

pub(super) use classes::{Classes, Names};
pub(crate) use write::field;
pub(super) use write::{Entry, write};

/// The videos of a list, and the names of its classes where labels have names.
pub(super) fn read(path: &Path, root: Option<&Path>) -> Result<(Items, Names)> {
    let base = root.or(path.parent()).unwrap_or(Path::new("")).to_owned();
    match table::open(path)? {
        Some(table) => table.read(base),
        None => Ok((plain::read(path, base)?, Names::default())),
    }
}

/// Why a list whose videos have no labels has none.
pub(super) fn why_unlabelled(path: &Path) -> Result<String> {
    let plain = || "its lines have no labels; expected `path label`".to_owned();
    Ok(table::open(path)?.map_or_else(plain, |table| table.why_unlabelled()))
}

/// Whether a file's first bytes are text in UTF-16.
pub(super) fn is_wide_text(start: &[u8]) -> bool {
    text::Encoding::of(start).is_wide()
}

fn wrong(path: &Path, line: usize, reason: impl Into<String>) -> Error {
    Error::List { path: path.to_owned(), line, reason: reason.into() }
}

/// A whole number, also one that was written with a point: 3.0 is 3.
fn number(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let digit = text.trim_start_matches(['+', '-']).starts_with(|c: char| c.is_ascii_digit());
    let real = || text.parse::<f64>().ok().filter(|real| digit && real.fract() == 0.0 && real.abs() < 2f64.powi(53));
    text.parse().ok().or_else(|| real().map(|real| real as i64))
}

/// A label of a number; a negative one is none.
fn label(number: i64) -> std::result::Result<Option<u32>, String> {
    match u32::try_from(number) {
        Ok(u32::MAX) => Err(format!("the label {number} is too large")),
        Ok(label) => Ok(Some(label)),
        Err(_) if number < 0 => Ok(None),
        Err(_) => Err(format!("the label {number} is too large")),
    }
}

/// A part from its two numbers; negative ones say nothing.
fn part(start: i64, frames: i64) -> std::result::Result<Part, String> {
    let number = |value: i64, none: u32| match value < 0 {
        true => Ok(none),
        false => u32::try_from(value).map_err(|_| format!("{value} frames are more than any video has")),
    };
    if frames == 0 {
        return Err("expected at least 1 frame, got 0".to_owned());
    }
    Ok(Part { start: number(start, 0)?, frames: number(frames, u32::MAX)? })
}

/// The name that bytes of a list are.
#[cfg(unix)]
fn name_of(bytes: &[u8]) -> std::result::Result<&Path, String> {
    use std::os::unix::ffi::OsStrExt;
    Ok(Path::new(std::ffi::OsStr::from_bytes(bytes)))
}

/// The name that bytes of a list are.
#[cfg(not(unix))]
fn name_of(bytes: &[u8]) -> std::result::Result<&Path, String> {
    std::str::from_utf8(bytes).map(Path::new).map_err(|e| format!("expected a name in UTF-8: {e}"))
}

/// The bytes that a list has of a name.
#[cfg(unix)]
fn bytes_of(name: &Path) -> Option<&[u8]> {
    use std::os::unix::ffi::OsStrExt;
    Some(name.as_os_str().as_bytes())
}

/// The bytes that a list has of a name.
#[cfg(not(unix))]
fn bytes_of(name: &Path) -> Option<&[u8]> {
    name.to_str().map(str::as_bytes)
}

/// Text of a list as an error shows it.
fn shown(bytes: &[u8]) -> String {
    const MOST: usize = 200;
    let text = String::from_utf8_lossy(bytes);
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.into_owned(),
    }
}

/// Where a list's relative paths start, and what there is.
struct Base(PathBuf);

impl Base {
    fn has(&self, name: &[u8]) -> bool {
        name_of(name).is_ok_and(|name| self.0.join(name).exists())
    }
}

#[cfg(test)]
mod tests;
