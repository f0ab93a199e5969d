//! Stage two: a student from frozen teachers.

use std::sync::Arc;

use super::checkpoint::{Checkpoint, RunDir};
use super::error::Error;
use super::groups;
use super::run;
use super::task::{Job, Outcome, Reporter, Task};
use crate::config::{DistillConfig, TeacherConfig};
use crate::data::{ClipConfig, View};
use crate::gpu::{Arena, Engine, Gpu, Recorder};
use crate::model::distill::{DistillArch, TeacherArch};
use crate::model::encoder::Family;
use crate::model::load::load;
use crate::model::opened::{Given, Opened};
use crate::model::step::{Pixels, Step};
use crate::ranks::Ranks;

/// A teacher whose loss has weight.
fn weighty(teacher: &Option<TeacherConfig>) -> Option<&TeacherConfig> {
    teacher.as_ref().filter(|t| t.weight > 0.0)
}

/// The shapes of a config's step.
///
/// # Errors
/// All that is wrong with the config.
pub fn arch(config: &DistillConfig) -> Result<DistillArch, Error> {
    config.validate()?;
    let teacher = |t: &TeacherConfig| TeacherArch {
        vit: t.vit,
        size: t.size,
        patch: t.patch,
        decoder: config.decoder,
        weight: t.weight,
    };
    let grid = config.data.grid();
    Ok(DistillArch {
        student: config.student,
        grid,
        image: weighty(&config.image_teacher).map(teacher),
        video: weighty(&config.video_teacher).map(teacher),
        video_family: config.video_model.family(),
        batch: config.optim.batch,
        masked: config.mask.masks(&grid)?.masked(),
        loss: config.loss,
        norm_feature: config.norm_feature,
        accumulate: config.optim.accumulate,
        drop_path: config.drop_path,
        pixels: Pixels::Bytes,
    })
}

struct Distillation<'a> {
    config: &'a DistillConfig,
    arch: DistillArch,
}

impl Task for Distillation<'_> {
    fn record(&mut self, rec: &mut Recorder) -> Result<Step, Error> {
        Ok(self.arch.record(rec, groups::student)?)
    }

    fn facts(&self) -> Vec<String> {
        let DistillConfig { image_teacher, video_teacher, .. } = self.config;
        let named = [("image", image_teacher), ("video", video_teacher)];
        let fact = |(name, teacher): (&str, &Option<TeacherConfig>)| match weighty(teacher) {
            Some(t) => format!("{name} teacher {} (weight {})", t.weights.display(), t.weight),
            None => format!("no {name} teacher"),
        };
        named.into_iter().map(fact).collect()
    }

    fn load_frozen(&mut self, engine: &Engine, step: &Step) -> Result<(), Error> {
        for frozen in &step.frozen {
            let (config, family, flag) = match frozen.name {
                "image_teacher" => (&self.config.image_teacher, Family::Mae, "--image-teacher-size"),
                _ => (&self.config.video_teacher, self.arch.video_family, "--video-teacher-size"),
            };
            let Some(config) = config else { continue };
            let (file, copies) = config.which.of(&config.weights)?;
            let opened = Opened::open(&file, &Given { family: Some(family), copies, ..Given::default() })?;
            opened.expect_heads(&config.vit, flag)?;
            opened.expect_grid(&self.arch.grid)?;
            // A decoder or a head may be there and is not needed.
            let tensors = opened.adopt(&frozen.params.specs, family.prefix(), &[])?;
            load::<_, Error>(engine, frozen.params.set, Arena::Weight, &tensors, "")?;
        }
        Ok(())
    }
}

/// Trains from the start, or from a checkpoint of the same run.
///
/// # Errors
/// Whatever ends the run; the last checkpoint stays whole.
pub fn train(
    gpu: &Arc<Gpu>,
    ranks: &Ranks,
    config: &DistillConfig,
    dir: &RunDir,
    from: Option<Checkpoint>,
    reporter: &mut dyn Reporter,
) -> Result<Outcome, Error> {
    let arch = arch(config)?;
    let size = config.data.input_size;
    let view = View::Pretraining { crop_min: config.crop_min };
    let job = Job {
        command: "distill",
        data: &config.data,
        optim: &config.optim,
        save: &config.save,
        seed: config.seed,
        clip: ClipConfig {
            teacher_size: weighty(&config.image_teacher).map(|t| t.size).filter(|&s| s != size),
            teacher_step: config.data.tubelet,
            ..ClipConfig::new(config.data.frames, config.data.stride, size, view)
        },
        mask: Some(config.mask.masks(&arch.grid)?),
        mix: None,
        classes: None,
        ranks,
    };
    run::train(gpu, &job, &mut Distillation { config, arch }, dir, from, reporter)
}
