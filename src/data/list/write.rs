//! Lists that this program writes: CSV with a header, which reads back to the same paths, labels and parts whatever the
//! names are.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::super::error::{Error, Result};
use super::super::items::Part;
use super::bytes_of;

/// One video of a list that is written.
pub(in crate::data) struct Entry {
    /// Relative to the list's folder, or absolute.
    pub name: PathBuf,
    pub label: Option<u32>,
    pub part: Part,
}

/// Appends a field of a CSV, in quotes if need be.
pub(crate) fn field(row: &mut Vec<u8>, value: &[u8]) {
    let special = |byte: &u8| matches!(byte, b',' | b';' | b'\t' | b'"' | b'\n' | b'\r');
    let edge = |byte: Option<&u8>| byte.is_some_and(|byte| *byte == b' ');
    if !value.iter().any(special) && !edge(value.first()) && !edge(value.last()) {
        row.extend(value);
        return;
    }
    row.push(b'"');
    for byte in value {
        row.extend(std::iter::repeat_n(*byte, if *byte == b'"' { 2 } else { 1 }));
    }
    row.push(b'"');
}

/// Writes a list; `classes` are names of labels, which are written beside them for the reader's eyes.
///
/// # Errors
/// The file cannot be written, or a name has no bytes that a list can hold (Windows: no Unicode).
pub(in crate::data) fn write(path: &Path, entries: &[Entry], classes: &[String]) -> Result<()> {
    let failed = |e| Error::io(path, e);
    let parts = entries.iter().any(|entry| entry.part != Part::WHOLE);
    let mut file = BufWriter::new(File::create(path).map_err(failed)?);
    let mut row = b"path,label".to_vec();
    row.extend_from_slice(if classes.is_empty() { b"" } else { b",class" });
    row.extend_from_slice(if parts { b",start_frame,num_frames" } else { b"" });
    for Entry { name, label, part } in entries {
        row.push(b'\n');
        file.write_all(&row).map_err(failed)?;
        row.clear();
        field(
            &mut row,
            bytes_of(name).ok_or_else(|| Error::video(name, "a list cannot hold a name that is no Unicode"))?,
        );
        row.push(b',');
        row.extend(label.map(|label| label.to_string()).unwrap_or_default().bytes());
        if !classes.is_empty() {
            row.push(b',');
            field(
                &mut row,
                label.and_then(|label| classes.get(label as usize)).map_or(&b""[..], |name| name.as_bytes()),
            );
        }
        if parts {
            let Part { start, frames } = *part;
            let frames = if frames == u32::MAX { String::new() } else { frames.to_string() };
            row.extend(format!(",{start},{frames}").bytes());
        }
    }
    row.push(b'\n');
    file.write_all(&row).and_then(|()| file.flush()).map_err(failed)
}
