//! Complete, typed configs: what a run directory's `config.toml` holds.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::data::{Dataset, LEAST_SCALE, MaskConfig, MaskKind};
use crate::model::{Grid, Vit};
use crate::op::attention::MAX_HEAD_SIZE;

mod distill;
mod finetune;
mod pretrain;

pub use distill::{DistillConfig, TeacherConfig, VideoModel};
pub use finetune::{Counted, EncoderKind, FinetuneConfig, Sampling};
pub use pretrain::{Crop, PretrainConfig, PretrainKind};

/// Which weights of a run, or of a file with several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Which {
    /// Those of the newest checkpoint; of a file the plain ones.
    #[default]
    #[value(alias = "plain")]
    Newest,
    /// Their average over steps.
    Ema,
    /// Those that validated best, averaged or not.
    Best,
}

/// Sizes by name: dim, depth, heads; `mlp_ratio` is 4 in all.
const SIZES: [(&str, usize, usize, usize); 5] = [
    ("tiny", 128, 4, 4),
    ("small", 384, 12, 6),
    ("base", 768, 12, 12),
    ("large", 1024, 24, 16),
    ("huge", 1280, 32, 16),
];

/// A config's text that is not one.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {message}{}", meant(nearest.as_deref()))]
pub struct ParseError {
    /// The file, or what else the text came from.
    pub file: String,
    /// What is wrong, with line and column.
    pub message: String,
    /// The key most like one that is unknown.
    pub nearest: Option<String>,
}

/// A suggestion at the end of a message.
pub(crate) fn meant(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!(" (did you mean {name}?)"))
}

/// The one of `known` that `got` most likely meant.
pub(crate) fn nearest<'a>(got: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let scored = known.into_iter().map(|name| (strsim::normalized_damerau_levenshtein(got, name), name));
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 > 0.5).then(|| best.1.to_owned())
}

/// Everything that is wrong with a config, at once.
#[derive(Debug, thiserror::Error)]
pub struct Problems(pub Vec<String>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration cannot be used:")?;
        self.0.iter().try_for_each(|p| write!(f, "\n  {p}"))
    }
}

/// A model size: a name, or `dim,depth,heads`.
///
/// # Errors
/// Neither, with the names there are.
pub fn size(text: &str) -> Result<Vit, String> {
    if let Some(&(_, dim, depth, heads)) = SIZES.iter().find(|s| s.0 == text) {
        return Ok(Vit { dim, depth, heads, mlp_ratio: 4 });
    }
    let numbers: Option<Vec<usize>> = text.split(',').map(|n| n.trim().parse().ok()).collect();
    if let Some([dim, depth, heads]) = numbers.as_deref() {
        return Ok(Vit { dim: *dim, depth: *depth, heads: *heads, mlp_ratio: 4 });
    }
    let names = SIZES.map(|s| s.0).join(", ");
    let meant = meant(nearest(text, SIZES.map(|s| s.0)).as_deref());
    Err(format!("unknown size `{text}`: expected one of {names}, or dim,depth,heads such as 192,6,3{meant}"))
}

/// Parses a complete config; `file` is for the message. Does not validate.
///
/// # Errors
/// A key is missing, unknown or of another type.
pub fn from_toml<T: DeserializeOwned>(text: &str, file: &str) -> Result<T, ParseError> {
    toml::from_str(text).map_err(|error: toml::de::Error| ParseError {
        file: file.to_owned(),
        nearest: meant_key(error.message()),
        message: error.to_string().trim_end().to_owned(),
    })
}

/// Videos, and how clips are taken from them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// A list, a folder or one video.
    pub path: PathBuf,
    /// Where a list's relative paths start; empty: at the list's folder.
    pub root: PathBuf,
    /// What `mvd check-data --index` wrote, also of a set to validate on; empty: nothing is known beforehand.
    pub index: PathBuf,
    /// Frames of a clip.
    pub frames: usize,
    /// Frames of the video from one of the clip's to the next.
    pub stride: usize,
    /// Frames of a token.
    pub tubelet: usize,
    /// Height and width of the frames.
    pub input_size: usize,
    /// Height and width of a patch.
    pub patch: usize,
    /// Decoding threads.
    pub threads: usize,
    /// Share of unreadable files over which the run stops; 0: at the first.
    pub max_bad: f64,
}

