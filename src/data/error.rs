//! What can be wrong with data; every text names the file.

use std::fmt;
use std::path::{Path, PathBuf};

/// Result of data calls.
pub type Result<T> = std::result::Result<T, Error>;

/// A data error.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system could not read or write a file.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A path that names no file or folder.
    #[error("--data {}: no such file or folder", path.display())]
    NotFound {
        /// The path.
        path: PathBuf,
    },
    /// A list or folder without a single video.
    #[error("{}: {what}", path.display())]
    Empty {
        /// The list or folder.
        path: PathBuf,
        /// What was looked for.
        what: String,
    },
    /// A line of a list that is of no known form.
    #[error("{}, line {line}: {reason}", path.display())]
    List {
        /// The list.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What was expected, and what it is.
        reason: String,
    },
    /// A line of an index that is none.
    #[error("{}, line {line}: expected an entry as `mvd check-data --index` writes it, got {got}", path.display())]
    Index {
        /// The index.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong with it.
        got: String,
    },
    /// Two videos that would be prepared under one name.
    #[error("{} and {} would both become {}: expected names that differ in more than their ends, and none within another", one.display(), other.display(), target.display())]
    SameTarget {
        /// The name.
        target: PathBuf,
        /// A video.
        one: PathBuf,
        /// Another.
        other: PathBuf,
    },
    /// A folder that another call prepares a set into.
    #[error("{}: another `mvd prepare` writes there; wait for it, or name another folder", path.display())]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// A file that the index knows to be unreadable.
    #[error("{reason} (as the index says)")]
    Known {
        /// The reason, naming the file.
        reason: String,
    },
    /// A video without a label that can be learned.
    #[error("{}: expected a label from 0 to {}, got {}", path.display(), classes - 1, label.map_or("none".to_owned(), |l| l.to_string()))]
    Label {
        /// The video.
        path: PathBuf,
        /// Its label.
        label: Option<u32>,
        /// Classes there are.
        classes: usize,
    },
    /// A set without labels, or with those of one class.
    #[error("{}: expected labelled videos of several classes: {why}", path.display())]
    Unlabelled {
        /// The set.
        path: PathBuf,
        /// Why it has none, and where there may be some.
        why: String,
    },
    /// Numbers of which nothing says how many classes they are of, or too large ones.
    #[error(
        "{}: its labels are {first} to {last}{}: say --classes {} (or more)", path.display(),
        classes.map_or(String::new(), |classes| format!(", there are {classes} classes")), last + 1
    )]
    Uncounted {
        /// The set.
        path: PathBuf,
        /// The smallest label.
        first: u32,
        /// The largest.
        last: u32,
        /// Classes that are said.
        classes: Option<usize>,
    },
    /// Another number of classes than there are names of them.
    #[error("expected {classes} classes, {} has {}: {}", path.display(), names.len(), Listed(names))]
    Classes {
        /// The set, or the file of names.
        path: PathBuf,
        /// The names.
        names: Vec<String>,
        /// Classes expected.
        classes: usize,
    },
    /// A set with names of classes, and a model without.
    #[error(
        "{}: its classes have names ({}), those of {owner} have none, so labels cannot be told; give the names of {owner} \
         with --names FILE, one a line in the order of its indices", path.display(), Listed(names)
    )]
    Nameless {
        /// The set.
        path: PathBuf,
        /// Its names.
        names: Vec<String>,
        /// Whose classes have none.
        owner: String,
    },
    /// A set with names of classes, and a model of which several classes have one name.
    #[error(
        "{}: its labels are names, and `{name}` is the name of several classes of {owner}: {}; give each its own with --names \
         FILE, one a line in the order of the indices", path.display(), Listed(indices)
    )]
    Ambiguous {
        /// The set.
        path: PathBuf,
        /// Whose classes have one name.
        owner: String,
        /// That name.
        name: String,
        /// The classes that have it.
        indices: Vec<String>,
    },
    /// Names of classes that are none of those that are known.
    #[error(
        "{}: its classes are not those of {owner}; {differences}; rename the set's classes, or leave the videos of the others \
         out", path.display()
    )]
    OtherClasses {
        /// The set.
        path: PathBuf,
        /// Whose classes are known.
        owner: String,
        /// Names that are in the one and not in the other.
        differences: String,
    },
    /// A file that is no video that can be read here.
    #[error("{}: {reason}", path.display())]
    Video {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A part of a video that the video has not.
    #[error("{}: has {frames} frames, the list takes them from frame {start}", path.display())]
    Part {
        /// The file.
        path: PathBuf,
        /// Frames it has.
        frames: usize,
        /// First frame of the part.
        start: u32,
    },
    /// A file that only another program can read, which is not there, does not start or does not answer.
    #[error("{}: {reason}", path.display())]
    Program {
        /// The file.
        path: PathBuf,
        /// Why the program is wanted, and what it lacks.
        reason: String,
    },
    /// A sound file of a kind that the built-in decoder does not read.
    #[error("{}: {reason}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What it is.
        reason: String,
    },
    /// A mask that masks nothing or everything.
    #[error("mask ratio {ratio} masks {masked} of {all} tokens; at least one must be masked and one visible")]
    Mask {
        /// The ratio asked for.
        ratio: f64,
        /// Tokens it masks.
        masked: usize,
        /// Tokens there are.
        all: usize,
    },
    /// A synthetic set that cannot be drawn.
    #[error(
        "synthetic clips of {frames} frames of {size}x{size} pixels: expected an even size, 16 to 4096, and a frame"
    )]
    Synth {
        /// Height and width asked for.
        size: usize,
        /// Frames asked for.
        frames: usize,
    },
    /// More files were unreadable than allowed.
    #[error("{bad} of {all} files could not be read, over the allowed share of {allowed}; the last: {last}")]
    TooManyBad {
        /// Unreadable files met so far.
        bad: usize,
        /// Files of the set.
        all: usize,
        /// Share allowed.
        allowed: f64,
        /// The last one's error.
        last: String,
    },
}

/// Names that a message lists before it only counts.
const SHOWN: usize = 20;

/// A list of names for people, cut short.
pub(super) struct Listed<'a>(pub &'a [String]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Listed(names) = self;
        match names.len() {
            0 => write!(f, "none"),
            all if all <= SHOWN => write!(f, "{}", names.join(", ")),
            all => write!(f, "{}, and {} more", names[..SHOWN].join(", "), all - SHOWN),
        }
    }
}

impl Error {
    /// Whether the file's content is at fault, which stays so until the file changes: not the system, a program that is
    /// missing, or what a list says of the file.
    pub(crate) fn is_of_content(&self) -> bool {
        matches!(self, Error::Video { .. } | Error::Unsupported { .. })
    }

    /// What is wrong, without the file's name where that comes first.
    pub(crate) fn reason(&self) -> String {
        match self {
            Error::Video { reason, .. } | Error::Unsupported { reason, .. } | Error::Program { reason, .. } => {
                reason.clone()
            }
            other => other.to_string(),
        }
    }

    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        Error::Io { path: path.to_owned(), source }
    }

    pub(crate) fn video(path: &Path, reason: impl Into<String>) -> Self {
        Error::Video { path: path.to_owned(), reason: reason.into() }
    }
}
