//! List files in all the forms that video programs write:
//!
//! * `path label` (MVD, VideoMAE), `path frames label` (mmaction's frame folders), `path start frames label`, fields apart
//!   by a space, tab or comma; a label or number of frames of -1 is none;
//! * `path` alone;
//! * CSV with a header that has a column of paths, and if need be `label`, `start`, `frames`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::dataset::is_video;
use super::error::{Error, Result};
use super::items::{Items, Part};

/// Names of columns, lower case.
const PATHS: [&str; 7] = ["path", "video_path", "video", "file", "filename", "filepath", "file_path"];
const LABELS: [&str; 5] = ["label", "label_id", "class", "class_id", "target"];
const STARTS: [&str; 3] = ["start", "start_frame", "start_index"];
const FRAMES: [&str; 4] = ["frames", "num_frames", "total_frames", "length"];

/// Bytes of the longest row; a first row beyond it is no header, but a quote that a plain list holds.
const LONGEST_ROW: usize = 1 << 20;

/// The videos of a list, and the names of its classes where labels are names.
pub(super) fn read(path: &Path, root: Option<&Path>) -> Result<(Items, Vec<String>)> {
    let base = root.or(path.parent()).unwrap_or(Path::new("")).to_owned();
    let rows = Rows::open(path)?;
    match rows.columns() {
        Some(columns) => table(rows, base, &columns),
        None => Ok((lines(path, base)?, Vec::new())),
    }
}

/// Where a CSV's columns are.
struct Columns {
    path: usize,
    label: Option<usize>,
    start: Option<usize>,
    frames: Option<usize>,
}

fn wrong(path: &Path, line: usize, got: &str) -> Error {
    Error::List { path: path.to_owned(), line, got: got.to_owned() }
}

/// A part from its two numbers; negative ones say nothing.
fn part(start: i64, frames: i64) -> Part {
    let number = |value: i64, none: u32| u32::try_from(value).unwrap_or(none);
    Part { start: number(start, 0), frames: number(frames, u32::MAX) }
}

/// The rows of a CSV file, without its header.
struct Rows<'a> {
    path: &'a Path,
    file: BufReader<File>,
    parser: csv_core::Reader,
    text: Vec<u8>,
    ends: Vec<usize>,
    fields: usize,
    /// The line that the last row began at.
    line: usize,
}