/// The optimiser and how long it runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimConfig {
    /// Videos of a micro-batch; each gives one clip, or in fine-tuning `repeats`.
    pub batch: usize,
    /// Micro-batches of a step, of all ranks together.
    pub accumulate: usize,
    /// Parts of them whose gradients are summed apart, each by one rank, and then in order.
    #[serde(default = "one")]
    pub groups: usize,
    /// Keep no activations of blocks for the backward pass, but compute them again.
    #[serde(default)]
    pub recompute: bool,
    /// Passes over the set.
    pub epochs: usize,
    /// Steps instead of passes; 0: by `epochs`.
    pub steps: usize,
    /// Learning rate of 256 videos a step; it is scaled by the videos of a step.
    pub lr: f64,
    /// Where it ends, of 256 videos a step.
    pub min_lr: f64,
    /// Passes of linear warm-up from 0; with `steps`, its share is that of `epochs`.
    pub warmup_epochs: f64,
    /// AdamW's momenta.
    pub betas: [f64; 2],
    /// AdamW's epsilon.
    pub eps: f64,
    /// Weight decay at the start.
    pub weight_decay: f64,
    /// Weight decay at the end.
    pub weight_decay_end: f64,
    /// Largest gradient norm; 0: no clipping.
    pub clip_grad: f64,
}

/// Checkpoints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SaveConfig {
    /// Steps from one checkpoint to the next.
    pub every: usize,
    /// Minutes from one checkpoint to the next, whichever comes first; 0: by steps alone.
    #[serde(default = "save_minutes")]
    pub minutes: f64,
    /// Newest checkpoints kept.
    pub keep_last: usize,
    /// Checkpoints kept for ever: every that many steps; 0: none.
    pub keep_every: usize,
}

/// What a config written before there was a choice means.
fn one() -> usize {
    1
}

/// What a config written before there was a choice means.
fn save_minutes() -> f64 {
    10.0
}

/// A value that `--resume` changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Steps that were done before.
    pub step: usize,
    /// Its key, such as `optim.lr`.
    pub key: String,
    /// What it was.
    pub from: String,
    /// What it is from then on.
    pub to: String,
}

/// How tokens are masked.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaskRule {
    /// Tube or random.
    pub kind: MaskKind,
    /// Share of tokens that are masked.
    pub ratio: f64,
}

/// What a config written before there was a choice means.
fn least_scale() -> f64 {
    LEAST_SCALE
}

/// Collects what is wrong.
#[derive(Default)]
struct Check(Vec<String>);

impl Check {
    fn need(&mut self, holds: bool, text: impl FnOnce() -> String) {
        if !holds {
            self.0.push(text());
        }
    }

    fn counts(&mut self, values: &[(&str, usize)]) {
        for (flag, value) in values {
            self.need(*value > 0, || format!("{flag}: expected at least 1, got 0"));
        }
    }

    fn multiple(&mut self, flag: &str, of: &str, value: usize, unit: usize) {
        let holds = unit > 0 && value.is_multiple_of(unit);
        self.need(holds, || format!("{flag}: expected a multiple of the {of}, {unit}, got {value}"));
    }

    fn at_least_0(&mut self, flag: &str, value: f64) {
        self.need(value >= 0.0 && value.is_finite(), || format!("{flag}: expected 0 or more, got {value}"));
    }

    fn crop_min(&mut self, value: f64) {
        self.need(value > 0.0 && value <= 1.0, || format!("--crop-min: expected over 0, at most 1, got {value}"));
    }

    fn under_1(&mut self, flag: &str, value: f64) {
        self.need((0.0..1.0).contains(&value), || format!("{flag}: expected at least 0 and under 1, got {value}"));
    }

    /// `unit` is what the position table needs of the width.
    fn vit(&mut self, flag: &str, vit: &Vit, unit: usize) {
        let Vit { dim, depth, heads, mlp_ratio } = *vit;
        self.need(depth > 0, || format!("{flag}: expected a depth of at least 1, got 0"));
        self.need(mlp_ratio > 0, || format!("{flag}: expected an mlp_ratio of at least 1, got 0"));
        self.need(dim > 0 && dim.is_multiple_of(unit), || {
            format!("{flag}: expected a dim that is a multiple of {unit} (its position table), got {dim}")
        });
        self.need(heads > 0 && dim.is_multiple_of(heads), || {
            format!("{flag}: expected heads that divide dim {dim}, got {heads}")
        });
        self.need(heads > 0 && dim / heads.max(1) <= MAX_HEAD_SIZE, || {
            format!("{flag}: expected heads of at most {MAX_HEAD_SIZE} channels, got {}", dim / heads.max(1))
        });
    }

    fn seed(&mut self, seed: u64) {
        // TOML has signed integers only, and the run's config is written in it.
        let fits = i64::try_from(seed).is_ok();
        self.need(fits, || format!("--seed: expected at most {}, got {seed}", i64::MAX));
    }

    fn done(self) -> Result<(), Problems> {
        if self.0.is_empty() { Ok(()) } else { Err(Problems(self.0)) }
    }
}

