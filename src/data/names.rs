//! Names of classes: read from a file, and matched where two sets of labels meet.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::dataset::Dataset;
use super::error::{Error, Listed, Result};

/// Names of classes, one a line, in the order of their indices: without a byte order mark and without empty lines at the end.
/// An empty line in between is a class without a name.
///
/// # Errors
/// The file cannot be read, or names a class twice.
pub fn read_names(path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
    let names = names_of(&text);
    let mut lines = HashMap::new();
    for (line, name) in names.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
        if let Some(before) = lines.insert(name, line) {
            let reason =
                format!("`{name}` is the name of line {} already; expected another for each class", before + 1);
            return Err(Error::List { path: path.to_owned(), line: line + 1, reason });
        }
    }
    Ok(names)
}

fn names_of(text: &str) -> Vec<String> {
    let text = text.trim_start_matches('\u{feff}').trim_end();
    text.lines().map(|line| line.trim().to_owned()).collect()
}

/// The classes that a set's labels are matched with.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// How many there are.
    pub classes: usize,
    /// Their names by index: all of them, or none; an empty one is not known.
    pub names: &'a [String],
    /// Whose they are, for messages: a file or a run.
    pub owner: &'a str,
}

impl Dataset {
    /// Gives the set's labels the indices of the classes that are known: by name where both sides have names, otherwise the
    /// numbers of the list count as indices. Says in a line what was done where there was a choice. `path` is the set's, for
    /// messages. Afterwards the set's classes are those that are known.
    ///
    /// # Errors
    /// Names that cannot be matched, with what differs; a label outside of the classes, or none.
    pub fn match_classes(&mut self, path: &Path, known: &Known<'_>) -> Result<Option<String>> {
        let note = match (known.names.is_empty(), self.classes.is_empty()) {
            (true, true) => None,
            (true, false) if self.numbered => None,
            (true, false) => {
                let (path, owner) = (path.to_owned(), known.owner.to_owned());
                return Err(Error::Nameless { path, names: self.classes.clone(), owner });
            }
            (false, true) => {
                let some = known.names.iter().take(3).enumerate().map(|(i, name)| format!("{i} is {name}"));
                let some = some.collect::<Vec<_>>().join(", ");
                let (path, owner) = (path.display(), known.owner);
                Some(format!("{path}: its labels are numbers, taken as indices of the classes of {owner}: {some}, ..."))
            }
            (false, false) => self.by_name(path, known)?,
        };
        self.expect_labels(path, known.classes)?;
        if !known.names.is_empty() {
            self.classes = known.names.to_vec();
        }
        Ok(note)
    }

    /// Relabels by name.
    fn by_name(&mut self, path: &Path, known: &Known<'_>) -> Result<Option<String>> {
        let classes_of = |name: &String| -> Vec<String> {
            let having = known.names.iter().enumerate().filter(|(_, other)| *other == name);
            having.map(|(class, _)| class.to_string()).collect()
        };
        let twice = known.names.iter().find(|name| !name.is_empty() && classes_of(name).len() > 1);
        if let Some(name) = twice {
            let indices = classes_of(name);
            let (path, owner) = (path.to_owned(), known.owner.to_owned());
            return Err(Error::Ambiguous { path, owner, name: name.clone(), indices });
        }
        let Matched { of, folded, foreign, ambiguous } = matched(&self.classes, self.numbered, known.names);
        if !foreign.is_empty() {
            let own = known.names.iter().filter(|name| !name.is_empty() && !self.classes.contains(name));
            let own: Vec<String> = own.cloned().collect();
            let (owner, only_set, only_own) = (known.owner.to_owned(), Listed(&foreign), Listed(&own));
            let mut differences = format!("only in the set: {only_set}; only in {owner}: {only_own}");
            if !ambiguous.is_empty() {
                differences += "; more than one differs by capital letters alone from: ";
                differences += &Listed(&ambiguous).to_string();
            }
            return Err(Error::OtherClasses { path: path.to_owned(), owner, differences });
        }
        let same_order = of.iter().enumerate().all(|(label, to)| to.is_none_or(|to| to as usize == label));
        let found = of.iter().flatten().count();
        if same_order && folded.is_empty() && self.classes.len() == known.names.len() {
            return Ok(None);
        }
        self.items.relabel(|label| of[label as usize]);
        let mut note = format!("{}: classes matched by name with those of {}", path.display(), known.owner);
        note += &format!(", {found} of {}", known.classes);
        if !of.iter().flatten().is_sorted() {
            note += ", which have another order";
        }
        if !folded.is_empty() {
            note += &format!("; but for capital letters: {}", Listed(&folded));
        }
        Ok(Some(note))
    }
}

/// How names of a set are those that are known.
#[derive(Debug, PartialEq, Eq)]
struct Matched {
    /// By the set's label, the index.
    of: Vec<Option<u32>>,
    /// `set = known` where only capital letters differ.
    folded: Vec<String>,
    /// Names of the set that are none of the known ones.
    foreign: Vec<String>,
    /// Those of them that would be several, or one that others are too, but for capital letters.
    ambiguous: Vec<String>,
}

