//! Which form a list without a header is of, where its numbers do not tell: the lengths of its files do.

use std::path::Path;

use super::super::error::Result;
use super::super::items::Items;
use super::super::video;
use super::{part, shown, wrong};

/// Files that are opened to find out.
const SAMPLED: usize = 16;

/// The numbers of a line that could mean several things.
#[derive(Debug, Clone, Copy)]
struct Numbers<const N: usize> {
    index: usize,
    line: usize,
    numbers: [i64; N],
}

/// Lines whose form is to be settled.
#[derive(Default)]
pub(super) struct Forms {
    /// `path frames label`, or `path start frames`.
    pairs: Vec<Numbers<2>>,
    /// `path start frames label` with rising numbers, as several labels often are: the first such lines.
    rising: Vec<Numbers<3>>,
}

/// What two numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    FramesLabel,
    /// First frame, counted from 0 or 1, and frames.
    StartFrames {
        from: i64,
    },
}

const FORMS: [Form; 3] = [Form::FramesLabel, Form::StartFrames { from: 0 }, Form::StartFrames { from: 1 }];

impl Form {
    /// Whether numbers of this form can be those of a file of `len` frames.
    fn fits(self, [a, b]: [i64; 2], len: i64) -> bool {
        match self {
            Form::FramesLabel => a < 0 || (1..=len).contains(&a),
            Form::StartFrames { from } if b < 0 => (from..from + len).contains(&a),
            Form::StartFrames { from } => a >= from && b >= 1 && a - from + b <= len,
        }
    }

    /// Whether they are all of such a file.
    fn is_whole(self, [a, b]: [i64; 2], len: i64) -> bool {
        self.fits([a, b], len)
            && match self {
                Form::FramesLabel => a == len,
                Form::StartFrames { from } => b < 0 || a - from + b == len,
            }
    }
}

/// Refuses several labels, by name.
pub(super) fn several(numbers: &[u8]) -> String {
    format!(
        "several labels a line (`{}`) are not supported; expected `path label`, or for parts of videos a CSV with the \
         columns path,start_frame,num_frames,label",
        shown(numbers.trim_ascii_start())
    )
}

/// Frames of the file of an item, if it can be opened.
fn frames(items: &Items, index: usize) -> Option<i64> {
    video::open(&items.at(index).path).ok().map(|video| video.len() as i64)
}

impl Forms {
    pub fn note(&mut self, index: usize, line: usize, numbers: &[i64]) {
        match *numbers {
            [a, b] => self.pairs.push(Numbers { index, line, numbers: [a, b] }),
            [a, b, c] if 0 <= a && a < b && b < c && self.rising.len() < SAMPLED => {
                self.rising.push(Numbers { index, line, numbers: [a, b, c] });
            }
            _ => {}
        }
    }

    /// Gives the items the parts and labels that the form of the whole list has.
    ///
    /// # Errors
    /// No form fits, or several do; or lines may be of several labels.
    pub fn settle(self, path: &Path, items: &mut Items) -> Result<()> {
        for Numbers { index, line, numbers } in &self.rising {
            let [start, frames_said, _] = *numbers;
            // A part that ends with its file is one.
            if frames(items, *index) != Some(start + frames_said) {
                let text = numbers.map(|number| number.to_string()).join(" ");
                let reason = format!(
                    "`{text}` may be several labels of one video, which are not supported, or a part of it (start, \
                     frames, label), and no file tells which. For parts, write a CSV with the columns \
                     path,start_frame,num_frames,label; for labels, keep one a line"
                );
                return Err(wrong(path, *line, reason));
            }
        }
        let Form::StartFrames { from } = self.form(path, items)? else { return Ok(()) };
        for Numbers { index, line, numbers: [start, frames] } in self.pairs {
            let part = if start < from {
                Err(format!("expected a start of at least {from}, as other lines of the list count, got {start}"))
            } else {
                part(start - from, frames)
            };
            items.set(index, None, part.map_err(|reason| wrong(path, line, reason))?);
        }
        Ok(())
    }

    /// The form that all lines of two numbers have.
    fn form(&self, path: &Path, items: &Items) -> Result<Form> {
        // No file has 0 frames, and no part starts before 0.
        let find = |test: fn(i64) -> bool| self.pairs.iter().find(|pair| test(pair.numbers[0]));
        let possible: Vec<Form> = match (find(|a| a == 0), find(|a| a < 0)) {
            (Some(zero), Some(_)) => {
                return Err(wrong(path, zero.line, unclear("no form of a list fits all of its lines")));
            }
            (Some(_), None) => vec![Form::StartFrames { from: 0 }],
            (None, Some(_)) => vec![Form::FramesLabel],
            (None, None) => FORMS.to_vec(),
        };
        let step = self.pairs.len().div_ceil(SAMPLED).max(1);
        let sampled = self.pairs.iter().step_by(step);
        let seen: Vec<(&Numbers<2>, i64)> =
            sampled.filter_map(|pair| Some((pair, frames(items, pair.index)?))).collect();
        let Some(first) = seen.first() else { return Ok(possible[0]) };
        let count =
            |test: &dyn Fn([i64; 2], i64) -> bool| seen.iter().filter(|(pair, len)| test(pair.numbers, *len)).count();
        // Most of the files are just as long as it says; or it fits all of them, and no other does.
        if let Some(form) =
            possible.iter().find(|form| 2 * count(&|numbers, len| form.is_whole(numbers, len)) > seen.len())
        {
            return Ok(*form);
        }
        let fitting: Vec<Form> = possible
            .iter()
            .copied()
            .filter(|form| count(&|numbers, len| form.fits(numbers, len)) == seen.len())
            .collect();
        match fitting[..] {
            [form] => Ok(form),
            // Counted from 1 is for what does not fit from 0.
            [form @ Form::StartFrames { .. }, Form::StartFrames { .. }] => Ok(form),
            [] => {
                let unfit =
                    |(pair, len): &&(&Numbers<2>, i64)| !possible.iter().any(|form| form.fits(pair.numbers, *len));
                let (Numbers { line, numbers: [a, b], .. }, len) = seen.iter().find(unfit).unwrap_or(first);
                Err(wrong(path, *line, unclear(&format!("`{a} {b}` is of no form that fits a file of {len} frames"))))
            }
            _ => {
                let Numbers { line, numbers: [a, b], .. } = first.0;
                Err(wrong(
                    path,
                    *line,
                    unclear(&format!("`{a} {b}` may be `frames label`, `start frames` or several labels")),
                ))
            }
        }
    }
}

fn unclear(what: &str) -> String {
    format!(
        "{what}; expected `path frames label` with the frames of the whole file, `path start frames` with frames that it \
         has, or a CSV with the columns path,start_frame,num_frames,label (several labels are not supported)"
    )
}
