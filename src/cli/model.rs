//! The model that a command takes: a run, a weight file, a folder of Hugging Face's, or `hf:owner/name`.

use std::collections::HashMap;
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
    /// Gives a classifier the names of the file, if there is one; says whose they are where its own were others.
    pub fn apply(&self, opened: &mut Opened) -> Result<Option<String>, Failure> {
        let Some(path) = &self.names else { return Ok(None) };
        let names = names_for(path, opened.about.classes.unwrap_or(0), opened.names.as_ref())?;
        if opened.names.as_ref().is_some_and(|own| own.value == names) {
            return Ok(None);
        }
        let from = format!("--names {}", path.display());
        opened.names = Some(Known { value: names, from: from.clone() });
        Ok(Some(from))
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

/// The names of a file for classes that may have names of their `own`: those stay, and the file names what has none or shares
/// its name with another class.
pub(super) fn names_for(path: &Path, classes: usize, own: Option<&Known<Vec<String>>>) -> Result<Vec<String>, Failure> {
    let names = named(path, classes)?;
    let Some(Known { value, from }) = own else { return Ok(names) };
    let mut count = HashMap::new();
    value.iter().for_each(|name| *count.entry(name).or_insert(0) += 1);
    let differs = |(_, (given, own)): &(usize, (&String, &String))| given != own && !own.is_empty() && count[own] == 1;
    match names.iter().zip(value).enumerate().find(differs) {
        None => Ok(names),
        Some((class, (given, own))) => {
            let (path, line) = (path.display(), class + 1);
            let way = "leave --names out, or mend the names where they stand";
            Err(format!("--names {path}, line {line}: expected `{own}`, the name of class {class} ({from}), got `{given}`; {way}").into())
        }
    }
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
