//! A fact of a model, with where it is from.

/// A fact, and who says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known<T> {
    /// The fact.
    pub value: T,
    /// Where it is from, for people: a flag, a file, the tensors, or that it is as published.
    pub from: String,
}

impl<T> Known<T> {
    pub(super) fn new(value: T, from: impl Into<String>) -> Self {
        Known { value, from: from.into() }
    }
}
