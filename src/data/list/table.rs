//! Lists with a header: CSV, its fields apart by commas, semicolons, tabs or spaces.

use std::io::BufRead;
use std::path::{Path, PathBuf};

use super::super::error::{Error, Result};
use super::super::items::Items;
use super::classes::{Classes, Names, Settled, is_several};
use super::{Base, name_of, number, part, shown, text, wrong};

/// Names of columns in lower case, spaces and dashes as underscores; what comes first counts.
const PATHS: [&str; 16] = [
    "path",
    "file_path",
    "filepath",
    "video_path",
    "image_path",
    "img_path",
    "clip_path",
    "file",
    "filename",
    "file_name",
    "video_file",
    "video",
    "clip",
    "image",
    "frame_dir",
    "paths",
];
/// Numbers first: where a table has names as well, the numbers count.
const LABELS: [&str; 11] = [
    "label_id",
    "class_id",
    "label_idx",
    "class_idx",
    "label_index",
    "class_index",
    "target",
    "label",
    "class",
    "label_name",
    "class_name",
];
const STARTS: [&str; 5] = ["start_frame", "start_index", "frame_start", "first_frame", "frame_offset"];
const FRAMES: [&str; 6] = ["num_frames", "frames", "total_frames", "n_frames", "frame_count", "number_of_frames"];
/// Columns that bound a part of a video in units that they do not tell, or in seconds, or by a last frame that may or may
/// not be one of them.
const UNCLEAR_STARTS: [&str; 11] = [
    "start",
    "begin",
    "start_time",
    "time_start",
    "start_sec",
    "start_seconds",
    "start_s",
    "t_start",
    "begin_time",
    "offset",
    "starts",
];
const UNCLEAR_ENDS: [&str; 14] = [
    "length",
    "end",
    "stop",
    "end_time",
    "time_end",
    "end_sec",
    "end_seconds",
    "end_s",
    "t_end",
    "stop_time",
    "end_frame",
    "end_index",
    "last_frame",
    "frame_end",
];

/// Bytes of the longest row; a first row beyond it is no header, but a quote that a plain list holds.
const LONGEST_ROW: usize = 1 << 20;

/// Where a table's columns are.
struct Columns {
    /// As the file writes them.
    names: Vec<String>,
    path: usize,
    labels: Vec<(String, usize)>,
    start: Option<usize>,
    frames: Option<usize>,
}

/// The rows of a CSV file.
struct Rows<'a> {
    path: &'a Path,
    reader: Box<dyn BufRead>,
    parser: csv_core::Reader,
    text: Vec<u8>,
    ends: Vec<usize>,
    fields: usize,
    /// The line that the last row began at.
    line: usize,
}

/// A table behind its header.
pub(super) struct Table<'a> {
    rows: Rows<'a>,
    columns: Columns,
}

/// Opens a table, if the first row is a header: it names a column of paths, and holds no number.
pub(super) fn open(path: &Path) -> Result<Option<Table<'_>>> {
    for delimiter in *b",;\t " {
        let parser = csv_core::ReaderBuilder::new().delimiter(delimiter).build();
        let (text, ends) = (vec![0; 1024], vec![0; 16]);
        let mut rows = Rows { path, reader: text::open(path)?, parser, text, ends, fields: 0, line: 0 };
        match rows.next() {
            Err(Error::List { .. }) => continue,
            other => drop(other?),
        }
        if let Some(columns) = rows.columns(delimiter == b' ')? {
            return Ok(Some(Table { rows, columns }));
        }
    }
    Ok(None)
}

