//! Labels that may be numbers or names.

use std::collections::BTreeMap;

use super::super::items::Items;
use super::{label, number};

/// Labels in the order in which they came: numbers count as they are, names by their order.
#[derive(Default)]
pub(in crate::data) struct Classes(BTreeMap<String, u32>);

/// What stands for a label that is missing, where the others are numbers.
const NONE: [&str; 7] = ["nan", "none", "null", "na", "n/a", "<na>", "-"];

/// Names of a set's classes.
#[derive(Default)]
pub(in crate::data) struct Names {
    /// By label; an empty one is not known.
    pub classes: Vec<String>,
    /// Whether labels are numbers of the list, and names stand beside them.
    pub numbered: bool,
}

/// What labels turned out to be.
pub(super) struct Settled {
    /// By what `Classes::id` gave.
    pub labels: Vec<Option<u32>>,
    /// Names by label, unless they are numbers.
    pub names: Vec<String>,
}

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

    /// The names by what `id` gave.
    pub(super) fn texts(&self) -> Vec<&str> {
        let mut texts = vec![""; self.0.len()];
        self.0.iter().for_each(|(name, id)| texts[*id as usize] = name);
        texts
    }

    /// Gives videos their labels by the names of folders; these names, unless they are whole numbers.
    pub fn settle(self, items: &mut Items) -> Vec<String> {
        let numbers: Option<Vec<i64>> = self.0.keys().map(|name| name.parse().ok()).collect();
        let settled = match numbers.map(|numbers| numbers.into_iter().map(label).collect()) {
            Some(Ok(labels)) => Settled { labels: self.by_id(labels), names: Vec::new() },
            _ => self.by_order(),
        };
        items.relabel(|id| settled.labels[id as usize]);
        settled.names
    }

    /// The numbers of a list's labels if they are numbers.
    ///
    /// # Errors
    /// Some are numbers and some are not, or one is too large.
    pub(super) fn numbers(&self) -> Result<Option<Settled>, String> {
        let mut labels = Vec::with_capacity(self.0.len());
        let (mut some, mut name) = (None, None);
        for text in self.0.keys() {
            match number(text.as_bytes()) {
                Some(number) => {
                    some.get_or_insert(text);
                    labels.push(label(number)?);
                }
                None => {
                    name = name.or_else(|| Some(text).filter(|text| !NONE.contains(&text.to_lowercase().as_str())));
                    labels.push(None);
                }
            }
        }
        match (some, name) {
            (Some(number), Some(name)) => {
                Err(format!("labels are numbers and names, `{number}` and `{name}`: expected all of one kind"))
            }
            (None, Some(_)) => Ok(None),
            // All that can be read as missing is missing only beside numbers.
            (None, None) if !self.0.is_empty() => Ok(None),
            _ => Ok(Some(Settled { labels: self.by_id(labels), names: Vec::new() })),
        }
    }

    /// Labels by the order of names.
    pub(super) fn by_order(self) -> Settled {
        let labels = self.by_id((0..self.0.len() as u32).map(Some).collect());
        Settled { labels, names: self.0.into_keys().collect() }
    }

    /// From the order of names to that of `id`.
    fn by_id(&self, labels: Vec<Option<u32>>) -> Vec<Option<u32>> {
        let mut by_id = vec![None; self.0.len()];
        self.0.values().zip(labels).for_each(|(id, label)| by_id[*id as usize] = label);
        by_id
    }
}

/// Whether a label is several numbers: `1 2 3`, `1;2`, `[1, 2]`.
pub(super) fn is_several(text: &str) -> bool {
    let inner = text.trim_matches(['[', ']', '(', ')', '{', '}']);
    let parts: Vec<&str> = inner.split([' ', ',', ';', '|']).filter(|part| !part.is_empty()).collect();
    parts.len() > 1 && parts.iter().all(|part| number(part.as_bytes()).is_some())
}
