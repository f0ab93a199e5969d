//! One step of masked video distillation: frozen teachers on the whole clip, the student on its visible tokens, a loss
//! a teacher at the masked ones, gradients, AdamW.

use super::arch::{Grid, Vit};
use super::encoder::Family;
use super::params::Params;
use super::step::{Frozen, LossTerm, Masking, Pixels, Step, finish};
use super::student::{DecoderArch, Student};
use super::teacher::{ImageTeacher, VideoTeacher};
use crate::gpu::{Dtype, Phase, Recorder, Tensor};
use crate::op::loss::{self, LossArgs, LossKind};
use crate::op::patch::{Cut, Pick};
use crate::op::{layer_norm, scalars};
use crate::weights::Result;

/// A teacher and the decoder that follows it.
#[derive(Debug, Clone, Copy)]
pub struct TeacherArch {
    /// The teacher's blocks.
    pub vit: Vit,
    /// Size of the frames it takes and its patch.
    pub size: usize,
    /// Height and width of its patches in pixels.
    pub patch: usize,
    /// The student's decoder for it.
    pub decoder: Vit,
    /// Weight of its loss.
    pub weight: f32,
}

/// Everything that fixes the shapes of a distillation step.
#[derive(Debug, Clone)]
pub struct DistillArch {
    /// The student's encoder.
    pub student: Vit,
    /// How its clips are cut.
    pub grid: Grid,
    /// The image teacher, if its loss has weight.
    pub image: Option<TeacherArch>,
    /// The video teacher, if its loss has weight.
    pub video: Option<TeacherArch>,
    /// Whose model the video teacher is: `VideoMae` or `StMae`.
    pub video_family: Family,
    /// Samples B of a micro-batch.
    pub batch: usize,
    /// Masked tokens M of a sample.
    pub masked: usize,
    /// Distance between prediction and feature.
    pub loss: LossKind,
    /// LayerNorm without affine on the targets.
    pub norm_feature: bool,
    /// Micro-batches of a step.
    pub accumulate: usize,
    /// Stochastic depth of the last block.
    pub drop_path: f64,
    /// How clips are given.
    pub pixels: Pixels,
}

/// Names under which teachers appear in the student's parameters.
const IMAGE: &str = "img";
const VIDEO: &str = "vid";

impl DistillArch {
    /// Records forward and backward of a micro-batch and the update.
    ///
    /// `group` as for [`finish`].
    ///
    /// # Errors
    /// A width that a position table cannot be split for.
    pub fn record(&self, rec: &mut Recorder, group: impl Fn(&str, &[usize]) -> (f32, bool)) -> Result<Step> {
        rec.set_phase(Phase::Micro);
        rec.set_micro_batches(self.accumulate);
        let frames = self.pixels.input(rec, self.batch, &self.grid);
        let masking = Masking::declare(rec, self.batch, self.grid.len(), self.masked);
        let scalars = scalars::declare(rec);

        let mut student = Params::new(rec, "student", true);
        let decoders = [(IMAGE, self.image), (VIDEO, self.video)]
            .into_iter()
            .filter_map(|(name, teacher)| teacher.map(|t| DecoderArch { name, vit: t.decoder, target: t.vit.dim }));
        let decoders: Vec<DecoderArch> = decoders.collect();
        let model = Student::declare(rec, &mut student, &self.student, &self.grid, &decoders, self.drop_path);

        let (mut targets, mut frozen, mut image_frames) = (Vec::new(), Vec::new(), None);
        if let Some(teacher) = self.image {
            let (params, own, target) = self.image_target(rec, &teacher, frames)?;
            image_frames = own;
            frozen.push(Frozen { name: "image_teacher", params });
            targets.push((LossTerm { name: "image", slot: scalars::LOSS, weight: teacher.weight }, target));
        }
        if let Some(teacher) = self.video {
            let mut params = Params::new(rec, "video teacher", false);
            let grid = Grid { patch: teacher.patch, ..self.grid };
            let net = VideoTeacher::declare(rec, &mut params, self.video_family, &teacher.vit, &grid);
            let cut = Cut { colours: self.video_family.colours(), ..grid.cut() };
            let patches = self.pixels.cut(rec, frames, None, cut);
            frozen.push(Frozen { name: "video_teacher", params });
            let target = net.forward(rec, patches)?;
            targets.push((LossTerm { name: "video", slot: scalars::LOSS + 1, weight: teacher.weight }, target));
        }

        let patches = self.pixels.cut(rec, frames, Some(masking.visible), self.grid.cut());
        let output = model.forward(rec, patches, &masking)?;
        let mut outputs = vec![("encoder", output.encoder)];
        let mut losses = Vec::new();
        for (prediction, (term, target)) in output.predictions.into_iter().zip(targets) {
            let target = if self.norm_feature { layer_norm::plain(rec, target) } else { target };
            let scale = 1.0 / self.accumulate as f32;
            let LossTerm { name, slot, weight } = term;
            let args = LossArgs { kind: self.loss, weight, scale, scalars, slot };
            loss::forward(rec, prediction, target, masking.masked, args);
            outputs.push((name, prediction));
            outputs.push((if name == "image" { "image_teacher" } else { "video_teacher" }, target));
            losses.push(term);
        }
        let average = finish(rec, &student, scalars, 0.0, group);
        Ok(Step {
            params: student,
            frozen,
            average,
            frames,
            image_frames,
            masking: Some(masking),
            labels: None,
            drops: output.drops.0,
            scalars,
            losses,
            outputs,
        })
    }

    /// The image teacher on every `tubelet`-th frame, or on frames of its own size.
    fn image_target(
        &self,
        rec: &mut Recorder,
        teacher: &TeacherArch,
        frames: Tensor,
    ) -> Result<(Params, Option<Tensor>, Tensor)> {
        let mut params = Params::new(rec, "image teacher", false);
        let count = self.grid.frames / self.grid.tubelet;
        let grid = Grid { frames: count, size: teacher.size, tubelet: 1, patch: teacher.patch };
        let net = ImageTeacher::declare(rec, &mut params, &teacher.vit, &grid);
        let own = (teacher.size != self.grid.size).then(|| {
            let shape = [self.batch, count, teacher.size, teacher.size, 3];
            rec.input("image teacher frames", &shape, Dtype::U8)
        });
        let pick = if own.is_some() { Pick::ALL } else { Pick::every(self.grid.tubelet) };
        let cut = Cut { pick, ..grid.cut() };
        let patches = self.pixels.cut(rec, own.unwrap_or(frames), None, cut);
        let target = net.forward(rec, patches)?;
        Ok((params, own, target))
    }
}