impl DataConfig {
    /// Opens one of the run's sets. To a model of single frames every image of a folder is a sample of its own.
    ///
    /// # Errors
    /// A set or an index that cannot be read.
    pub fn open(&self, path: &Path) -> crate::data::Result<Dataset> {
        fn given(path: &Path) -> Option<&Path> {
            (!path.as_os_str().is_empty()).then_some(path)
        }
        let open = if self.frames == 1 { Dataset::open_images } else { Dataset::open };
        open(path, given(&self.root))?.with_index(given(&self.index))
    }

    /// How its clips are cut.
    pub fn grid(&self) -> Grid {
        Grid { frames: self.frames, size: self.input_size, tubelet: self.tubelet, patch: self.patch }
    }

    fn check(&self, check: &mut Check) {
        check.counts(&[
            ("--frames", self.frames),
            ("--stride", self.stride),
            ("tubelet", self.tubelet),
            ("--input-size", self.input_size),
            ("--patch", self.patch),
            ("--threads", self.threads),
        ]);
        check.multiple("--frames", "tubelet", self.frames, self.tubelet);
        check.multiple("--input-size", "patch", self.input_size, self.patch);
        let bad = self.max_bad;
        check.need((0.0..=1.0).contains(&bad), || format!("--max-bad: expected from 0 to 1, got {bad}"));
    }
}

impl MaskRule {
    /// The masks of a grid.
    ///
    /// # Errors
    /// A ratio that masks nothing or everything.
    pub fn masks(&self, grid: &Grid) -> crate::data::Result<MaskConfig> {
        MaskConfig::new(self.kind, self.ratio, grid.tokens())
    }

    fn check(&self, data: &DataConfig, check: &mut Check) {
        let ratio = self.ratio;
        let inside = ratio > 0.0 && ratio < 1.0;
        check.need(inside, || format!("--mask-ratio: expected between 0 and 1, both excluded, got {ratio}"));
        let side = data.input_size.checked_div(data.patch);
        if let (Some(side), Some(times), true) = (side, data.frames.checked_div(data.tubelet), inside) {
            let grid = [times, side, side];
            let works = grid.contains(&0) || MaskConfig::new(self.kind, ratio, grid).is_ok();
            check.need(works, || {
                format!(
                    "--mask-ratio: expected one that masks some but not all tokens of the grid {grid:?}, got {ratio}"
                )
            });
        }
    }
}

impl OptimConfig {
    /// Videos of an optimiser step.
    pub fn total_batch(&self) -> usize {
        self.batch * self.accumulate
    }

    /// What a step takes when each video gives `repeats` clips, for people.
    pub fn of_step(&self, repeats: usize) -> String {
        match (self.total_batch(), repeats) {
            (videos, 0 | 1) => format!("{videos} clips"),
            (videos, _) => format!("{videos} videos, {} clips", videos * repeats),
        }
    }

    fn check(&self, check: &mut Check) {
        check.counts(&[("--batch", self.batch), ("--accumulate", self.accumulate), ("groups", self.groups)]);
        let (accumulate, groups) = (self.accumulate, self.groups);
        check.need(groups == 0 || accumulate.is_multiple_of(groups), || {
            format!("groups: expected a number that divides --accumulate, {accumulate}, got {groups}")
        });
        check.need(self.steps > 0 || self.epochs > 0, || {
            "--epochs, --steps: expected one of them over 0, got 0 and 0".into()
        });
        for (flag, value) in [
            ("--lr", self.lr),
            ("--min-lr", self.min_lr),
            ("--weight-decay", self.weight_decay),
            ("--weight-decay-end", self.weight_decay_end),
            ("--warmup-epochs", self.warmup_epochs),
            ("--clip-grad", self.clip_grad),
        ] {
            check.at_least_0(flag, value);
        }
        let (warmup, epochs) = (self.warmup_epochs, self.epochs);
        check.need(warmup == 0.0 || warmup < epochs as f64, || {
            format!("--warmup-epochs: expected fewer than --epochs, {epochs}, got {warmup}")
        });
        let (lr, min_lr, eps) = (self.lr, self.min_lr, self.eps);
        check.need(min_lr <= lr, || format!("--min-lr: expected at most --lr, {lr}, got {min_lr}"));
        for beta in self.betas {
            check.under_1("betas", beta);
        }
        check.need(eps > 0.0 && eps.is_finite(), || format!("eps: expected over 0, got {eps}"));
    }
}

impl SaveConfig {
    fn check(&self, check: &mut Check) {
        check.counts(&[("--save-every", self.every), ("--keep-last", self.keep_last)]);
        check.at_least_0("--save-minutes", self.minutes);
    }
}

/// The key that an "unknown field `x`, expected one of `a`, `b`" most likely meant.
fn meant_key(message: &str) -> Option<String> {
    let mut quoted = message.strip_prefix("unknown field")?.split('`').skip(1).step_by(2);
    let got = quoted.next()?;
    nearest(got, quoted)
}

#[cfg(test)]
mod tests;
