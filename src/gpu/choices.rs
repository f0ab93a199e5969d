//! Which of several kernels an operation takes: the first that can, or the fastest where that was measured.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::recorder::Recorder;

/// The kernels that were found to be fastest, by question.
#[derive(Debug, Clone, Default, PartialEq)]
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

    pub(super) fn insert(&mut self, question: String, kernel: String) {
        self.kernels.insert(question, kernel);
    }

    /// Leaves a kernel out, whatever else was chosen.
    pub(super) fn refuse(&mut self, kernel: String) {
        self.refused.insert(kernel);
    }

    pub(super) fn knows(&self, question: &str) -> bool {
        self.kernels.contains_key(question)
    }

    /// Which candidate was chosen, else the first that is not refused; the first if all are.
    fn of(&self, question: &str, candidates: &[&str]) -> usize {
        let mut chosen =
            self.everywhere.iter().chain(self.kernels.get(question).filter(|k| !self.refused.contains(*k)));
        let chosen = chosen.find_map(|chosen| candidates.iter().position(|candidate| candidate == chosen));
        let first = || candidates.iter().position(|candidate| !self.refused.contains(*candidate));
        chosen.or_else(first).unwrap_or(0)
    }
}

/// Records an operation, of inputs.
pub type Record = Arc<dyn Fn(&mut Recorder)>;

/// How to try the kernels of an operation.
#[derive(Clone)]
pub struct Trial {
    /// The operation at its own size, to be timed.
    pub alone: Record,
    /// What is checked by `small`: kernels that passed once are not checked again.
    pub kind: String,
    /// The same kind of operation at sizes that take few steps on the CPU and divide no tile, to be checked.
    pub small: Record,
}

/// An operation at one size for which there are several kernels.
#[derive(Clone)]
pub(super) struct Question {
    pub candidates: Vec<&'static str>,
    pub trial: Trial,
}

impl Recorder {
    /// Which of `candidates`, preferred first, to take for an operation that `question` names with its sizes.
    pub fn choice(&self, question: &str, candidates: &[&'static str]) -> usize {
        self.caps().choices.of(question, candidates)
    }

    /// The same; notes how to try the kernels, for the adapter to be tuned to the operation.
    pub fn choose(&mut self, question: String, candidates: &[&'static str], trial: Trial) -> usize {
        let chosen = self.choice(&question, candidates);
        if candidates.len() > 1 {
            self.questions.entry(question).or_insert(Question { candidates: candidates.to_vec(), trial });
        }
        chosen
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
