//! The loop of every training run: loader, engine, schedules, logs and checkpoints joined.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::RngExt;

use super::checkpoint::{Checkpoint, RunDir, State};
use super::error::Error;
use super::log::{self, RunLog, StepRecord, Validation};
use super::schedule::{Schedule, scaled_lr};
use crate::config::{DataConfig, OptimConfig, SaveConfig};
use crate::data::mix::MixConfig;
use crate::data::{self, Batch, ClipConfig, Loader, LoaderConfig, MaskConfig, Position, Shard};
use crate::gpu::{
    Arena, Caps, Engine, EngineOptions, Gpu, NamedValues, ParamSet, Phase, Plan, Recorder, StepValues, check, tune,
};
use crate::model::step::Step;
use crate::op::scalars;
use crate::weights::{self, HostTensor, Import, Tensors};

/// What a run tells while it goes.
pub trait Reporter {
    /// Before the first step: the total of steps, the first one, and facts worth knowing.
    fn start(&mut self, total: usize, first: usize, facts: &[String]);
    /// After each step.
    fn step(&mut self, record: &StepRecord, clips_per_second: f64, waited: Duration);
    /// After each checkpoint.
    fn saved(&mut self, path: &Path);
    /// Something else worth a line.
    fn note(&mut self, text: &str);
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

/// What a run learns from, whatever it learns.
#[derive(Debug, Clone)]
pub struct Job<'a> {
    /// Videos.
    pub data: &'a DataConfig,
    /// Optimiser and length.
    pub optim: &'a OptimConfig,
    /// Checkpoints.
    pub save: &'a SaveConfig,
    /// Seed of everything.
    pub seed: u64,
    /// How clips are drawn.
    pub clip: ClipConfig,
    /// How tokens are masked, if they are.
    pub mask: Option<MaskConfig>,
    /// How labels become soft, if there are any.
    pub mix: Option<MixConfig>,
}

/// What differs from one kind of run to another.
pub trait Task {
    /// Records the step.
    ///
    /// # Errors
    /// What the model cannot be built for.
    fn record(&mut self, rec: &mut Recorder) -> Result<Step, Error>;

    /// Loads frozen models.
    ///
    /// # Errors
    /// Files that cannot be read or do not fit.
    fn load_frozen(&mut self, _engine: &Engine, _step: &Step) -> Result<(), Error> {
        Ok(())
    }

    /// The weights that a new run starts from.
    ///
    /// # Errors
    /// Files that cannot be read or do not fit.
    fn start(&mut self, step: &Step, seed: u64) -> Result<Tensors, Error> {
        Ok(weights::init(&step.params.specs, seed))
    }

    /// Looks at weights after a pass over the set; what it finds is logged under its names. Those of the largest `top1`
    /// are kept.
    ///
    /// # Errors
    /// Whatever ends the run.
    fn validate(&mut self, _weights: &Tensors) -> Result<Vec<(&'static str, f64)>, Error> {
        Ok(Vec::new())
    }

    /// Whether `validate` does anything.
    fn validates(&self) -> bool {
        false
    }
}

struct Run<'a> {
    job: &'a Job<'a>,
    engine: Engine,
    step: Step,
    lr: Schedule,
    decay: Schedule,
    log: RunLog,
    run: &'a RunDir,
    batch: Batch,
    /// Steps submitted whose losses were not yet read.
    pending: VecDeque<StepRecord>,
    last: Option<StepRecord>,
    /// The best score of a validation so far.
    best: f64,
    /// When the session's first step began, and how many it has finished.
    clock: Instant,
    finished: usize,
}

/// Steps of the run and of its warm-up.
fn steps(optim: &OptimConfig, batches: usize) -> (usize, usize) {
    let pass = (batches / optim.accumulate).max(1);
    let total = if optim.steps > 0 { optim.steps } else { optim.epochs * pass };
    let share = optim.warmup_epochs / optim.epochs.max(1) as f64;
    (total, ((total as f64 * share) as usize).min(total.saturating_sub(1)))
}