impl Rows<'_> {
    /// The columns of a header, if the row is one. A row of words may be a path alone.
    ///
    /// # Errors
    /// A column that bounds parts of videos and does not say that it counts frames.
    fn columns(&self, words: bool) -> Result<Option<Columns>> {
        let name =
            |column| String::from_utf8_lossy(trimmed(self.bytes(column))).to_lowercase().replace([' ', '-'], "_");
        let names: Vec<String> = (0..self.fields).map(name).collect();
        let find = |known: &[&str]| known.iter().find_map(|known| names.iter().position(|name| name == known));
        let Some(path) = find(&PATHS) else { return Ok(None) };
        if names.iter().any(|name| number(name.as_bytes()).is_some()) || (words && names.len() < 2) {
            return Ok(None);
        }
        let place = |name: &&str| Some(((*name).to_owned(), names.iter().position(|other| other == name)?));
        let labels = LABELS.iter().filter_map(place).collect();
        let (mut start, frames) = (find(&STARTS), find(&FRAMES));
        // Beside a number of frames, a start is one in frames.
        start = start.or_else(|| frames.and_then(|_| find(&["start"])));
        let unclear = |known: &[&str], clear: Option<usize>| find(known).filter(|_| clear.is_none());
        match unclear(&UNCLEAR_STARTS, start).or_else(|| unclear(&UNCLEAR_ENDS, frames)) {
            Some(column) => {
                let advice = "parts of videos are read from the columns start_frame (from 0) and num_frames, in frames; \
                    expected those, or no such column";
                let reason = format!("the column `{}` may be in seconds or in frames: {advice}", names[column]);
                Err(wrong(self.path, 1, reason))
            }
            None => {
                let own = |column| String::from_utf8_lossy(trimmed(self.bytes(column))).into_owned();
                Ok(Some(Columns { names: (0..self.fields).map(own).collect(), path, labels, start, frames }))
            }
        }
    }

    /// Goes on to the next row; false at the end.
    fn next(&mut self) -> Result<bool> {
        use csv_core::ReadRecordResult::{End, InputEmpty, OutputEndsFull, OutputFull, Record};
        let (expected, mut written) = (self.fields, 0);
        (self.fields, self.line) = (0, self.parser.line() as usize);
        loop {
            let input = self.reader.fill_buf().map_err(|e| Error::io(self.path, e))?;
            let (text, ends) = (&mut self.text[written..], &mut self.ends[self.fields..]);
            let (state, read, wrote, ended) = self.parser.read_record(input, text, ends);
            self.reader.consume(read);
            (written, self.fields) = (written + wrote, self.fields + ended);
            match state {
                InputEmpty => {}
                OutputFull if written >= LONGEST_ROW => {
                    return Err(wrong(self.path, self.line, format!("a row of over {LONGEST_ROW} bytes")));
                }
                OutputFull => self.text.resize(2 * self.text.len(), 0),
                OutputEndsFull => self.ends.resize(2 * self.ends.len(), 0),
                Record if expected != 0 && self.fields != expected => {
                    let reason = format!("the row has {} fields, the header has {expected}", self.fields);
                    return Err(wrong(self.path, self.line, reason));
                }
                Record => return Ok(true),
                End => return Ok(false),
            }
        }
    }

    fn bytes(&self, column: usize) -> &[u8] {
        let start = column.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start..self.ends[column]]
    }

    fn wrong(&self, reason: impl Into<String>) -> Error {
        wrong(self.path, self.line, reason)
    }

    /// A field of the row, which has as many as the header.
    fn field(&self, column: usize) -> Result<&str> {
        let text = std::str::from_utf8(trimmed(self.bytes(column)));
        text.map_err(|_| self.wrong(format!("`{}` is no text in UTF-8", shown(self.bytes(column)))))
    }

    /// The path of the row: with the spaces around it if there is such a file.
    fn name(&self, column: usize, base: &Base) -> Result<&Path> {
        let (whole, plain) = (self.bytes(column), trimmed(self.bytes(column)));
        if plain.is_empty() {
            return Err(self.wrong("the row has no path"));
        }
        let bytes = if whole != plain && base.has(whole) { whole } else { plain };
        name_of(bytes).map_err(|reason| self.wrong(reason))
    }

    /// A number of the row; -1 where there is none.
    fn number(&self, column: Option<usize>) -> Result<i64> {
        match column.map_or(Ok(""), |column| self.field(column))? {
            text if text.is_empty() || text.eq_ignore_ascii_case("nan") => Ok(-1),
            text => number(text.as_bytes()).ok_or_else(|| {
                self.wrong(format!("expected a whole number of frames, got `{}`", shown(text.as_bytes())))
            }),
        }
    }
}

fn trimmed(field: &[u8]) -> &[u8] {
    field.trim_ascii()
}

/// What stands for no label until all are known.
const NO_LABEL: u32 = u32::MAX;

/// A column of labels.
struct Labels {
    header: String,
    column: usize,
    classes: Classes,
    ids: Vec<u32>,
    /// The first row that has several labels, and which.
    several: Option<(usize, String)>,
}

