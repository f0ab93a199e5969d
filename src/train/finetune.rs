//! Stage three: a classifier from a student's encoder.

use std::sync::Arc;

use super::checkpoint::{Checkpoint, RunDir};
use super::error::Error;
use super::groups::{self, LayerDecay};
use super::run;
use super::task::{Job, Outcome, Reporter, Task};
use super::transfer::Live;
use crate::config::{FinetuneConfig, Sampling};
use crate::data::mix::MixConfig;
use crate::data::{ClipConfig, Dataset, Training, View};
use crate::eval::{self, Evaluator, Score, Views};
use crate::gpu::{Gpu, Recorder};
use crate::model::classifier::{ClassifierArch, Pooling};
use crate::model::opened::{Given, Opened};
use crate::model::step::{Pixels, Step};
use crate::op::layer_norm::EPS;
use crate::ranks::Ranks;
use crate::weights::{self, LazyTensor, Spec, Tensors};

/// The shapes of a config's step.
///
/// # Errors
/// All that is wrong with the config.
pub fn arch(config: &FinetuneConfig) -> Result<ClassifierArch, Error> {
    config.validate()?;
    Ok(ClassifierArch {
        family: config.model.family(),
        encoder: config.encoder,
        grid: config.data.grid(),
        classes: config.classes,
        batch: config.optim.batch * config.repeats,
        accumulate: config.optim.accumulate,
        drop_path: config.drop_path,
        head_dropout: config.head_dropout,
        init_scale: config.init_scale,
        ema: config.ema,
        eps: EPS,
        block_eps: EPS,
        pooling: Pooling::of(config.model.family()),
        pixels: Pixels::Bytes,
    })
}

/// The views of a config's test.
pub fn views(config: &FinetuneConfig, clips: usize, crops: usize) -> Views {
    Views {
        frames: config.data.frames,
        stride: config.data.stride,
        size: config.data.input_size,
        segments: config.sampling == Sampling::Segment,
        clips,
        crops,
    }
}

struct Finetuning<'a> {
    config: &'a FinetuneConfig,
    arch: ClassifierArch,
    val: Option<(Dataset, Evaluator)>,
    /// How the labels of `val` became the run's, if there is something to say.
    matched: Option<String>,
}

/// The encoder of a student, or of any other model of the same shape and position table, for a classifier.
fn load_encoder(config: &FinetuneConfig, step: &Step) -> Result<Tensors<LazyTensor>, Error> {
    let (file, copies) = config.init_which.of(&config.init)?;
    let opened = Opened::open(&file, &Given { family: Some(config.model.family()), copies, ..Given::default() })?;
    opened.expect_heads(&config.encoder, "--size")?;
    opened.expect_grid(&config.data.grid())?;
    if config.keep_head {
        return Ok(opened.adopt(&step.params.specs, "", &[])?);
    }
    // Otherwise a fine-tuned file's head is of other classes.
    let specs: Vec<Spec> = step.params.specs.iter().filter(|spec| !spec.name.starts_with("head.")).cloned().collect();
    // Nor has every pre-trained model the norm before it.
    let norm = format!("{}.*", Pooling::of(config.model.family()).norm());
    Ok(opened.adopt(&specs, "", &[&norm])?)
}

impl Task for Finetuning<'_> {
    fn record(&mut self, rec: &mut Recorder) -> Result<Step, Error> {
        let layers = LayerDecay { decay: self.config.layer_decay, depth: self.config.encoder.depth };
        Ok(self.arch.record(rec, groups::classifier(layers))?)
    }

    fn start(&mut self, step: &Step, seed: u64) -> Result<Tensors<LazyTensor>, Error> {
        let mut tensors = weights::drawn(&step.params.specs, seed);
        if !self.config.init.as_os_str().is_empty() {
            tensors.extend(load_encoder(self.config, step)?);
        }
        Ok(tensors)
    }

    fn validates(&self) -> bool {
        !self.config.val.as_os_str().is_empty()
    }

    fn facts(&self) -> Vec<String> {
        let init = &self.config.init;
        let from = if init.as_os_str().is_empty() { "scratch".to_owned() } else { init.display().to_string() };
        let what = if self.config.keep_head { "encoder and head" } else { "encoder" };
        self.matched.iter().cloned().chain([format!("{what} from {from}")]).collect()
    }

    fn validate(
        &mut self,
        weights: &Tensors<Live<'_>>,
        progress: &mut dyn FnMut(usize, usize) -> bool,
    ) -> Result<Vec<(&'static str, f64)>, Error> {
        let Some((set, evaluator)) = &mut self.val else { return Ok(Vec::new()) };
        evaluator.set_weights::<_, Error>(weights)?;
        let views = views(self.config, 1, 1);
        let (mut done, all) = (0, set.items.len());
        let mut counted = |clips| {
            done += clips;
            progress(done, all)
        };
        let scores = evaluator.scores(&set.items, &set.index, &views, self.config.data.threads, &mut counted)?;
        let score = Score::of(self.config.classes, &set.items, &scores);
        if score.not_finite > 0 {
            return Err(eval::Error::NotFinite { videos: score.not_finite }.into());
        }
        Ok(vec![("top1", score.top1()), ("top5", score.top5())])
    }
}

/// Trains from the start, or from a checkpoint of the same run.
///
/// # Errors
/// Whatever ends the run; the last checkpoint stays whole.
pub fn train(
    gpu: &Arc<Gpu>,
    ranks: &Ranks,
    config: &FinetuneConfig,
    dir: &RunDir,
    from: Option<Checkpoint>,
    reporter: &mut dyn Reporter,
) -> Result<Outcome, Error> {
    let arch = arch(config)?;
    let (mut val, mut matched) = (None, None);
    if !config.val.as_os_str().is_empty() {
        let mut set = config.data.open(&config.val)?;
        matched = set.match_classes(&config.val, &config.known_classes())?;
        // Rank 0 alone validates.
        val = if ranks.is_first() { Some((set, Evaluator::new(gpu, &arch)?)) } else { None };
    }
    let FinetuneConfig { crop_min, augment, color_jitter: jitter, flip, erasing, sampling, repeats, .. } = *config;
    let segments = sampling == Sampling::Segment;
    let view = View::Training(Training { segments, crop_min, augment, jitter, flip, erasing });
    let data = &config.data;
    let job = Job {
        command: "finetune",
        data,
        optim: &config.optim,
        save: &config.save,
        seed: config.seed,
        clip: ClipConfig { repeats, ..ClipConfig::new(data.frames, data.stride, data.input_size, view) },
        mask: None,
        mix: Some(MixConfig {
            classes: config.classes,
            smoothing: config.smoothing,
            mixup: config.mixup,
            cutmix: config.cutmix,
        }),
        classes: Some(config.known_classes()),
        ranks,
    };
    run::train(gpu, &job, &mut Finetuning { config, arch, val, matched }, dir, from, reporter)
}
