//! Stage one: teachers from pixels.

use std::sync::Arc;

use super::checkpoint::{Checkpoint, RunDir};
use super::error::Error;
use super::groups;
use super::run;
use super::task::{Job, Outcome, Reporter, Task};
use crate::config::{Crop, PretrainConfig, PretrainKind};
use crate::data::{ClipConfig, View};
use crate::gpu::{Gpu, Recorder};
use crate::model::encoder::Family;
use crate::model::pixels::PixelArch;
use crate::model::step::{Pixels, Step};
use crate::op::layer_norm::EPS;
use crate::ranks::Ranks;

/// The shapes of a config's step.
///
/// # Errors
/// All that is wrong with the config.
pub fn arch(config: &PretrainConfig) -> Result<PixelArch, Error> {
    config.validate()?;
    let (grid, family) = (config.data.grid(), config.kind.family());
    Ok(PixelArch {
        family,
        encoder: config.encoder,
        decoder: config.decoder,
        grid,
        batch: config.optim.batch * config.repeats,
        masked: config.mask.masks(&grid)?.masked(),
        // ST-MAE predicts a frame a tubelet.
        target_frames: if family == Family::StMae { grid.tokens()[0] } else { grid.frames },
        accumulate: config.optim.accumulate,
        pixels: Pixels::Bytes,
        encoder_norm: true,
        decoder_eps: EPS,
    })
}

impl Task for PixelArch {
    fn record(&mut self, rec: &mut Recorder) -> Result<Step, Error> {
        let family = self.family;
        Ok(PixelArch::record(self, rec, groups::pixels(family))?)
    }
}

/// Trains from the start, or from a checkpoint of the same run.
///
/// # Errors
/// Whatever ends the run; the last checkpoint stays whole.
pub fn train(
    gpu: &Arc<Gpu>,
    ranks: &Ranks,
    config: &PretrainConfig,
    dir: &RunDir,
    from: Option<Checkpoint>,
    reporter: &mut dyn Reporter,
) -> Result<Outcome, Error> {
    let mut arch = arch(config)?;
    let PretrainConfig { crop_min, flip, .. } = *config;
    let view = match config.crop {
        Crop::MultiScale => View::Pretraining { crop_min },
        Crop::RandomResized => View::Resized { crop_min, flip, bicubic: arch.family == Family::Mae },
    };
    let job = Job {
        command: if config.kind == PretrainKind::Image { "pretrain image" } else { "pretrain video" },
        data: &config.data,
        optim: &config.optim,
        save: &config.save,
        seed: config.seed,
        clip: ClipConfig {
            repeats: config.repeats,
            ..ClipConfig::new(config.data.frames, config.data.stride, config.data.input_size, view)
        },
        mask: Some(config.mask.masks(&arch.grid)?),
        mix: None,
        classes: None,
        ranks,
    };
    run::train(gpu, &job, &mut arch, dir, from, reporter)
}
