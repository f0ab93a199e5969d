//! The model that a command takes: a run, a weight file, a folder of Hugging Face's, or `hf:owner/name`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::Failure;
use crate::config::EncoderKind;
use crate::data::read_names;
use crate::eval::Views;
use crate::model::opened::{Given, Known, Opened};
use crate::train::checkpoint::Which;

/// Facts of a model that flags give, over what its files say.
#[derive(Args, Clone)]
pub(super) struct ModelArgs {
    /// Whose position table it has, where nothing tells.
    #[arg(long = "model", value_enum, value_name = "MODEL")]
    pub family: Option<EncoderKind>,
    /// Attention heads [default: the run's, config.json's, the published model's of that width].
    #[arg(long)]
    pub heads: Option<usize>,
    /// Frames of a clip [default: the run's, config.json's, 16].
    #[arg(long)]
    pub frames: Option<usize>,
    /// Frames of the video from one of the clip's to the next [default: the run's, 4].
    #[arg(long)]
    pub stride: Option<usize>,
    /// Height and width of the frames [default: the run's, config.json's, 224].
    #[arg(long)]
    pub input_size: Option<usize>,
}

impl ModelArgs {
    /// Opens the weights that are meant of what a path means.
    pub fn open(&self, path: &Path, which: Which) -> Result<Opened, Failure> {
        let ModelArgs { family, heads, frames, stride, input_size: size } = *self;
        let family = family.map(EncoderKind::family);
        let (file, copies) = which.of(path)?;
        Ok(Opened::open(&file, &Given { family, heads, frames, stride, size, copies })?)
    }
}

/// Names of a classifier's classes.
#[derive(Args, Clone)]
pub(super) struct NamesArgs {
    /// Names of the model's classes, one a line in the order of their indices [default: the run's, config.json's].
    #[arg(long, value_name = "FILE")]
    names: Option<PathBuf>,
}

impl NamesArgs {
    /// Gives a classifier the names of the file, if there is one.
    pub fn apply(&self, opened: &mut Opened) -> Result<(), Failure> {
        let Some(path) = &self.names else { return Ok(()) };
        let classes = opened.about.classes.unwrap_or(0);
        let names = named(path, classes)?;
        opened.names = Some(Known { value: names, from: format!("--names {}", path.display()) });
        Ok(())
    }
}

/// The names of a file, which must be as many as there are classes.
pub(super) fn named(path: &Path, classes: usize) -> Result<Vec<String>, Failure> {
    let names = read_names(path)?;
    if names.len() != classes {
        let (path, got) = (path.display(), names.len());
        return Err(format!("--names {path}: expected {classes} lines, one for each class, got {got}").into());
    }
    Ok(names)
}

/// The views of a test of a model, by its run's sampling.
pub(super) fn views(opened: &Opened, clips: usize, crops: usize) -> Result<Views, Failure> {
    if clips == 0 || ![1, 3].contains(&crops) {
        return Err(format!("--clips, --crops: expected 1 or more, and 1 or 3; got {clips} and {crops}").into());
    }
    let segments = opened.run.get("sampling").and_then(toml::Value::as_str) == Some("segment");
    let (frames, stride, size) = (opened.frames.value, opened.stride.value, opened.size.value);
    Ok(Views { frames, stride, size, segments, clips, crops })
}
