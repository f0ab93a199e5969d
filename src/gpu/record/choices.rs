//! Which of several kernels an operation takes: the first that can, or the fastest where that was measured.

use std::collections::{BTreeMap, BTreeSet};

/// The kernels that were found to be fastest, by question.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Choices {
    kernels: BTreeMap<String, String>,
    everywhere: Vec<String>,
    refused: BTreeSet<String>,
}

impl Choices {
    /// These kernels wherever they are candidates.
    pub fn everywhere<'a>(kernels: impl IntoIterator<Item = &'a str>) -> Self {
        Choices { everywhere: kernels.into_iter().map(str::to_owned).collect(), ..Self::default() }
    }

    /// The choices as text, for another process with the same adapter.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What `to_text` gave; none if it is nothing of the kind.
    pub fn of_text(text: &str) -> Option<Choices> {
        serde_json::from_str(text).ok()
    }

    pub(in crate::gpu) fn insert(&mut self, question: String, kernel: String) {
        self.kernels.insert(question, kernel);
    }

    /// Leaves a kernel out, whatever else was chosen.
    pub(in crate::gpu) fn refuse(&mut self, kernel: String) {
        self.refused.insert(kernel);
    }

    pub(in crate::gpu) fn knows(&self, question: &str) -> bool {
        self.kernels.contains_key(question)
    }

    /// Which candidate was chosen, else the first that is not refused; the first if all are.
    pub(super) fn of(&self, question: &str, candidates: &[&str]) -> usize {
        let mut chosen =
            self.everywhere.iter().chain(self.kernels.get(question).filter(|k| !self.refused.contains(*k)));
        let chosen = chosen.find_map(|chosen| candidates.iter().position(|candidate| candidate == chosen));
        let first = || candidates.iter().position(|candidate| !self.refused.contains(*candidate));
        chosen.or_else(first).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_kernels_are_passed_over() {
        let mut choices = Choices::default();
        choices.insert("q".to_owned(), "b".to_owned());
        assert_eq!(choices.of("q", &["a", "b", "c"]), 1);
        choices.refuse("b".to_owned());
        assert_eq!(choices.of("q", &["a", "b", "c"]), 0);
        choices.refuse("a".to_owned());
        assert_eq!(choices.of("q", &["a", "b", "c"]), 2);
        assert_eq!(choices.of("another", &["b", "a"]), 0, "all are refused");
    }
}
