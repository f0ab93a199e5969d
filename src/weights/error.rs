//! What can go wrong with weights, always with the file and the tensor.

use std::path::{Path, PathBuf};
use std::{fmt, io};

/// Result of this module.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of reading, writing or adopting weights.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was being done: "open", "write", ...
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file is truncated, lies about its sizes, or is of another format.
    #[error("{} is not a usable weight file: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// One tensor of the file cannot be used.
    #[error("{}: tensor {tensor}: expected {expected}, got {got}", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor's name in the file.
        tensor: String,
        /// What would have been right.
        expected: String,
        /// What the file has.
        got: String,
    },
    /// A Hugging Face repository cannot be read.
    #[error("hf:{repository}: {}{reason}", file.as_ref().map_or_else(String::new, |file| format!("{file}: ")))]
    Repository {
        /// Its name, `owner/name`.
        repository: String,
        /// The file in it.
        file: Option<String>,
        /// What is wrong.
        reason: String,
    },
    /// The file's tensors are of no model.
    #[error("{}: no model that mvd knows: no patch_embed.proj.weight among its {tensors} tensors ({some}, ...)", path.display())]
    NoModel {
        /// The file.
        path: PathBuf,
        /// How many tensors it has.
        tensors: usize,
        /// Names of some.
        some: String,
    },
    /// What a model needs and nothing says.
    #[error("{}: {what}", path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
        /// What is not known, or contradicts itself, and the flag that says it.
        what: String,
    },
    /// The file's tensors are not those of the model.
    #[error(transparent)]
    Mismatch(Box<Mismatch>),
    /// A position table that cannot be split over its axes.
    #[error("{table} position table: expected a dimension divisible by {divisor}, got {dim}")]
    Dimension {
        /// Which table.
        table: &'static str,
        /// What the dimension must be a multiple of.
        divisor: usize,
        /// The dimension asked for.
        dim: usize,
    },
}

/// Everything in which a file differs from what a model wants.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Mismatch {
    /// The file.
    pub path: PathBuf,
    /// Tensors the model wants and the file lacks, with the shape wanted.
    pub missing: Vec<(String, Vec<usize>)>,
    /// Tensors of the file that the model has no place for, with their shape.
    pub unexpected: Vec<(String, Vec<usize>)>,
    /// Tensors of another shape: name, expected, got.
    pub misshaped: Vec<(String, Vec<usize>, Vec<usize>)>,
}

impl Mismatch {
    pub(super) fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.misshaped.is_empty()
    }
}

impl std::error::Error for Mismatch {}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} does not fit the model: {} missing, {} unexpected, {} of another shape",
            self.path.display(),
            self.missing.len(),
            self.unexpected.len(),
            self.misshaped.len()
        )?;
        for (name, shape) in &self.missing {
            write!(f, "\n  missing     {name}: expected {shape:?}, got nothing")?;
        }
        for (name, shape) in &self.unexpected {
            write!(f, "\n  unexpected  {name}: expected nothing, got {shape:?}")?;
        }
        for (name, expected, got) in &self.misshaped {
            write!(f, "\n  wrong shape {name}: expected {expected:?}, got {got:?}")?;
        }
        Ok(())
    }
}

/// A file that is of another format, or lies.
pub(super) fn malformed(path: &Path, reason: impl Into<String>) -> Error {
    Error::Malformed { path: path.to_path_buf(), reason: reason.into() }
}

/// Why the system refused to do something with a file.
pub(super) fn io_error<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Error + 'a {
    move |source| Error::Io { doing, path: path.to_path_buf(), source }
}
