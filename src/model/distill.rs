//! One step of masked video distillation: frozen teachers on the whole clip, the student on its visible tokens, a loss
//! a teacher at the masked ones, gradients, AdamW.

use super::arch::{Grid, Vit};
use super::block::DropPath;
use super::params::Params;
use super::student::{DecoderArch, Masking, Student};
use super::teacher::{ImageTeacher, VideoTeacher};
use crate::gpu::{Dtype, Phase, Recorder, Tensor};
use crate::op::loss::{self, LossArgs, LossKind};
use crate::op::patch::{self, Cut};
use crate::op::{adamw, grad_norm, layer_norm, scalars};
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

/// How clips reach the GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pixels {
    /// `frames (B, T, H, W, 3)` in bytes, normalised on the GPU by ImageNet's mean and deviation.
    Bytes,
    /// `frames (B, 3, T, H, W)` in f32, normalised already.
    Normalized,
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

/// Handles of a recorded step.
pub struct DistillStep {
    /// The student's parameters (trainable).
    pub student: Params,
    /// The image teacher's.
    pub image: Option<Params>,
    /// The video teacher's.
    pub video: Option<Params>,
    /// The clips, see `Pixels`.
    pub frames: Tensor,
    /// The image teacher's own frames `(B, T/2, h, w, 3)`, where it takes another size.
    pub image_frames: Option<Tensor>,
    /// Token indices.
    pub masking: Masking,
    /// Stochastic depth scales.
    pub drops: Vec<DropPath>,
    /// Losses, gradient norm and canary, see `op::scalars`.
    pub scalars: Tensor,
    /// Student's encoder output (B, V, C), kept if asked for.
    pub encoder: Tensor,
    /// `(loss slot, prediction (B, M, D), target (B, N, D))` a teacher.
    pub branches: Vec<(usize, Tensor, Tensor)>,
}

/// Names under which teachers appear in the student's parameters.
const IMAGE: &str = "img";
const VIDEO: &str = "vid";

impl DistillArch {
    fn masking(&self, rec: &mut Recorder) -> Masking {
        let (batch, tokens) = (self.batch, self.grid.len());
        Masking {
            visible: rec.input("visible", &[batch, tokens - self.masked], Dtype::U32),
            masked: rec.input("masked", &[batch, self.masked], Dtype::U32),
            order: rec.input("token order", &[batch, tokens], Dtype::U32),
        }
    }

    fn frames(&self, rec: &mut Recorder) -> Tensor {
        let Grid { frames, size, .. } = self.grid;
        match self.pixels {
            Pixels::Bytes => rec.input("frames", &[self.batch, frames, size, size, 3], Dtype::U8),
            Pixels::Normalized => rec.input("frames", &[self.batch, 3, frames, size, size], Dtype::F32),
        }
    }

    fn cut(&self, rec: &mut Recorder, frames: Tensor, index: Option<Tensor>, cut: Cut) -> Tensor {
        match self.pixels {
            Pixels::Bytes => patch::from_bytes(rec, frames, index, cut),
            Pixels::Normalized => patch::from_normalized(rec, frames, index, cut),
        }
    }

    /// Records forward and backward of a micro-batch and the update.
    ///
    /// `decays` says which parameters (name, shape) weight decay applies to.
    ///
    /// # Errors
    /// A width that a position table cannot be split for.
    pub fn record(&self, rec: &mut Recorder, decays: impl Fn(&str, &[usize]) -> bool) -> Result<DistillStep> {
        rec.set_phase(Phase::Micro);
        let frames = self.frames(rec);
        let masking = self.masking(rec);
        let scalars = scalars::declare(rec);
        let Grid { tubelet, patch, .. } = self.grid;

        let mut student = Params::new(rec, "student", true);
        let decoders = [(IMAGE, self.image), (VIDEO, self.video)]
            .into_iter()
            .filter_map(|(name, teacher)| teacher.map(|t| DecoderArch { name, vit: t.decoder, target: t.vit.dim }));
        let decoders: Vec<DecoderArch> = decoders.collect();
        let model = Student::declare(rec, &mut student, &self.student, &self.grid, &decoders, self.drop_path);

        let mut targets = Vec::new();
        let (mut image, mut video, mut image_frames) = (None, None, None);
        if let Some(teacher) = self.image {
            let (params, own, target) = self.image_target(rec, &teacher, frames)?;
            (image, image_frames) = (Some(params), own);
            targets.push((scalars::LOSS_IMAGE, teacher.weight, target));
        }
        if let Some(teacher) = self.video {
            let mut params = Params::new(rec, "video teacher", false);
            let grid = Grid { patch: teacher.patch, ..self.grid };
            let net = VideoTeacher::declare(rec, &mut params, &teacher.vit, &grid);
            let patches = self.cut(rec, frames, None, Cut { tubelet, patch: teacher.patch, frame_step: 1 });
            targets.push((scalars::LOSS_VIDEO, teacher.weight, net.forward(rec, patches)?));
            video = Some(params);
        }

        let patches = self.cut(rec, frames, Some(masking.visible), Cut { tubelet, patch, frame_step: 1 });
        let output = model.forward(rec, patches, &masking)?;
        let mut branches = Vec::new();
        for (prediction, (slot, weight, target)) in output.predictions.into_iter().zip(targets) {
            let target = if self.norm_feature { layer_norm::plain(rec, target) } else { target };
            let scale = 1.0 / self.accumulate as f32;
            let args = LossArgs { kind: self.loss, weight, scale, scalars, slot };
            loss::forward(rec, prediction, target, masking.masked, args);
            branches.push((slot, prediction, target));
        }
        rec.backward();

        rec.set_phase(Phase::Begin);
        rec.clear(scalars);
        for [_, grad, _, _] in rec.chunks(student.set) {
            rec.clear(grad);
        }
        rec.set_phase(Phase::Update);
        grad_norm::record(rec, student.set, scalars);
        adamw::record(rec, student.set, scalars, |name, shape| (1.0, decays(name, shape)));
        rec.keep(scalars);
        let drops = output.drops.0;
        Ok(DistillStep {
            student,
            image,
            video,
            frames,
            image_frames,
            masking,
            drops,
            scalars,
            encoder: output.encoder,
            branches,
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
        let frame_step = if own.is_some() { 1 } else { self.grid.tubelet };
        let cut = Cut { tubelet: 1, patch: teacher.patch, frame_step };
        let patches = self.cut(rec, own.unwrap_or(frames), None, cut);
        let target = net.forward(rec, patches)?;
        Ok((params, own, target))
    }
}
