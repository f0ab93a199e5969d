//! Lists without a header: a path and numbers a line.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use super::super::error::Result;
use super::super::items::{Items, Part};
use super::forms::{Forms, several};
use super::text::Lines;
use super::{Base, label, name_of, number, part, shown, wrong};
use crate::data::video::is_video;

const SEPARATORS: [u8; 4] = *b" \t,;";

fn is_separator(byte: u8) -> bool {
    SEPARATORS.contains(&byte)
}

pub(super) fn read(path: &Path, base: PathBuf) -> Result<Items> {
    let (mut items, base) = (Items::new(base.clone()), Base(base));
    let (mut lines, mut forms) = (Lines::open(path)?, Forms::default());
    while let Some((number, line)) = lines.next()? {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let entry = Line::parse(line, &base).and_then(Line::item);
        // A comment, unless there is a file of that name.
        let is_comment = || !entry.as_ref().is_ok_and(|(line, ..)| base.has(&line.name));
        if line.starts_with(b"#") && is_comment() {
            continue;
        }
        let (Line { name, numbers }, label, part) = entry.map_err(|reason| wrong(path, number, reason))?;
        let name = name_of(&name).map_err(|reason| wrong(path, number, reason))?;
        forms.note(items.len(), number, &numbers);
        items.push(name, label, part);
    }
    forms.settle(path, &mut items)?;
    Ok(items)
}

/// A line's name and the numbers behind it.
#[derive(Debug, PartialEq, Eq)]
struct Line<'a> {
    name: Cow<'a, [u8]>,
    numbers: Vec<i64>,
}

type Parsed<T> = std::result::Result<T, String>;

/// A name in quotes at the line's start, with its quotes doubled, and what is behind.
fn quoted(line: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let inner = line.strip_prefix(b"\"")?;
    let mut at = 0;
    while at < inner.len() {
        match &inner[at..] {
            [b'"', b'"', ..] => at += 2,
            [b'"', rest @ ..] if rest.first().is_none_or(|byte| is_separator(*byte)) => {
                let mut name = Vec::with_capacity(at);
                let mut bytes = inner[..at].iter();
                while let Some(byte) = bytes.next() {
                    name.push(*byte);
                    if *byte == b'"' {
                        bytes.next();
                    }
                }
                return Some((Cow::Owned(name), rest));
            }
            [b'"', ..] => return None,
            _ => at += 1,
        }
    }
    None
}

/// A number that may be in quotes.
fn field(text: &[u8]) -> Option<i64> {
    number(text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")).unwrap_or(text))
}

/// A number at the end of a line, what is before it, and what parts them: of several separators the one that is no space.
fn last(line: &[u8]) -> Option<(&[u8], i64, u8)> {
    let at = line.iter().rposition(|byte| is_separator(*byte))?;
    let number = field(&line[at + 1..])?;
    let end = line[..at].iter().rposition(|byte| !is_separator(*byte))? + 1;
    let gap = line[end..=at].iter().find(|byte| **byte != b' ').copied().unwrap_or(b' ');
    Some((&line[..end], number, gap))
}

fn has_ending(name: &[u8]) -> bool {
    name_of(name).is_ok_and(is_video)
}

impl<'a> Line<'a> {
    fn parse(line: &'a [u8], base: &Base) -> Parsed<Line<'a>> {
        if let Some((name, rest)) = quoted(line) {
            let fields = rest.split(|byte| is_separator(*byte)).filter(|text| !text.is_empty());
            let numbers: Option<Vec<i64>> = fields.map(field).collect();
            return numbers.map(|numbers| Line { name, numbers }).ok_or_else(|| unknown(line));
        }
        // Numbers at the end, as long as one separator parts them: names of 0, 1, ... of them less.
        let (mut names, mut numbers, mut gap) = (vec![line], Vec::new(), None);
        while let Some((rest, number, own)) =
            last(names[names.len() - 1]).filter(|last| gap.is_none_or(|gap| gap == last.2))
        {
            gap = Some(own);
            names.push(rest);
            numbers.push(number);
        }
        let most = numbers.len();
        // Names may hold spaces and end in numbers: what is there tells, for names without the ending of a video.
        let mut taken = most;
        if gap.is_none_or(|gap| gap == b' ') && !has_ending(names[most]) && !base.has(names[most]) {
            taken = (0..most).rev().find(|taken| base.has(names[*taken])).unwrap_or(most);
        }
        let name = names[taken];
        if most == 0 && name.iter().any(|byte| is_separator(*byte)) && !has_ending(name) && !base.has(name) {
            return Err(unknown(line));
        }
        // `a.mp4 1,2`
        if let Some((rest, ..)) = last(name).filter(|_| taken == most && most > 0 && !has_ending(name))
            && (has_ending(rest) || base.has(rest))
            && !base.has(name)
        {
            return Err(several(&line[rest.len()..]));
        }
        if taken > 3 {
            return Err(several(&line[name.len()..]));
        }
        numbers.truncate(taken);
        numbers.reverse();
        Ok(Line { name: Cow::Borrowed(name), numbers })
    }

    /// The line, its label and part, in the forms that count where numbers may mean several things.
    fn item(self) -> Parsed<(Line<'a>, Option<u32>, Part)> {
        let (class, part) = match self.numbers[..] {
            [] => (-1, Part::WHOLE),
            [class] => (class, Part::WHOLE),
            // Frames of 0 show another form, which is settled when all lines are read.
            [0, _] => (-1, Part::WHOLE),
            [frames, class] => (class, part(0, frames)?),
            [start, frames, class] => (class, part(start, frames)?),
            _ => return Err(several(&[])),
        };
        Ok((self, label(class)?, part))
    }
}

fn unknown(line: &[u8]) -> String {
    let forms = "`path label`, `path frames label`, `path start frames label` or a CSV with a header";
    format!("expected {forms}, got `{}`", shown(line))
}
