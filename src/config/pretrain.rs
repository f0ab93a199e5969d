//! A stage-one run's config: a teacher from pixels.

use super::{Change, Check, DataConfig, Deserialize, MaskRule, OptimConfig, Problems, SaveConfig, Serialize, Vit};
use crate::model::encoder::Family;

/// Which teacher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PretrainKind {
    /// MAE, on single frames.
    Image,
    /// VideoMAE, on clips.
    Video,
    /// ST-MAE, on clips.
    StMae,
}

impl PretrainKind {
    /// Whose model it is.
    pub fn family(self) -> Family {
        match self {
            PretrainKind::Image => Family::Mae,
            PretrainKind::Video => Family::VideoMae,
            PretrainKind::StMae => Family::StMae,
        }
    }
}

/// How a region of a frame is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Crop {
    /// VideoMAE's and MVD's: sides among 1, 0.875, 0.75 and 0.66 of the short side, corners and centre, bilinear.
    MultiScale,
    /// MAE's and ST-MAE's: a share of the area, a ratio of sides from 3/4 to 4/3, anywhere; bicubic, but ST-MAE's bilinear.
    RandomResized,
}

/// What a config written before there was a choice means.
fn multi_scale() -> Crop {
    Crop::MultiScale
}

/// The same.
fn once() -> usize {
    1
}

/// A stage-one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainConfig {
    /// Which teacher.
    pub kind: PretrainKind,
    /// Seed of weights, data order, crops and masks.
    pub seed: u64,
    /// Clips drawn from a video each time it is decoded, each of its own frames. Batches and learning rates count videos.
    #[serde(default = "once")]
    pub repeats: usize,
    /// How a region of a frame is drawn.
    #[serde(default = "multi_scale")]
    pub crop: Crop,
    /// Smallest share that it keeps: of the frame's short side if multi-scale, of its area if random resized.
    #[serde(default = "super::least_scale")]
    pub crop_min: f64,
    /// Mirror half of the clips; random resized crops alone.
    #[serde(default)]
    pub flip: bool,
    /// Videos and clips.
    pub data: DataConfig,
    /// How tokens are masked.
    pub mask: MaskRule,
    /// Optimiser and length.
    pub optim: OptimConfig,
    /// Checkpoints.
    pub save: SaveConfig,
    /// The encoder, which becomes the teacher.
    pub encoder: Vit,
    /// The decoder, which is thrown away.
    pub decoder: Vit,
    /// What `--resume` changed since the run began.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
}

impl PretrainConfig {
    /// All that cannot work, each naming the flag, what was expected and what came.
    ///
    /// # Errors
    /// The list, if there is anything on it.
    pub fn validate(&self) -> Result<(), Problems> {
        let mut check = Check::default();
        self.data.check(&mut check);
        self.mask.check(&self.data, &mut check);
        self.optim.check(&mut check);
        self.save.check(&mut check);
        check.seed(self.seed);
        check.crop_min(self.crop_min);
        check.counts(&[("--repeats", self.repeats)]);
        let unit = match self.kind {
            PretrainKind::Image => 4,
            PretrainKind::Video => 2,
            PretrainKind::StMae => 1,
        };
        check.vit("--size", &self.encoder, unit);
        check.vit("--decoder", &self.decoder, unit);
        let (flip, crop) = (self.flip, self.crop);
        check.need(!flip || crop == Crop::RandomResized, || {
            "--flip: expected --crop random-resized beside it; nothing that crops by several scales is mirrored".into()
        });
        let (frames, tubelet) = (self.data.frames, self.data.tubelet);
        check.need(self.kind != PretrainKind::Image || (frames, tubelet) == (1, 1), || {
            format!("frames, tubelet: an image model takes 1 and 1, got {frames} and {tubelet}")
        });
        check.done()
    }
}
