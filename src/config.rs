//! Complete, typed configs: what a run directory's `config.toml` holds.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::data::{MaskConfig, MaskKind};
use crate::model::Vit;
use crate::op::attention::MAX_HEAD_SIZE;
use crate::op::loss::LossKind;

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

/// A frozen teacher.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeacherConfig {
    /// Its weights, safetensors.
    pub weights: PathBuf,
    /// Its blocks.
    pub vit: Vit,
    /// Height and width of the frames it takes.
    pub size: usize,
    /// Height and width of its patches.
    pub patch: usize,
    /// Weight of its loss.
    pub weight: f32,
}

/// A distillation run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DistillConfig {
    /// A list, a folder or one video.
    pub data: PathBuf,
    /// Where a list's relative paths start; empty: at the list's folder.
    pub root: PathBuf,
    /// Frames of a clip.
    pub frames: usize,
    /// Frames of the video from one of the clip's to the next.
    pub stride: usize,
    /// Frames of a token.
    pub tubelet: usize,
    /// Height and width of the student's frames.
    pub input_size: usize,
    /// Height and width of the student's patches.
    pub patch: usize,
    /// How tokens are masked.
    pub mask: MaskKind,
    /// Share of tokens that are masked.
    pub mask_ratio: f64,
    /// Distance to the teachers' features.
    pub loss: LossKind,
    /// LayerNorm without affine on the features.
    pub norm_feature: bool,
    /// Clips of a micro-batch.
    pub batch: usize,
    /// Micro-batches of a step.
    pub accumulate: usize,
    /// Passes over the set.
    pub epochs: usize,
    /// Steps instead of passes; 0: by `epochs`.
    pub steps: usize,
    /// Learning rate of a total batch of 256.
    pub lr: f64,
    /// Where it ends, of a total batch of 256.
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
    /// Stochastic depth of the last block.
    pub drop_path: f64,
    /// Seed of weights, data order, crops, masks and stochastic depth.
    pub seed: u64,
    /// Decoding threads.
    pub threads: usize,
    /// Share of unreadable files at which the run stops.
    pub max_bad: f64,
    /// Steps from one checkpoint to the next.
    pub save_every: usize,
    /// Newest checkpoints kept.
    pub keep_last: usize,
    /// Checkpoints kept for ever: every that many steps; 0: none.
    pub keep_every: usize,
    /// The student's encoder.
    pub student: Vit,
    /// Each of its decoders.
    pub decoder: Vit,
    /// The image teacher, if any.
    pub image_teacher: Option<TeacherConfig>,
    /// The video teacher, if any.
    pub video_teacher: Option<TeacherConfig>,
}

impl DistillConfig {
    /// Parses a complete config; `file` is for the message. Does not validate.
    ///
    /// # Errors
    /// A key is missing, unknown or of another type.
    pub fn from_toml(text: &str, file: &str) -> Result<Self, ParseError> {
        toml::from_str(text).map_err(|error: toml::de::Error| ParseError {
            file: file.to_owned(),
            nearest: meant_key(error.message()),
            message: error.to_string().trim_end().to_owned(),
        })
    }

    /// Clips of an optimiser step.
    pub fn total_batch(&self) -> usize {
        self.batch * self.accumulate
    }