impl Table<'_> {
    /// Why it has no labels: what its columns are, and what they would be called.
    pub fn why_unlabelled(&self) -> String {
        let (columns, known) = (self.columns.names.join(", "), LABELS.join(", "));
        match self.columns.labels.first() {
            Some((column, _)) => format!("its column of labels, `{column}`, is empty"),
            None => format!("none of its columns ({columns}) is one of labels; expected one that is called {known}"),
        }
    }

    /// The videos and, where labels have names, the names of classes.
    pub fn read(mut self, base: PathBuf) -> Result<(Items, Names)> {
        let (mut items, base) = (Items::new(base.clone()), Base(base));
        let Columns { path, labels, start, frames, .. } = self.columns;
        let column = |(header, column)| {
            let (classes, ids) = (Classes::default(), Vec::new());
            Labels { header, column, classes, ids, several: None }
        };
        let mut labels: Vec<Labels> = labels.into_iter().map(column).collect();
        let rows = &mut self.rows;
        while rows.next()? {
            for Labels { column, classes, ids, several, .. } in &mut labels {
                let label = rows.field(*column)?;
                if several.is_none() && is_several(label) {
                    *several = Some((rows.line, shown(label.as_bytes())));
                }
                ids.push(if label.is_empty() { NO_LABEL } else { classes.id(label) });
            }
            let part = part(rows.number(start)?, rows.number(frames)?).map_err(|reason| rows.wrong(reason))?;
            items.push(rows.name(path, &base)?, None, part);
        }
        let Some(Chosen { labels, ids, names }) = chosen(rows, labels)? else { return Ok((items, Names::default())) };
        for (index, id) in ids.into_iter().enumerate().filter(|(_, id)| *id != NO_LABEL) {
            items.set_label(index, labels[id as usize]);
        }
        Ok((items, names))
    }
}

/// The column of labels that counts.
struct Chosen {
    /// By id.
    labels: Vec<Option<u32>>,
    /// By row.
    ids: Vec<u32>,
    names: Names,
}

/// Labels beyond this are no indices of classes that could have names.
const MOST_NAMES: usize = 1 << 20;

/// The names that a column gives the numbers of another: one for each number, each for one number, else none.
fn beside(rows: &Rows<'_>, labels: &[Option<u32>], ids: &[u32], names: &Labels) -> Names {
    let texts = names.classes.texts();
    let (mut classes, mut numbers) = (Vec::<String>::new(), vec![None; texts.len()]);
    for (id, name) in ids.iter().zip(&names.ids).filter(|(id, name)| **id != NO_LABEL && **name != NO_LABEL) {
        let (Some(label), text) = (labels[*id as usize], texts[*name as usize]) else { continue };
        if label as usize >= MOST_NAMES {
            return Names::default();
        }
        if classes.len() <= label as usize {
            classes.resize(label as usize + 1, String::new());
        }
        let (class, number) = (&mut classes[label as usize], &mut numbers[*name as usize]);
        if class.is_empty() && number.is_none() {
            (*class, *number) = (text.to_owned(), Some(label));
        } else if class != text {
            let (list, header) = (rows.path.display(), &names.header);
            log::warn!(
                "{list}: the column `{header}` has not one name for each label, and is not taken for names of classes"
            );
            return Names::default();
        }
    }
    Names { numbered: !classes.is_empty(), classes }
}

/// The column of labels that counts: the first of numbers, with names beside it, else the first that has any.
fn chosen(rows: &Rows<'_>, labels: Vec<Labels>) -> Result<Option<Chosen>> {
    let value = |settled: &Settled, id: u32| (id != NO_LABEL).then(|| settled.labels[id as usize]).flatten();
    let mut first: Option<(Settled, Labels)> = None;
    // Columns of names, and what keeps them from being read so.
    let mut others: Vec<(Labels, Option<String>)> = Vec::new();
    for column in labels.into_iter().filter(|column| column.ids.iter().any(|id| *id != NO_LABEL)) {
        match (column.classes.numbers(), &first) {
            (Ok(Some(settled)), None) => first = Some((settled, column)),
            (Ok(Some(settled)), Some((other, before))) => {
                let pairs = before.ids.iter().zip(&column.ids);
                let mut pairs = pairs.map(|(a, b)| (value(other, *a), value(&settled, *b)));
                if let Some((Some(a), Some(b))) = pairs.find(|(a, b)| a.is_some() && b.is_some() && a != b) {
                    let which = format!("columns `{}` and `{}`", before.header, column.header);
                    let reason = format!("{which} have other labels, {a} and {b}: expected one column of labels");
                    return Err(wrong(rows.path, 1, reason));
                }
            }
            (Ok(None), _) => others.push((column, None)),
            (Err(reason), _) => others.push((column, Some(reason))),
        }
    }
    if let Some((Settled { labels, .. }, Labels { ids, .. })) = first {
        let names = others.first().map(|(names, _)| beside(rows, &labels, &ids, names)).unwrap_or_default();
        return Ok(Some(Chosen { labels, ids, names }));
    }
    let Some((column, reason)) = others.into_iter().next() else { return Ok(None) };
    if let Some((line, label)) = column.several {
        let reason = format!("the label `{label}`: several labels of one video are not supported; expected one");
        return Err(wrong(rows.path, line, reason));
    }
    match reason {
        Some(reason) => Err(wrong(rows.path, 1, format!("column `{}`: {reason}", column.header))),
        None => {
            let Settled { labels, names } = column.classes.by_order();
            Ok(Some(Chosen { labels, ids: column.ids, names: Names { classes: names, numbered: false } }))
        }
    }
}
