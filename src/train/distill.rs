//! Distillation runs: loader, engine, schedules, logs and checkpoints joined.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::RngExt;

use super::checkpoint::{self, Checkpoint, RunDir, State};
use super::groups;
use super::log::{RunLog, StepRecord};
use super::schedule::{Schedule, scaled_lr};
use crate::config::{DistillConfig, Problems, TeacherConfig};
use crate::data::{self, Batch, ClipConfig, Dataset, Loader, LoaderConfig, MaskConfig, Position};
use crate::gpu::{self, Arena, Engine, EngineOptions, Gpu, ParamSet, Phase, Plan, Recorder, StepValues};
use crate::model::distill::{DistillArch, DistillStep, Pixels, TeacherArch};
use crate::model::{Grid, Params};
use crate::op::scalars;
use crate::weights::{self, HostTensor, Import, Tensors};

/// Why a run ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] Problems),
    /// The data.
    #[error(transparent)]
    Data(#[from] data::Error),
    /// The GPU.
    #[error(transparent)]
    Gpu(#[from] gpu::Error),
    /// Weights.
    #[error(transparent)]
    Weights(#[from] weights::Error),
    /// The run directory.
    #[error(transparent)]
    Checkpoint(#[from] checkpoint::Error),
    /// The log.
    #[error("cannot write the log in {}: {source}", path.display())]
    Log {
        /// The run directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// NaN or infinity.
    #[error(
        "step {step}: the loss is not finite (image {image}, video {video}, gradient norm {grad_norm}). The last good \
         checkpoint is kept; go on from it with --resume and a lower --lr, or with --clip-grad 1"
    )]
    NotFinite {
        /// The step, from 1.
        step: usize,
        /// Image teacher's loss.
        image: f64,
        /// Video teacher's loss.
        video: f64,
        /// Gradient norm.
        grad_norm: f64,
    },
    /// The step's last dispatch left no trace.
    #[error("step {step}: the GPU did not finish it (canary {canary}); its driver may have cut a long dispatch short")]
    Unfinished {
        /// The step, from 1.
        step: usize,
        /// What was there.
        canary: f64,
    },
}

/// What a run tells while it goes.
pub trait Reporter {
    /// Before the first step: the total of steps, the first one, and facts worth knowing.
    fn start(&mut self, total: usize, first: usize, facts: &[String]);
    /// After each step.
    fn step(&mut self, record: &StepRecord, clips_per_second: f64, waited: Duration);
    /// After each checkpoint.
    fn saved(&mut self, path: &Path);
}

/// How a run ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The last checkpoint.
    pub checkpoint: PathBuf,
    /// The last step's record; none if there was nothing left to do.
    pub last: Option<StepRecord>,
    /// Files that could not be read.
    pub bad_files: Vec<PathBuf>,
}

fn grid(config: &DistillConfig) -> Grid {
    Grid { frames: config.frames, size: config.input_size, tubelet: config.tubelet, patch: config.patch }
}

/// A teacher whose loss has weight.
fn weighty(teacher: &Option<TeacherConfig>) -> Option<&TeacherConfig> {
    teacher.as_ref().filter(|t| t.weight > 0.0)
}

fn mask(config: &DistillConfig) -> Result<MaskConfig, Error> {
    Ok(MaskConfig::new(config.mask, config.mask_ratio, grid(config).tokens())?)
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
    Ok(DistillArch {
        student: config.student,
        grid: grid(config),
        image: weighty(&config.image_teacher).map(teacher),
        video: weighty(&config.video_teacher).map(teacher),
        batch: config.batch,
        masked: mask(config)?.masked(),
        loss: config.loss,
        norm_feature: config.norm_feature,
        accumulate: config.accumulate,
        drop_path: config.drop_path,
        pixels: Pixels::Bytes,
    })
}

/// Steps of the run and of its warm-up.
fn steps(config: &DistillConfig, batches: usize) -> (usize, usize) {
    let pass = (batches / config.accumulate).max(1);
    let total = if config.steps > 0 { config.steps } else { config.epochs * pass };
    let share = config.warmup_epochs / config.epochs.max(1) as f64;
    (total, ((total as f64 * share) as usize).min(total.saturating_sub(1)))
}

struct Run<'a> {
    config: &'a DistillConfig,
    engine: Engine,
    step: DistillStep,
    lr: Schedule,
    decay: Schedule,
    log: RunLog,
    run: &'a RunDir,
    /// Steps submitted whose losses were not yet read.
    pending: VecDeque<StepRecord>,
    last: Option<StepRecord>,
    /// When the session's first step began, and how many it has finished.
    clock: Instant,
    finished: usize,
}