/// Matches exactly, then without regard to capital letters where that is clear. In a `numbered` set a class whose name the
/// other side does not know keeps its number.
fn matched(set: &[String], numbered: bool, known: &[String]) -> Matched {
    let index = |names: &[String]| -> HashMap<String, usize> {
        names.iter().enumerate().rev().map(|(i, name)| (name.clone(), i)).collect()
    };
    let exact = index(known);
    let mut by_lower: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (i, name) in known.iter().enumerate() {
        by_lower.entry(name.to_lowercase()).or_default().push(i);
    }
    let mut lower_of_set: HashMap<String, usize> = HashMap::new();
    set.iter().for_each(|name| *lower_of_set.entry(name.to_lowercase()).or_default() += 1);
    let mut result = Matched { of: vec![None; set.len()], folded: vec![], foreign: vec![], ambiguous: vec![] };
    for (label, name) in set.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
        let lower = name.to_lowercase();
        let alike = by_lower.get(&lower).map_or(&[][..], Vec::as_slice);
        let to = match (exact.get(name), alike) {
            (Some(same), _) => Some(*same),
            (None, [one]) if lower_of_set[&lower] == 1 => {
                result.folded.push(format!("{name} = {}", known[*one]));
                Some(*one)
            }
            (None, []) if numbered && known.get(label).is_some_and(String::is_empty) => Some(label),
            (None, alike) => {
                if !alike.is_empty() {
                    result.ambiguous.push(name.clone());
                }
                result.foreign.push(name.clone());
                None
            }
        };
        result.of[label] = to.map(|to| to as u32);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Index, Item, Items, Passed, Source};

    fn names(of: &[&str]) -> Vec<String> {
        of.iter().map(|name| (*name).to_owned()).collect()
    }

    fn set(classes: &[&str], numbered: bool, labels: &[u32]) -> Dataset {
        let item = |label: &u32| Item { label: Some(*label), ..Item::of("x.mp4") };
        let items: Items = labels.iter().map(item).collect();
        let (passed, index) = (Passed::default(), Index::default());
        Dataset { source: Source::List, items, classes: names(classes), numbered, passed, index }
    }

    /// The labels afterwards, and what is said; or the error.
    fn matching(set: Dataset, known: &[&str]) -> std::result::Result<(Vec<u32>, String), String> {
        let mut set = set;
        let known = Known { classes: 3, names: &names(known), owner: "the run" };
        let note = set.match_classes(Path::new("val"), &known).map_err(|e| e.to_string())?;
        Ok((set.items.iter().map(|item| item.label.unwrap()).collect(), note.unwrap_or_default()))
    }

    #[test]
    fn names_come_from_files_of_all_editors() {
        for text in ["wave\na b\n", "wave\na b", "\u{feff}wave\r\na b\r\n\r\n", "wave\na b\n\n \n"] {
            assert_eq!(names_of(text), ["wave", "a b"], "{text:?}");
        }
        // An empty name in between keeps its place.
        assert_eq!(names_of("a\n\nb\n"), ["a", "", "b"]);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("names.txt");
        std::fs::write(&file, "a\nb\na\n").unwrap();
        let text = read_names(&file).unwrap_err().to_string();
        assert!(text.contains("names.txt, line 3: `a` is the name of line 1 already"), "{text}");
    }

    #[test]
    fn labels_follow_names_and_what_is_done_is_said() {
        let all = ["a", "b", "c"];
        assert_eq!(matching(set(&all, false, &[0, 2, 1]), &all), Ok((vec![0, 2, 1], String::new())));
        let (labels, note) = matching(set(&["a", "c"], false, &[0, 1, 1]), &all).unwrap();
        assert_eq!(labels, [0, 2, 2]);
        assert!(note.contains("val: classes matched by name with those of the run, 2 of 3"), "{note}");
        assert!(!note.contains("order"), "{note}");
        let (labels, note) = matching(set(&["b", "A", "c"], false, &[0, 1, 2]), &all).unwrap();
        assert_eq!(labels, [1, 0, 2]);
        assert!(note.contains("another order; but for capital letters: A = a"), "{note}");
        // Numbers alone are indices, and that is said.
        let (labels, note) = matching(set(&[], false, &[2, 0]), &all).unwrap();
        assert_eq!(labels, [2, 0]);
        assert!(note.contains("taken as indices of the classes of the run: 0 is a, 1 is b"), "{note}");
        // Numbers with names beside them count by name, and by number where the run's name is not known.
        let (labels, _) = matching(set(&["b", "x"], true, &[0, 1]), &["a", "", "b"]).unwrap();
        assert_eq!(labels, [2, 1]);
        assert_eq!(matching(set(&["x", "y"], true, &[1, 0]), &[]), Ok((vec![1, 0], String::new())));
    }

    #[test]
    fn what_cannot_be_matched_is_refused_with_both_lists() {
        let all = ["a", "b", "c"];
        let text = matching(set(&["a", "d"], false, &[0, 1]), &all).unwrap_err();
        assert!(text.contains("only in the set: d") && text.contains("only in the run: b, c"), "{text}");
        // Two that differ by capital letters alone are not guessed at, on either side.
        for (own, known) in [(["WAVE", "clap"], ["wave", "Wave", "clap"]), (["Wave", "WAVE"], ["wave", "x", "clap"])] {
            let text = matching(set(&own, false, &[0, 1]), &known).unwrap_err();
            assert!(text.contains("capital letters") && text.contains("WAVE"), "{text}");
        }
        // Nor at one name of two classes; numbers need no name.
        let text = matching(set(&["a", "b"], false, &[0, 1]), &["a", "b", "a"]).unwrap_err();
        assert!(text.contains("`a` is the name of several classes of the run: 0, 2; give each its own"), "{text}");
        assert_eq!(matching(set(&[], false, &[2]), &["a", "b", "a"]).unwrap().0, [2]);
        let text = matching(set(&["a", "b"], false, &[0, 1]), &[]).unwrap_err();
        assert!(text.contains("val") && text.contains("a, b") && text.contains("--names"), "{text}");
        let text = matching(set(&[], false, &[3]), &all).unwrap_err();
        assert!(text.contains("expected a label from 0 to 2, got 3"), "{text}");
    }
}