impl<'a> Rows<'a> {
    fn open(path: &'a Path) -> Result<Rows<'a>> {
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        let file = BufReader::with_capacity(1 << 20, file);
        let parser = csv_core::Reader::new();
        let mut rows = Rows { path, file, parser, text: vec![0; 1024], ends: vec![0; 16], fields: 0, line: 0 };
        match rows.next() {
            Err(Error::List { .. }) => rows.fields = 0,
            other => drop(other?),
        }
        Ok(rows)
    }

    /// The columns of a header, if the row names one of paths.
    fn columns(&self) -> Option<Columns> {
        let name = |column| self.field(column).unwrap_or_default().to_lowercase();
        let names: Vec<String> = (0..self.fields).map(name).collect();
        let find = |known: &[&str]| names.iter().position(|name| known.contains(&name.as_str()));
        let path = find(&PATHS)?;
        Some(Columns { path, label: find(&LABELS), start: find(&STARTS), frames: find(&FRAMES) })
    }

    /// Goes on to the next row; false at the end.
    fn next(&mut self) -> Result<bool> {
        use csv_core::ReadRecordResult::{End, InputEmpty, OutputEndsFull, OutputFull, Record};
        let (expected, mut written) = (self.fields, 0);
        (self.fields, self.line) = (0, self.parser.line() as usize);
        loop {
            let input = self.file.fill_buf().map_err(|e| Error::io(self.path, e))?;
            let (text, ends) = (&mut self.text[written..], &mut self.ends[self.fields..]);
            let (state, read, wrote, ended) = self.parser.read_record(input, text, ends);
            self.file.consume(read);
            (written, self.fields) = (written + wrote, self.fields + ended);
            match state {
                InputEmpty => {}
                OutputFull if written >= LONGEST_ROW => {
                    return Err(wrong(self.path, self.line, &format!("a row of over {LONGEST_ROW} bytes")));
                }
                OutputFull => self.text.resize(2 * self.text.len(), 0),
                OutputEndsFull => self.ends.resize(2 * self.ends.len(), 0),
                Record if expected != 0 && self.fields != expected => {
                    let got = format!("{} fields, the header has {expected}", self.fields);
                    return Err(wrong(self.path, self.line, &got));
                }
                Record => return Ok(true),
                End => return Ok(false),
            }
        }
    }

    /// A field of the row, which has as many as the header.
    fn field(&self, column: usize) -> Result<&str> {
        let start = column.checked_sub(1).map_or(0, |before| self.ends[before]);
        let text = std::str::from_utf8(&self.text[start..self.ends[column]]);
        Ok(text.map_err(|e| wrong(self.path, self.line, &e.to_string()))?.trim())
    }

    /// A number of the row; -1 where there is none.
    fn number(&self, column: Option<usize>) -> Result<i64> {
        match column.map_or(Ok(""), |column| self.field(column))? {
            "" => Ok(-1),
            text => text.parse().map_err(|_| wrong(self.path, self.line, text)),
        }
    }
}

fn table(mut rows: Rows<'_>, base: PathBuf, columns: &Columns) -> Result<(Items, Vec<String>)> {
    let (mut items, mut classes) = (Items::new(base), Classes::default());
    while rows.next()? {
        let name = rows.field(columns.path)?;
        if name.is_empty() {
            return Err(wrong(rows.path, rows.line, "no path"));
        }
        let label = columns.label.map_or(Ok(""), |column| rows.field(column))?;
        let label = (!label.is_empty()).then(|| classes.id(label));
        items.push(Path::new(name), label, part(rows.number(columns.start)?, rows.number(columns.frames)?));
    }
    let names = classes.settle(&mut items);
    Ok((items, names))
}

/// Labels that may be names: numbers count as they are, names by their order.
#[derive(Default)]
pub(super) struct Classes(BTreeMap<String, u32>);

impl Classes {
    /// What stands for a label until all are known.
    pub fn id(&mut self, name: &str) -> u32 {
        match self.0.get(name) {
            Some(id) => *id,
            None => {
                let id = self.0.len() as u32;
                self.0.insert(name.to_owned(), id);
                id
            }
        }
    }

    /// Gives videos their labels; the names of the classes, unless they are numbers.
    pub fn settle(self, items: &mut Items) -> Vec<String> {
        let numbers: Option<Vec<i64>> = self.0.keys().map(|name| name.parse().ok()).collect();
        let mut labels = vec![None; self.0.len()];
        for (place, id) in self.0.values().enumerate() {
            labels[*id as usize] = match &numbers {
                Some(numbers) => u32::try_from(numbers[place]).ok(),
                None => Some(place as u32),
            };
        }
        items.relabel(|id| labels[id as usize]);
        if numbers.is_some() { Vec::new() } else { self.0.into_keys().collect() }
    }
}

/// Takes a number from the end of a line.
fn last_number(line: &str) -> Option<(&str, i64)> {
    let (rest, number) = line.rsplit_once([' ', '\t', ','])?;
    Some((rest.trim_end_matches([' ', '\t', ',']), number.parse().ok()?))
}

fn lines(path: &Path, base: PathBuf) -> Result<Items> {
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let (mut items, mut text, mut count) = (Items::new(base), String::new(), 0);
    loop {
        text.clear();
        if reader.read_line(&mut text).map_err(|e| Error::io(path, e))? == 0 {
            return Ok(items);
        }
        count += 1;
        let line = text.trim_start_matches('\u{feff}').trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        // Paths may hold spaces: fields are the numbers at the end.
        let (mut name, mut fields) = (line, Vec::new());
        while let (Some((rest, number)), true) = (last_number(name), fields.len() < 3) {
            name = rest;
            fields.push(number);
        }
        if fields.is_empty() && name.contains([' ', '\t', ',']) && !is_video(Path::new(name)) {
            return Err(wrong(path, count, line));
        }
        let label = |value: i64| u32::try_from(value).ok();
        let (label, part) = match fields[..] {
            [] => (None, Part::WHOLE),
            [class] => (label(class), Part::WHOLE),
            [class, frames] => (label(class), part(0, frames)),
            [class, frames, start, ..] => (label(class), part(start, frames)),
        };
        items.push(Path::new(name), label, part);
    }
}