    /// All that cannot work, each naming the flag, what was expected and what came.
    ///
    /// # Errors
    /// The list, if there is anything on it.
    pub fn validate(&self) -> Result<(), Problems> {
        let mut problems = Vec::new();
        let mut need = |holds: bool, text: String| {
            if !holds {
                problems.push(text);
            }
        };
        let (frames, tubelet, size, patch) = (self.frames, self.tubelet, self.input_size, self.patch);
        for (flag, value) in [
            ("--frames", frames),
            ("--stride", self.stride),
            ("tubelet", tubelet),
            ("--input-size", size),
            ("--patch", patch),
            ("--batch", self.batch),
            ("--accumulate", self.accumulate),
            ("--threads", self.threads),
            ("--save-every", self.save_every),
            ("--keep-last", self.keep_last),
        ] {
            need(value > 0, format!("{flag}: expected at least 1, got 0"));
        }
        need(self.steps > 0 || self.epochs > 0, "--epochs, --steps: expected one of them over 0, got 0 and 0".into());
        need(
            tubelet > 0 && frames.is_multiple_of(tubelet),
            format!("--frames: expected a multiple of the tubelet, {tubelet}, got {frames}"),
        );
        let multiple = |flag: &str, size: usize, patch: usize| {
            (
                patch > 0 && size.is_multiple_of(patch),
                format!("{flag}: expected a multiple of the patch, {patch}, got {size}"),
            )
        };
        let (holds, text) = multiple("--input-size", size, patch);
        need(holds, text);
        let ratio = self.mask_ratio;
        need(ratio > 0.0 && ratio < 1.0, format!("--mask-ratio: expected between 0 and 1, both excluded, got {ratio}"));
        if let (Some(side), Some(times)) = (size.checked_div(patch), frames.checked_div(tubelet)) {
            let grid = [times, side, side];
            let inside = ratio > 0.0 && ratio < 1.0 && grid.iter().all(|&n| n > 0);
            need(
                !inside || MaskConfig::new(self.mask, ratio, grid).is_ok(),
                format!(
                    "--mask-ratio: expected one that masks some but not all tokens of the grid {grid:?}, got {ratio}"
                ),
            );
        }
        let drop = self.drop_path;
        need((0.0..1.0).contains(&drop), format!("--drop-path: expected at least 0 and under 1, got {drop}"));
        for (flag, value) in [
            ("--lr", self.lr),
            ("--min-lr", self.min_lr),
            ("--weight-decay", self.weight_decay),
            ("--weight-decay-end", self.weight_decay_end),
            ("--warmup-epochs", self.warmup_epochs),
            ("--clip-grad", self.clip_grad),
        ] {
            need(value >= 0.0 && value.is_finite(), format!("{flag}: expected 0 or more, got {value}"));
        }
        need(self.min_lr <= self.lr, format!("--min-lr: expected at most --lr, {}, got {}", self.lr, self.min_lr));
        for beta in self.betas {
            need((0.0..1.0).contains(&beta), format!("betas: expected at least 0 and under 1, got {beta}"));
        }
        need(self.eps > 0.0 && self.eps.is_finite(), format!("eps: expected over 0, got {}", self.eps));
        let bad = self.max_bad;
        need((0.0..=1.0).contains(&bad), format!("--max-bad: expected from 0 to 1, got {bad}"));
        // TOML has signed integers only, and the run's config is written in it.
        need(i64::try_from(self.seed).is_ok(), format!("--seed: expected at most {}, got {}", i64::MAX, self.seed));
        for (flag, vit, unit) in [("--student", &self.student, 16), ("--decoder", &self.decoder, 16)] {
            vit_problems(flag, vit, unit, &mut need);
        }
        let teachers = [("image", &self.image_teacher, 4), ("video", &self.video_teacher, 2)];
        let weight = |t: &Option<TeacherConfig>| t.as_ref().map_or(0.0, |t| t.weight);
        need(
            teachers.iter().any(|(_, t, _)| weight(t) > 0.0),
            "--image-weight, --video-weight: expected one of them over 0, got 0 and 0".into(),
        );
        for (name, teacher, unit) in teachers {
            let Some(t) = teacher else { continue };
            vit_problems(&format!("--{name}-teacher"), &t.vit, unit, &mut need);
            let (holds, text) = multiple(&format!("--{name}-teacher size"), t.size, t.patch);
            need(holds, text);
            let (grid, own) = (size.checked_div(patch), t.size.checked_div(t.patch));
            need(
                grid == own,
                format!("--{name}-teacher: its grid of {own:?} patches a side must be the student's, {grid:?}"),
            );
            need(
                t.weight >= 0.0 && t.weight.is_finite(),
                format!("--{name}-weight: expected 0 or more, got {}", t.weight),
            );
        }
        if let Some(t) = &self.video_teacher {
            need(t.size == size && t.patch == patch, "--video-teacher: takes the student's frames and patches".into());
        }
        if problems.is_empty() { Ok(()) } else { Err(Problems(problems)) }
    }
}

fn vit_problems(flag: &str, vit: &Vit, unit: usize, need: &mut impl FnMut(bool, String)) {
    let Vit { dim, depth, heads, mlp_ratio } = *vit;
    need(depth > 0, format!("{flag}: expected a depth of at least 1, got 0"));
    need(mlp_ratio > 0, format!("{flag}: expected an mlp_ratio of at least 1, got 0"));
    need(
        dim > 0 && dim.is_multiple_of(unit),
        format!("{flag}: expected a dim that is a multiple of {unit} (its position table), got {dim}"),
    );
    need(heads > 0 && dim.is_multiple_of(heads), format!("{flag}: expected heads that divide dim {dim}, got {heads}"));
    need(
        heads > 0 && dim / heads.max(1) <= MAX_HEAD_SIZE,
        format!("{flag}: expected heads of at most {MAX_HEAD_SIZE} channels, got {}", dim / heads.max(1)),
    );
}

/// The key that an "unknown field `x`, expected one of `a`, `b`" most likely meant.
fn meant_key(message: &str) -> Option<String> {
    let mut quoted = message.strip_prefix("unknown field")?.split('`').skip(1).step_by(2);
    let got = quoted.next()?;
    nearest(got, quoted)
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