/// Trains from the start, or from a checkpoint of the same run.
///
/// # Errors
/// Whatever ends the run; the last checkpoint stays whole.
pub fn train(
    gpu: &Arc<Gpu>,
    job: &Job<'_>,
    task: &mut dyn Task,
    run: &RunDir,
    from: Option<Checkpoint>,
    reporter: &mut dyn Reporter,
) -> Result<Outcome, Error> {
    let Job { data, optim, save, seed, .. } = *job;
    let set = Arc::new(data.open(&data.path)?);
    if let Some(mix) = &job.mix {
        set.expect_labels(mix.classes)?;
    }
    let state = from.as_ref().map_or(State { step: 0, position: Position::default() }, |c| c.state);
    let config = LoaderConfig {
        clip: job.clip,
        mask: job.mask,
        batch: optim.batch,
        seed,
        threads: data.threads,
        max_bad: data.max_bad,
        start: state.position,
        shard: Shard::WHOLE,
    };
    let mut loader = Loader::new(Arc::clone(&set), config);
    let (total, warmup) = steps(optim, loader.batches());

    let mut record = |caps: Caps| {
        let mut rec = Recorder::new(caps);
        rec.set_recompute(optim.recompute);
        let step = task.record(&mut rec)?;
        Ok::<_, Error>((rec, step))
    };
    let (mut rec, mut step) = record(gpu.caps().clone())?;
    if gpu.autotunes() {
        let mut told = |_: &str, _: &_, done, of| {
            if done == 1 {
                reporter.note(&format!(
                    "timing the kernels of {of} operations, once for this adapter; --no-autotune spares it"
                ));
            }
        };
        if let Some(caps) = tune(gpu, &rec, &mut told)? {
            (rec, step) = record(caps)?;
        }
    } else if !gpu.caps().software
        && let Some(caps) = check(gpu, &rec)?
    {
        (rec, step) = record(caps)?;
    }
    let mut engine = Engine::new(gpu, Plan::new(rec), &EngineOptions::default())?;
    task.load_frozen(&engine, &step)?;
    match from {
        None => {
            let tensors = task.start(&step, seed)?;
            write(&engine, step.params.set, Arena::Weight, &tensors, "")?;
            write_average(&engine, &step, &tensors)?;
        }
        Some(from) => restore(&mut engine, &step, from)?,
    }

    let base = scaled_lr(optim.lr, optim.total_batch());
    let end = scaled_lr(optim.min_lr, optim.total_batch());
    let facts = [
        format!("{} videos, {} steps of {} clips", set.items.len(), total, optim.total_batch()),
        format!("learning rate {base:.3e} ({} x {} / 256), warm-up {warmup} steps", optim.lr, optim.total_batch()),
        format!("on {}", gpu.describe()),
    ];
    reporter.start(total, state.step, &facts);
    let log = RunLog::open(run.path(), state.step).map_err(|e| log_error(run, e))?;
    let best = best(run).map_err(|e| log_error(run, e))?;
    let mut run = Run {
        job,
        engine,
        step,
        lr: Schedule { base, end, warmup, total },
        decay: Schedule { base: optim.weight_decay, end: optim.weight_decay_end, warmup: 0, total },
        log,
        run,
        batch: Batch::default(),
        pending: VecDeque::new(),
        last: None,
        best,
        clock: Instant::now(),
        finished: 0,
    };
    let mut position = state.position;
    for index in state.step..total {
        let before = position;
        position = run.submit(index, &mut loader, position)?;
        while run.pending.len() > 1 {
            run.finish(reporter, loader.waited())?;
        }
        let done = index + 1;
        if position.epoch > before.epoch || done == total {
            run.validate(task, done, reporter)?;
        }
        if done % save.every == 0 || done == total {
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

/// What a validation is judged by.
const SCORE: &str = "top1";
/// Before the names of what was found of the averaged weights.
const AVERAGED: &str = "ema_";

/// The best score of the run's validations.
fn best(run: &RunDir) -> std::io::Result<f64> {
    let all: Vec<Validation> = log::read(&run.path().join("validation.jsonl"))?;
    let scores = all.iter().flat_map(|v| &v.values).filter(|(name, _)| name.trim_start_matches(AVERAGED) == SCORE);
    Ok(scores.map(|(_, score)| *score).fold(f64::NEG_INFINITY, f64::max))
}

fn log_error(run: &RunDir, source: std::io::Error) -> Error {
    Error::Log { path: run.path().to_owned(), source }
}

/// Writes tensors named `{prefix}{name}` into an arena of a parameter set.
pub(super) fn write(
    engine: &Engine,
    set: ParamSet,
    arena: Arena,
    tensors: &Tensors,
    prefix: &str,
) -> Result<(), Error> {
    let find = |name: &str| tensors.get(&format!("{prefix}{name}")).map(|t| t.data.as_slice());
    Ok(engine.write_params(set, arena, find)?)
}

/// Writes the averages of the weights, if they are kept.
fn write_average(engine: &Engine, step: &Step, tensors: &Tensors) -> Result<(), Error> {
    let Some(average) = &step.average else { return Ok(()) };
    Ok(average.write(engine, |name| tensors.get(name).map(|t| t.data.as_slice()))?)
}

fn restore(engine: &mut Engine, step: &Step, from: Checkpoint) -> Result<(), Error> {
    let set = step.params.set;
    let adopt = |tensors, file: &str| {
        weights::adopt(tensors, &step.params.specs, &Import::exact(), &Path::new("the checkpoint").join(file))
    };
    write(engine, set, Arena::Weight, &adopt(from.weights, "weights.safetensors")?, "")?;
    if step.average.is_some() {
        write_average(engine, step, &adopt(from.ema.unwrap_or_default(), "ema.safetensors")?)?;
    }
    write(engine, set, Arena::Moment1, &from.optimizer, "exp_avg.")?;
    write(engine, set, Arena::Moment2, &from.optimizer, "exp_avg_sq.")
}

fn named(params: Vec<NamedValues>, prefix: &str) -> Tensors {
    params.into_iter().map(|(name, shape, data)| (format!("{prefix}{name}"), HostTensor { shape, data })).collect()
}

impl Run<'_> {
    /// Submits one optimiser step; gives where the data goes on.
    fn submit(&mut self, index: usize, loader: &mut Loader, position: Position) -> Result<Position, Error> {
        let optim = self.job.optim;
        let t = index as i32 + 1;
        let (lr, weight_decay) = (self.lr.at(index), self.decay.at(index));
        let values = StepValues {
            lr: lr as f32,
            weight_decay: weight_decay as f32,
            beta1: optim.betas[0] as f32,
            beta2: optim.betas[1] as f32,
            eps: optim.eps as f32,
            correction1: (1.0 - optim.betas[0].powi(t)) as f32,
            correction2: (1.0 - optim.betas[1].powi(t)) as f32,
            clip: optim.clip_grad as f32,
            step: t as u32,
            ..StepValues::default()
        };
        self.engine.run(Phase::Begin, &values)?;
        let mut next = position;
        for micro in 0..optim.accumulate {
            loader.next_batch(&mut self.batch)?;
            next = self.batch.next;
            self.feed(index, micro)?;
            self.engine.run(Phase::Micro, &values)?;
        }
        self.engine.run(Phase::Update, &values)?;
        self.engine.fetch_later(self.step.scalars)?;
        self.pending.push_back(StepRecord {
            step: index + 1,
            epoch: position.epoch,
            loss: f64::NAN,
            losses: BTreeMap::new(),
            grad_norm: f64::NAN,
            lr,
            weight_decay,
        });
        Ok(next)
    }

    fn feed(&mut self, index: usize, micro: usize) -> Result<(), Error> {
        let Run { engine, step, batch, job, .. } = self;
        // Streams of 0, 1, ... belong to the loader.
        let stream = |purpose| data::rng(job.seed, index, micro, purpose);
        if let (Some(labels), Some(mix)) = (step.labels, &job.mix) {
            let soft = mix.apply(&mut batch.frames, &batch.labels, job.clip.size, &mut stream(999));
            engine.write(labels, &soft)?;
        }
        engine.write_bytes(step.frames, &batch.frames)?;
        if let Some(frames) = step.image_frames {
            engine.write_bytes(frames, &batch.teacher_frames)?;
        }
        if let Some(masking) = step.masking {
            masking.write(engine, &batch.visible, &batch.masked)?;
        }
        for (layer, drop) in step.drops.iter().enumerate() {
            let mut rng = stream(1000 + layer as u64);
            let keep = 1.0 / (1.0 - drop.rate) as f32;
            let draw = |_| if rng.random_bool(drop.rate) { 0.0 } else { keep };
            let scales: Vec<f32> = (0..engine.elements(drop.scale)).map(draw).collect();
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
        record.losses = self.step.losses.iter().map(|t| (format!("loss_{}", t.name), value(t.slot))).collect();
        record.loss = self.step.losses.iter().map(|t| value(t.slot) * f64::from(t.weight)).sum();
        record.grad_norm = value(scalars::GRAD_NORM);
        let step = record.step;
        if !(record.loss.is_finite() && record.grad_norm.is_finite()) {
            let losses = self.step.losses.iter().map(|t| format!("{} {}", t.name, value(t.slot)));
            let losses = losses.collect::<Vec<_>>().join(", ");
            return Err(Error::NotFinite { step, losses, grad_norm: record.grad_norm });
        }
        let canary = value(scalars::CANARY);
        if canary != f64::from(step as f32) {
            return Err(Error::Unfinished { step, canary });
        }
        self.log.step(&record).map_err(|e| log_error(self.run, e))?;
        self.finished += 1;
        // Over the whole session: numbers are read late and, at a checkpoint, several at once.
        let clips = (self.finished * self.job.optim.total_batch()) as f64;
        reporter.step(&record, clips / self.clock.elapsed().as_secs_f64().max(1e-9), waited);
        self.last = Some(record);
        Ok(())
    }

    fn read(&mut self, arena: Arena, prefix: &str) -> Result<Tensors, Error> {
        Ok(named(self.engine.read_params(self.step.params.set, arena)?, prefix))
    }

    fn read_average(&mut self) -> Result<Option<Tensors>, Error> {
        let averages = self.step.average.as_ref().map(|average| average.read(&mut self.engine)).transpose()?;
        Ok(averages.map(|averages| named(averages, "")))
    }

    /// Has the weights and their averages looked at, logs what is found and keeps the best.
    fn validate(&mut self, task: &mut dyn Task, step: usize, reporter: &mut dyn Reporter) -> Result<(), Error> {
        if !task.validates() {
            return Ok(());
        }
        let mut models = vec![("", self.read(Arena::Weight, "")?)];
        models.extend(self.read_average()?.map(|average| (AVERAGED, average)));
        let (mut values, mut winner) = (BTreeMap::new(), None);
        for (prefix, weights) in &models {
            for (name, value) in task.validate(weights)? {
                values.insert(format!("{prefix}{name}"), value);
                if name == SCORE && value > self.best {
                    (self.best, winner) = (value, Some(weights));
                }
            }
        }
        let text = values.iter().map(|(name, value)| format!("{name} {value:.4}")).collect::<Vec<_>>().join(", ");
        self.log.validation(&Validation { step, values }).map_err(|e| log_error(self.run, e))?;
        if let Some(weights) = winner {
            self.run.save_best(weights, step, self.best)?;
        }
        reporter.note(&format!("step {step}: {text}"));
        Ok(())
    }

    fn save(&mut self, state: State) -> Result<PathBuf, Error> {
        let (weights, ema) = (self.read(Arena::Weight, "")?, self.read_average()?);
        let mut optimizer: Vec<(String, HostTensor)> = self.read(Arena::Moment1, "exp_avg.")?.into_iter().collect();
        optimizer.extend(self.read(Arena::Moment2, "exp_avg_sq.")?);
        let checkpoint = Checkpoint { state, weights, optimizer: optimizer.into_iter().collect(), ema };
        let SaveConfig { keep_last, keep_every, .. } = *self.job.save;
        Ok(self.run.save(&checkpoint, keep_last, keep_every)?)
    }
}
