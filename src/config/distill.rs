//! A distillation run's config.

use super::{
    Change, Check, DataConfig, Deserialize, MaskRule, OptimConfig, PathBuf, Problems, SaveConfig, Serialize, Vit, Which,
};
use crate::model::encoder::Family;
use crate::op::loss::LossKind;

/// Whose model a video teacher is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum VideoModel {
    /// VideoMAE.
    #[default]
    Videomae,
    /// ST-MAE.
    StMae,
}

impl VideoModel {
    /// Its family.
    pub fn family(self) -> Family {
        match self {
            VideoModel::Videomae => Family::VideoMae,
            VideoModel::StMae => Family::StMae,
        }
    }
}

/// A frozen teacher.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeacherConfig {
    /// Its weights: a run, safetensors or PyTorch, or hf:owner/name.
    pub weights: PathBuf,
    /// What the file holds, `sha256:` and its digest, once a run has begun with it; empty: not yet looked at.
    #[serde(default)]
    pub digest: String,
    /// Which of its weights.
    #[serde(default)]
    pub which: Which,
    /// Height and width of the frames it takes.
    pub size: usize,
    /// Height and width of its patches.
    pub patch: usize,
    /// Weight of its loss.
    pub weight: f32,
    /// Its blocks.
    pub vit: Vit,
}

/// A distillation run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DistillConfig {
    /// Distance to the teachers' features.
    pub loss: LossKind,
    /// LayerNorm without affine on the features.
    pub norm_feature: bool,
    /// Whose model the video teacher is.
    #[serde(default)]
    pub video_model: VideoModel,
    /// Stochastic depth of the last block.
    pub drop_path: f64,
    /// Seed of weights, data order, crops, masks and stochastic depth.
    pub seed: u64,
    /// Smallest share of the frame's short side that the multi-scale crop keeps.
    #[serde(default = "super::least_scale")]
    pub crop_min: f64,
    /// Videos and clips.
    pub data: DataConfig,
    /// How tokens are masked.
    pub mask: MaskRule,
    /// Optimiser and length.
    pub optim: OptimConfig,
    /// Checkpoints.
    pub save: SaveConfig,
    /// The student's encoder.
    pub student: Vit,
    /// Each of its decoders.
    pub decoder: Vit,
    /// The image teacher, if any.
    pub image_teacher: Option<TeacherConfig>,
    /// The video teacher, if any.
    pub video_teacher: Option<TeacherConfig>,
    /// What `--resume` changed since the run began.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
}

impl DistillConfig {
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
        check.under_1("--drop-path", self.drop_path);
        check.vit("--student", &self.student, 16);
        check.vit("--decoder", &self.decoder, 16);
        let weight = |t: &Option<TeacherConfig>| t.as_ref().map_or(0.0, |t| t.weight);
        check.need(weight(&self.image_teacher) > 0.0 || weight(&self.video_teacher) > 0.0, || {
            "--image-weight, --video-weight: expected one of them over 0, got 0 and 0".into()
        });
        let (size, patch) = (self.data.input_size, self.data.patch);
        let of_video = if self.video_model == VideoModel::StMae { 1 } else { 2 };
        for (name, teacher, unit) in [("image", &self.image_teacher, 4), ("video", &self.video_teacher, of_video)] {
            let Some(t) = teacher else { continue };
            check.vit(&format!("--{name}-teacher"), &t.vit, unit);
            check.multiple(&format!("--{name}-teacher size"), "patch", t.size, t.patch);
            let (grid, own) = (size.checked_div(patch), t.size.checked_div(t.patch));
            check.need(grid == own, || {
                format!("--{name}-teacher: its grid of {own:?} patches a side must be the student's, {grid:?}")
            });
            check.at_least_0(&format!("--{name}-weight"), f64::from(t.weight));
        }
        if let Some(t) = &self.video_teacher {
            check.need(t.size == size && t.patch == patch, || {
                "--video-teacher: takes the student's frames and patches".into()
            });
        }
        check.done()
    }
}