/// Trains from the start, or from a checkpoint of the same run.
///
/// # Errors
/// Whatever ends the run; the last checkpoint stays whole.
pub fn train(
    gpu: &Arc<Gpu>,
    config: &DistillConfig,
    run: &RunDir,
    from: Option<Checkpoint>,
    reporter: &mut dyn Reporter,
) -> Result<Outcome, Error> {
    let arch = arch(config)?;
    let root = (!config.root.as_os_str().is_empty()).then_some(config.root.as_path());
    let set = Arc::new(Dataset::open(&config.data, root)?);
    let state = from.as_ref().map_or(State { step: 0, position: Position::default() }, |c| c.state);
    let loader_config = LoaderConfig {
        clip: ClipConfig {
            frames: config.frames,
            stride: config.stride,
            size: config.input_size,
            teacher_size: weighty(&config.image_teacher).map(|t| t.size).filter(|&s| s != config.input_size),
            teacher_step: config.tubelet,
        },
        mask: mask(config)?,
        batch: config.batch,
        seed: config.seed,
        threads: config.threads,
        max_bad: config.max_bad,
        start: state.position,
    };
    let mut loader = Loader::new(Arc::clone(&set), loader_config);
    let (total, warmup) = steps(config, loader.batches());

    let mut rec = Recorder::new(gpu.caps().clone());
    let step = arch.record(&mut rec, groups::decays)?;
    let mut engine = Engine::new(gpu, Plan::new(rec), &EngineOptions::default())?;
    load_teacher(&engine, step.image.as_ref(), weighty(&config.image_teacher), &["norm.*", "decoder*", "mask_token"])?;
    let extra = ["encoder.norm.*", "decoder.*", "encoder_to_decoder.*", "mask_token"];
    load_teacher(&engine, step.video.as_ref(), weighty(&config.video_teacher), &extra)?;
    load_student(&mut engine, &step, config.seed, from)?;

    let base = scaled_lr(config.lr, config.total_batch());
    let end = scaled_lr(config.min_lr, config.total_batch());
    let facts = [
        format!("{} videos, {} steps of {} clips", set.items.len(), total, config.total_batch()),
        format!("learning rate {base:.3e} ({} x {} / 256), warm-up {warmup} steps", config.lr, config.total_batch()),
        format!("on {}", gpu.describe()),
    ];
    reporter.start(total, state.step, &facts);
    let log = RunLog::open(run.path(), state.step).map_err(|e| log_error(run, e))?;
    let mut run = Run {
        config,
        engine,
        step,
        lr: Schedule { base, end, warmup, total },
        decay: Schedule { base: config.weight_decay, end: config.weight_decay_end, warmup: 0, total },
        log,
        run,
        pending: VecDeque::new(),
        last: None,
        clock: Instant::now(),
        finished: 0,
    };
    let mut position = state.position;
    for index in state.step..total {
        position = run.submit(index, &mut loader, position)?;
        while run.pending.len() > 1 {
            run.finish(reporter, loader.waited())?;
        }
        let done = index + 1;
        if done % config.save_every == 0 || done == total {
            while !run.pending.is_empty() {
                run.finish(reporter, loader.waited())?;
            }
            let path = run.save(State { step: done, position })?;
            reporter.saved(&path);
        }
    }
    let checkpoint = run.run.latest()?;
    Ok(Outcome { checkpoint, last: run.last, bad_files: loader.bad_files() })
}

fn log_error(run: &RunDir, source: std::io::Error) -> Error {
    Error::Log { path: run.path().to_owned(), source }
}

/// Reads a teacher's file; tensors under `extra` patterns may be there and are not needed.
fn load_teacher(
    engine: &Engine,
    params: Option<&Params>,
    config: Option<&TeacherConfig>,
    extra: &[&str],
) -> Result<(), Error> {
    let (Some(params), Some(config)) = (params, config) else { return Ok(()) };
    let rules = Import { allow_unexpected: extra.iter().map(|p| (*p).to_owned()).collect(), ..Import::pretrained() };
    let tensors = weights::adopt(weights::load(&config.weights)?, &params.specs, &rules, &config.weights)?;
    write(engine, params.set, Arena::Weight, &tensors, "")
}

fn write(engine: &Engine, set: ParamSet, arena: Arena, tensors: &Tensors, prefix: &str) -> Result<(), Error> {
    let find = |name: &str| tensors.get(&format!("{prefix}{name}")).map(|t| t.data.as_slice());
    Ok(engine.write_params(set, arena, find)?)
}

fn load_student(engine: &mut Engine, step: &DistillStep, seed: u64, from: Option<Checkpoint>) -> Result<(), Error> {
    let set = step.student.set;
    let Some(from) = from else {
        return write(engine, set, Arena::Weight, &weights::init(&step.student.specs, seed), "");
    };
    let exact = Import::exact();
    let file = Path::new("the checkpoint's weights.safetensors");
    let tensors = weights::adopt(from.weights, &step.student.specs, &exact, file)?;
    write(engine, set, Arena::Weight, &tensors, "")?;
    write(engine, set, Arena::Moment1, &from.optimizer, "exp_avg.")?;
    write(engine, set, Arena::Moment2, &from.optimizer, "exp_avg_sq.")
}

