//! The published recipes by name, and small ones for trials: complete configs, to be written out, edited, given back.
//!
//! Sources: the scripts of `ruiwang2021/mvd`, `facebookresearch/mae`, `facebookresearch/mae_st` and `MCG-NJU/VideoMAE`.
//! Their batches are spread over 8 to 64 GPUs; here `batch` is the whole one, in videos, to be traded for `accumulate`.
//! Data is left empty, and so are weights, but of teachers that have public ones.

mod distill;
mod finetune;
mod pretrain;
pub mod public;
#[cfg(test)]
mod published;

use serde::Serialize;

use crate::config::{
    DataConfig, DistillConfig, FinetuneConfig, OptimConfig, PretrainConfig, SaveConfig, meant, nearest,
};
use crate::model::Vit;

/// A stage's complete config.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Config {
    /// Stage one.
    Pretrain(PretrainConfig),
    /// Stage two.
    Distill(DistillConfig),
    /// Stage three.
    Finetune(FinetuneConfig),
}

/// A recipe.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    /// Its name.
    pub name: &'static str,
    /// Where its numbers come from.
    pub source: &'static str,
    /// What was published for it.
    pub result: &'static str,
    /// All of its numbers.
    pub config: Config,
}

/// A name that is no recipe's.
#[derive(Debug, thiserror::Error)]
#[error("unknown recipe `{got}`: expected one of {}{}", known.join(", "), meant(nearest(got, known.iter().copied()).as_deref()))]
pub struct Unknown {
    /// The name given.
    pub got: String,
    /// The names there are.
    pub known: Vec<&'static str>,
}

/// Every recipe, stage by stage.
pub fn all() -> Vec<Recipe> {
    [pretrain::all(), distill::all(), finetune::all()].concat()
}

fn pick<T>(name: &str, of: impl Fn(Config) -> Option<T>) -> Result<T, Unknown> {
    let fitting = || all().into_iter().filter_map(|r| Some((r.name, of(r.config)?)));
    let found = fitting().find(|(known, _)| *known == name).map(|(_, config)| config);
    found.ok_or_else(|| Unknown { got: name.to_owned(), known: fitting().map(|(known, _)| known).collect() })
}

/// The recipe of this name.
///
/// # Errors
/// There is none of this name.
pub fn recipe(name: &str) -> Result<Recipe, Unknown> {
    let found = all().into_iter().find(|r| r.name == name);
    found.ok_or_else(|| Unknown { got: name.to_owned(), known: all().iter().map(|r| r.name).collect() })
}

/// The stage-one config of this name.
///
/// # Errors
/// There is none of this name.
pub fn pretrain(name: &str) -> Result<PretrainConfig, Unknown> {
    pick(name, |config| if let Config::Pretrain(c) = config { Some(c) } else { None })
}

/// The distillation config of this name.
///
/// # Errors
/// There is none of this name.
pub fn distill(name: &str) -> Result<DistillConfig, Unknown> {
    pick(name, |config| if let Config::Distill(c) = config { Some(c) } else { None })
}

/// The fine-tuning config of this name.
///
/// # Errors
/// There is none of this name.
pub fn finetune(name: &str) -> Result<FinetuneConfig, Unknown> {
    pick(name, |config| if let Config::Finetune(c) = config { Some(c) } else { None })
}

const fn vit(dim: usize, depth: usize, heads: usize) -> Vit {
    Vit { dim, depth, heads, mlp_ratio: 4 }
}

const TINY: Vit = vit(128, 4, 4);
const SMALL: Vit = vit(384, 12, 6);
const BASE: Vit = vit(768, 12, 12);
const LARGE: Vit = vit(1024, 24, 16);
const HUGE: Vit = vit(1280, 32, 16);

/// 16 frames at stride 4 of 224 pixels.
fn k400() -> DataConfig {
    DataConfig {
        path: Default::default(),
        root: Default::default(),
        index: Default::default(),
        frames: 16,
        stride: 4,
        tubelet: 2,
        input_size: 224,
        patch: 16,
        threads: 4,
        max_bad: 0.01,
    }
}

/// 8 frames at stride 2 of the synthetic set's 16 of 64 pixels.
fn synthetic() -> DataConfig {
    DataConfig { frames: 8, stride: 2, input_size: 64, patch: 8, threads: 2, ..k400() }
}

/// What all recipes of pre-training share.
fn pretraining() -> OptimConfig {
    OptimConfig {
        batch: 1024,
        accumulate: 1,
        groups: 1,
        recompute: false,
        epochs: 401,
        steps: 0,
        lr: 1.5e-4,
        min_lr: 1e-4,
        warmup_epochs: 40.0,
        betas: [0.9, 0.95],
        eps: 1e-8,
        weight_decay: 0.05,
        weight_decay_end: 0.05,
        clip_grad: 0.0,
    }
}

/// When checkpoints are written and which are kept, where a recipe does not say otherwise.
pub(crate) const SAVE: SaveConfig = SaveConfig { every: 1000, minutes: 10.0, keep_last: 3, keep_every: 0 };

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::from_toml;

    #[test]
    fn every_recipe_is_complete_and_comes_back_as_it_was() {
        let mut names = Vec::new();
        for Recipe { name, source, result, config } in all() {
            let text = toml::to_string(&config).unwrap();
            let problems = match &config {
                Config::Pretrain(c) => (from_toml(&text, name).map(|back: PretrainConfig| back == *c), c.validate()),
                Config::Distill(c) => (from_toml(&text, name).map(|back: DistillConfig| back == *c), c.validate()),
                Config::Finetune(c) => (from_toml(&text, name).map(|back: FinetuneConfig| back == *c), c.validate()),
            };
            assert!(matches!(problems, (Ok(true), Ok(()))), "{name}: {problems:?}");
            assert!(!source.is_empty() && !result.is_empty() && !names.contains(&name), "{name}");
            names.push(name);
        }
        assert_eq!(names.len(), 40);
    }

    #[test]
    fn published_decoders() {
        let decoder = |name: &str| pretrain(name).map(|c| (c.decoder.dim, c.decoder.depth)).unwrap();
        assert_eq!(["videomae-base-k400", "videomae-large-k400"].map(decoder), [(384, 4), (512, 12)]);
    }
}
