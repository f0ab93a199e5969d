//! Which of several kernels an operation takes: the first that can, or the fastest where that was measured.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::recorder::Recorder;

/// The kernels that were found to be fastest, by question.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Choices {
    kernels: BTreeMap<String, String>,
    everywhere: Vec<String>,
}

impl Choices {
    /// These kernels wherever they are candidates.
    pub fn everywhere<'a>(kernels: impl IntoIterator<Item = &'a str>) -> Self {
        Choices { everywhere: kernels.into_iter().map(str::to_owned).collect(), ..Self::default() }
    }

    pub(super) fn insert(&mut self, question: String, kernel: String) {
        self.kernels.insert(question, kernel);
    }

    pub(super) fn knows(&self, question: &str) -> bool {
        self.kernels.contains_key(question)
    }

    /// Which candidate was chosen, else the first.
    fn of(&self, question: &str, candidates: &[&str]) -> usize {
        let mut chosen = self.everywhere.iter().chain(self.kernels.get(question));
        chosen.find_map(|chosen| candidates.iter().position(|candidate| candidate == chosen)).unwrap_or(0)
    }
}

/// An operation at one size for which there are several kernels.
#[derive(Clone)]
pub(super) struct Question {
    pub candidates: Vec<&'static str>,
    /// Records the operation alone, of inputs.
    pub alone: Arc<dyn Fn(&mut Recorder)>,
}

impl Recorder {
    /// Which of `candidates`, preferred first, to take for an operation that `question` names with its sizes.
    pub fn choice(&self, question: &str, candidates: &[&'static str]) -> usize {
        self.caps().choices.of(question, candidates)
    }

    /// The same; notes how to time the operation alone, for the adapter to be tuned to it.
    pub fn choose(
        &mut self,
        question: String,
        candidates: &[&'static str],
        alone: impl Fn(&mut Recorder) + 'static,
    ) -> usize {
        let chosen = self.choice(&question, candidates);
        if candidates.len() > 1 {
            let noted = Question { candidates: candidates.to_vec(), alone: Arc::new(alone) };
            self.questions.entry(question).or_insert(noted);
        }
        chosen
    }
}