impl Run<'_> {
    /// Submits one optimiser step; gives where the data goes on.
    fn submit(&mut self, index: usize, loader: &mut Loader, position: Position) -> Result<Position, Error> {
        let config = self.config;
        let t = index as i32 + 1;
        let (lr, weight_decay) = (self.lr.at(index), self.decay.at(index));
        let values = StepValues {
            lr: lr as f32,
            weight_decay: weight_decay as f32,
            beta1: config.betas[0] as f32,
            beta2: config.betas[1] as f32,
            eps: config.eps as f32,
            correction1: (1.0 - config.betas[0].powi(t)) as f32,
            correction2: (1.0 - config.betas[1].powi(t)) as f32,
            clip: config.clip_grad as f32,
            step: t as u32,
            ..StepValues::default()
        };
        self.engine.run(Phase::Begin, &values)?;
        let mut next = position;
        for micro in 0..config.accumulate {
            let batch = loader.next_batch()?;
            next = batch.next;
            self.feed(&batch, index, micro)?;
            self.engine.run(Phase::Micro, &values)?;
        }
        self.engine.run(Phase::Update, &values)?;
        self.engine.fetch_later(self.step.scalars)?;
        self.pending.push_back(StepRecord {
            step: index + 1,
            epoch: position.epoch,
            loss: f64::NAN,
            loss_image: None,
            loss_video: None,
            grad_norm: f64::NAN,
            lr,
            weight_decay,
        });
        Ok(next)
    }

    fn feed(&self, batch: &Batch, index: usize, micro: usize) -> Result<(), Error> {
        let (engine, step) = (&self.engine, &self.step);
        engine.write_bytes(step.frames, &batch.frames)?;
        if let Some(frames) = step.image_frames {
            engine.write_bytes(frames, &batch.teacher_frames)?;
        }
        let size = self.config.batch;
        let (v, m) = (batch.visible.len() / size, batch.masked.len() / size);
        let rows = batch.visible.chunks_exact(v).zip(batch.masked.chunks_exact(m));
        let order: Vec<u32> = rows.flat_map(|(v, m)| v.iter().chain(m).copied()).collect();
        engine.write(step.masking.visible, &batch.visible)?;
        engine.write(step.masking.masked, &batch.masked)?;
        engine.write(step.masking.order, &order)?;
        for (layer, drop) in step.drops.iter().enumerate() {
            // Streams of 0, 1, ... belong to the loader.
            let mut rng = data::rng(self.config.seed, index, micro, 1000 + layer as u64);
            let keep = 1.0 / (1.0 - drop.rate) as f32;
            let scales: Vec<f32> = (0..size).map(|_| if rng.random_bool(drop.rate) { 0.0 } else { keep }).collect();
            engine.write(drop.scale, &scales)?;
        }
        Ok(())
    }

    /// Takes in the oldest step's numbers, and ends the run if they are not finite.
    fn finish(&mut self, reporter: &mut dyn Reporter, waited: Duration) -> Result<(), Error> {
        let (Some(mut record), Some(values)) = (self.pending.pop_front(), self.engine.fetch_next()?) else {
            return Ok(());
        };
        let value = |slot: usize| f64::from(values[slot]);
        let of = |teacher: &Option<TeacherConfig>, slot| weighty(teacher).map(|t| (value(slot), f64::from(t.weight)));
        let image = of(&self.config.image_teacher, scalars::LOSS_IMAGE);
        let video = of(&self.config.video_teacher, scalars::LOSS_VIDEO);
        record.loss_image = image.map(|i| i.0);
        record.loss_video = video.map(|v| v.0);
        record.loss = [image, video].into_iter().flatten().map(|(loss, weight)| loss * weight).sum();
        record.grad_norm = value(scalars::GRAD_NORM);
        let step = record.step;
        if !(record.loss.is_finite() && record.grad_norm.is_finite()) {
            let (image, video) = (value(scalars::LOSS_IMAGE), value(scalars::LOSS_VIDEO));
            return Err(Error::NotFinite { step, image, video, grad_norm: record.grad_norm });
        }
        let canary = value(scalars::CANARY);
        if canary != f64::from(step as f32) {
            return Err(Error::Unfinished { step, canary });
        }
        self.log.step(&record).map_err(|e| log_error(self.run, e))?;
        self.finished += 1;
        // Over the whole session: numbers are read late and, at a checkpoint, several at once.
        let rate = (self.finished * self.config.total_batch()) as f64 / self.clock.elapsed().as_secs_f64().max(1e-9);
        reporter.step(&record, rate, waited);
        self.last = Some(record);
        Ok(())
    }

    fn save(&mut self, state: State) -> Result<PathBuf, Error> {
        let mut read = |arena, prefix: &str| -> Result<Tensors, Error> {
            let params = self.engine.read_params(self.step.student.set, arena)?;
            Ok(params
                .into_iter()
                .map(|(name, shape, data)| (format!("{prefix}{name}"), HostTensor { shape, data }))
                .collect())
        };
        let weights = read(Arena::Weight, "")?;
        let mut optimizer: Vec<(String, HostTensor)> = read(Arena::Moment1, "exp_avg.")?.into_iter().collect();
        optimizer.extend(read(Arena::Moment2, "exp_avg_sq.")?);
        let checkpoint = Checkpoint { state, weights, optimizer: optimizer.into_iter().collect() };
        Ok(self.run.save(&checkpoint, self.config.keep_last, self.config.keep_every)?)
    }
}
