//! What lies beside a weight file and says more of its model: the run's `config.toml`, Hugging Face's `config.json`.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::classifier::Pooling;
use super::encoder::Family;
use super::hf_config;
use super::known::Known;
use crate::weights::stored::Stored;
use crate::weights::{Description, Error, Kind, LazyTensor, Origin, Result, Tensors};

/// Weight files of a run.
const OF_RUN: [&str; 3] = ["weights.safetensors", "ema.safetensors", "best.safetensors"];

/// The config of the run that a weight file lies in, and its file.
pub(super) fn run_config(file: &Path) -> Result<(toml::Table, PathBuf)> {
    let of_run = file.file_name().and_then(|name| name.to_str()).is_some_and(|name| OF_RUN.contains(&name));
    let parent = file.parent().unwrap_or(Path::new(""));
    let checkpoint = parent.parent().filter(|folder| folder.ends_with("checkpoints")).and_then(Path::parent);
    let path = checkpoint.unwrap_or(parent).join("config.toml");
    if !of_run || !path.is_file() {
        return Ok((toml::Table::new(), path));
    }
    let unusable = |what: String| Error::Unknown { path: path.clone(), what };
    let text = std::fs::read_to_string(&path).map_err(|e| unusable(format!("cannot be read: {e}")))?;
    let table = text.parse().map_err(|e: toml::de::Error| unusable(e.to_string()))?;
    Ok((table, path))
}

fn of_run(run: &toml::Table, table: &str, key: &str) -> Option<usize> {
    let value = run.get(table).and_then(|t| t.get(key)).and_then(toml::Value::as_integer);
    value.and_then(|v| usize::try_from(v).ok())
}

/// What is read of files beside the weights.
pub(super) struct Beside<'a> {
    pub run: &'a toml::Table,
    pub config: &'a Value,
    pub about: &'a Description,
}

impl Beside<'_> {
    /// A number by flag, run, `config.json`, in this order.
    pub fn number(&self, flag: (&str, Option<usize>), run: [(&str, &str); 2], json: &str) -> Option<Known<usize>> {
        let by_flag = flag.1.map(|value| Known::new(value, flag.0));
        let by_run = || {
            let found = run.iter().find_map(|(table, key)| of_run(self.run, table, key));
            found.map(|value| Known::new(value, "the run's config.toml"))
        };
        // Whatever is no number has been refused.
        let by_json = || {
            let found = hf_config::number(self.config, json).ok().flatten();
            found.map(|value| Known::new(value, format!("config.json, {json}")))
        };
        by_flag.or_else(by_run).or_else(by_json)
    }

    pub fn family(&self, table: Option<Stored>, origin: &Origin) -> Option<Known<Family>> {
        if self.about.kind == Kind::Mae {
            return Some(Known::new(Family::Mae, "its patches are of single frames"));
        }
        if self.about.learned.is_some() {
            return Some(Known::new(Family::StMae, "its learned pos_embed_spatial and pos_embed_temporal"));
        }
        let run = match (self.run.get("model").and_then(toml::Value::as_str), self.run.contains_key("student")) {
            (Some("mvd"), _) | (_, true) => Some(Family::Mvd),
            (Some("videomae"), _) => Some(Family::VideoMae),
            _ => None,
        };
        if let Some(family) = run {
            return Some(Known::new(family, "the run's config.toml"));
        }
        if self.config["model_type"] == "videomae" {
            return Some(Known::new(Family::VideoMae, "config.json, model_type"));
        }
        if origin.hugging_face {
            return Some(Known::new(Family::VideoMae, "Hugging Face's names"));
        }
        match (self.about.kind, table) {
            (Kind::VideoMae, _) => {
                Some(Known::new(Family::VideoMae, "names with encoder., of VideoMAE's pre-training"))
            }
            (Kind::Student, _) => Some(Known::new(Family::Mvd, "an MVD student's decoders")),
            (_, Some(Stored::Sincos3d { .. })) => Some(Known::new(Family::Mvd, "its stored pos_embed")),
            (_, Some(Stored::Sinusoid { .. })) => Some(Known::new(Family::VideoMae, "its stored pos_embed")),
            _ => None,
        }
    }

    /// Those of the run, by index; where it has none those of `config.json`.
    pub fn names(&self) -> Option<Known<Vec<String>>> {
        let classes = self.about.classes?;
        let of_run = self.run.get("names").and_then(toml::Value::as_array);
        let name = |value: &toml::Value| value.as_str().map(str::to_owned);
        let of_run = of_run.and_then(|names| names.iter().map(name).collect::<Option<Vec<_>>>());
        if let Some(names) = of_run.filter(|names| names.len() == classes) {
            return Some(Known::new(names, "the run's config.toml"));
        }
        let labels = self.config["id2label"].as_object()?;
        let name = |i: usize| labels.get(&i.to_string())?.as_str().map(str::to_owned);
        let names: Vec<String> = (0..classes).map(name).collect::<Option<_>>()?;
        let placeholders = names.iter().enumerate().all(|(i, name)| *name == format!("LABEL_{i}"));
        (!placeholders).then(|| Known::new(names, "config.json, id2label"))
    }

    pub fn pooling(&self, tensors: &Tensors<LazyTensor>) -> Known<Pooling> {
        if self.about.learned.is_some() {
            return Known::new(Pooling::of(Family::StMae), "as published");
        }
        match self.config["use_mean_pooling"].as_bool() {
            Some(true) => Known::new(Pooling::Mean, "config.json, use_mean_pooling"),
            Some(false) => Known::new(Pooling::First, "config.json, use_mean_pooling"),
            None if self.about.kind == Kind::Classifier && tensors.get("fc_norm.weight").is_none() => {
                Known::new(Pooling::First, "no fc_norm among the tensors")
            }
            None => Known::new(Pooling::Mean, "as published"),
        }
    }
}
