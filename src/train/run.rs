//! The loop of every training run: loader, engine, schedules, logs and checkpoints joined.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::checkpoint::{self, Checkpoint, RunDir, State};
use super::error::Error;
use super::feed::Feed;
use super::log::{self, RunLog, StepRecord, Validation};
use super::place::{Place, place};
use super::recorded::recorded;
use super::schedule::{Length, Schedule, scaled_lr};
use super::share::Share;
use super::summing::Summing;
use super::task::{Job, Outcome, Reporter, Task};
use super::{together, transfer};
use crate::config::{OptimConfig, SaveConfig};
use crate::data::{self, Batch, Loader, LoaderConfig};
use crate::eval;
use crate::gpu::{Engine, EngineOptions, Gpu, Phase, Plan, StepValues};
use crate::model::step::Step;
use crate::op::scalars;

struct Run<'a> {
    job: &'a Job<'a>,
    engine: Engine,
    step: Step,
    loader: Loader,
    lr: Schedule,
    decay: Schedule,
    /// Rank 0's alone.
    log: Option<RunLog>,
    dir: &'a RunDir,
    /// This rank's part of each step.
    share: Share,
    /// What sums gradients where more than this rank's GPU adds them up.
    summing: Option<Summing>,
    batch: Batch,
    /// Where it stands once all steps submitted are done.
    state: State,
    /// The step after which it ends.
    end: usize,
    /// Steps submitted whose losses were not yet read.
    pending: VecDeque<StepRecord>,
    last: Option<StepRecord>,
    /// The best score of a validation so far.
    best: f64,
    /// When the session's first step began, and how many it has finished.
    clock: Instant,
    finished: usize,
    /// When the last checkpoint was written, or the session began.
    saved: Instant,
}

/// Trains from the start, or from a checkpoint of the same run. The run directory is made when all that can fail before
/// the first step has been looked at, and taken back if no step was finished.
///
/// # Errors
/// Whatever ends the run; the last checkpoint stays whole.
pub fn train(
    gpu: &Arc<Gpu>,
    job: &Job<'_>,
    task: &mut dyn Task,
    dir: &RunDir,
    from: Option<Checkpoint>,
    reporter: &mut dyn Reporter,
) -> Result<Outcome, Error> {
    let mut finished = 0;
    let outcome = begin(gpu, job, task, dir, from, reporter).and_then(|mut run| {
        let outcome = run.go(task, reporter);
        finished = run.finished;
        outcome
    });
    if outcome.is_err() && finished == 0 {
        dir.withdraw();
    }
    outcome
}

/// What is worth knowing of a run's length and rates.
fn facts(job: &Job<'_>, videos: usize, end: usize, lr: &Schedule) -> Vec<String> {
    let (Schedule { base, warmup, .. }, optim, ranks) = (*lr, job.optim, job.ranks.size());
    let shares = match ranks {
        1 => String::new(),
        _ => format!(": {ranks} ranks x {} x {}", optim.accumulate / ranks, optim.batch),
    };
    vec![
        format!("{videos} videos, {end} steps of {}{shares}", optim.of_step(job.clip.repeats)),
        format!("learning rate {base:.3e} ({} x {} / 256), warm-up {warmup} steps", optim.lr, optim.total_batch()),
    ]
}

/// The command that goes on with the run.
fn resume(job: &Job<'_>, dir: &RunDir) -> String {
    format!("mvd {} --resume {}", job.command, dir.path().display())
}

/// Does all that comes before the first step.
fn begin<'a>(
    gpu: &Arc<Gpu>,
    job: &'a Job<'a>,
    task: &mut dyn Task,
    dir: &'a RunDir,
    from: Option<Checkpoint>,
    reporter: &mut dyn Reporter,
) -> Result<Run<'a>, Error> {
    let Job { data, optim, seed, ranks, .. } = *job;
    let share = Share::of(optim, ranks.rank(), ranks.size())?;
    let mut set = data.open(&data.path)?;
    let matched = job.classes.map(|known| set.match_classes(&data.path, &known)).transpose()?.flatten();
    let set = Arc::new(set);
    let before = from.as_ref().map_or_else(State::default, |from| from.state.clone());
    let feed = Feed::of(&set.items, optim, job.clip.repeats);
    let Place { position, shift, end, note } = place(&before, &feed, optim)?;
    let state = State { position, shift, feed: Some(feed), ..before };
    let (rec, step) = recorded(gpu, job, task, reporter)?;
    let engine = Engine::new(gpu, Plan::new(rec), &EngineOptions::default())?;
    task.load_frozen(&engine, &step)?;
    match from {
        None => transfer::start(&engine, &step, &task.start(&step, seed)?)?,
        Some(from) => transfer::restore(&engine, &step, from)?,
    }
    together::same_start(ranks, &engine, &step, &state)?;
    let summing = if share.summed { Some(Summing::new(&engine, step.scalars)?) } else { None };
    dir.establish()?;
    // Without a checkpoint it begins again.
    ranks.set_go_on(resume(job, dir));
    let log = if ranks.is_first() { Some(RunLog::open(dir.path(), state.step, state.due)) } else { None };
    let log = log.transpose().map_err(|e| log_error(dir, e))?;

    let Length { total, warmup, .. } = Length::of(optim, set.items.len());
    let [base, least] = [optim.lr, optim.min_lr].map(|lr| scaled_lr(lr, optim.total_batch()));
    let lr = Schedule { base, end: least, warmup, total };
    let mut facts = facts(job, set.items.len(), end, &lr);
    facts.extend(matched);
    facts.extend(task.facts());
    facts.push(format!("on {}", gpu.describe()));
    if ranks.size() > 1 {
        facts.push(ranks.named());
        facts.push(format!("should one of them fail, go on with as many and `{}`", resume(job, dir)));
    }
    reporter.start(end, state.step, &facts);
    note.iter().for_each(|note| reporter.note(note));
    let config = LoaderConfig {
        clip: job.clip,
        mask: job.mask,
        batch: optim.batch,
        seed,
        threads: data.threads,
        max_bad: data.max_bad,
        start: position,
        shard: share.shard(),
    };
    let now = Instant::now();
    Ok(Run {
        job,
        engine,
        step,
        loader: Loader::new(set, config),
        lr,
        decay: Schedule { base: optim.weight_decay, end: optim.weight_decay_end, warmup: 0, total },
        log,
        dir,
        share,
        summing,
        batch: Batch::default(),
        end,
        pending: VecDeque::new(),
        last: None,
        best: best(dir).map_err(|e| log_error(dir, e))?,
        clock: now,
        finished: 0,
        saved: now,
        state,
    })
}

/// What a validation is judged by.
const SCORE: &str = "top1";
/// Before the names of what was found of the averaged weights.
const AVERAGED: &str = "ema_";

/// The best score of the run's validations.
fn best(run: &RunDir) -> std::io::Result<f64> {
    let all: Vec<Validation> = log::read(&run.path().join("validation.jsonl"))?;
    let scores = all.iter().flat_map(|v| &v.values).filter(|(name, _)| name.trim_start_matches(AVERAGED) == SCORE);
    Ok(scores.map(|(_, score)| *score).filter(|score| score.is_finite()).fold(f64::NEG_INFINITY, f64::max))
}

fn log_error(run: &RunDir, source: std::io::Error) -> Error {
    Error::Log { path: run.path().to_owned(), source }
}

impl Run<'_> {
    /// Trains to the end, or until told to stop.
    fn go(&mut self, task: &mut dyn Task, reporter: &mut dyn Reporter) -> Result<Outcome, Error> {
        let SaveConfig { every, minutes, .. } = *self.job.save;
        // Whether there is something to save.
        let mut dirty = self.state.due;
        if self.state.due {
            self.state.due = !self.validated(task, reporter)?;
        }
        loop {
            let step = self.state.step;
            let stop = reporter.stop().filter(|_| step < self.end || self.state.due);
            let timely = minutes > 0.0 && self.saved.elapsed().as_secs_f64() >= 60.0 * minutes;
            let (stop, timely) = together::vote(self.job.ranks, stop, timely)?;
            let save = step.is_multiple_of(every) || step == self.end || timely || stop.is_some();
            if save && dirty {
                self.save(reporter)?;
            }
            if let Some(signal) = stop {
                let go_on = self.dir.newest()?.map(|_| resume(self.job, self.dir));
                return Err(Error::Stopped { signal, step, go_on });
            }
            if step >= self.end {
                break;
            }
            let before = self.state.position.epoch;
            self.submit()?;
            dirty = true;
            while self.pending.len() > 1 {
                self.finish(reporter)?;
            }
            if task.validates() && (self.state.position.epoch > before || self.state.step == self.end) {
                self.state.due = !self.validated(task, reporter)?;
            }
        }
        let checkpoint = self.dir.latest()?;
        Ok(Outcome { checkpoint, last: self.last.take(), bad_files: self.loader.bad_files() })
    }

    /// Submits one optimiser step.
    fn submit(&mut self) -> Result<(), Error> {
        let (optim, index) = (self.job.optim, self.state.step);
        let t = index as i32 + 1;
        let scheduled = (index as i64 + self.state.shift).max(0) as usize;
        let (lr, weight_decay) = (self.lr.at(scheduled), self.decay.at(scheduled));
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
        let epoch = self.state.position.epoch;
        self.micros(index, &values)?;
        self.state.position = self.state.position.after(optim.accumulate, self.loader.batches());
        self.engine.run(Phase::Update, &values)?;
        self.engine.fetch_later(self.step.scalars)?;
        self.state.step = index + 1;
        self.pending.push_back(StepRecord {
            step: index + 1,
            epoch,
            loss: f64::NAN,
            losses: BTreeMap::new(),
            grad_norm: f64::NAN,
            lr,
            weight_decay,
        });
        Ok(())
    }

    /// Submits this rank's micro-batches of a step; the gradients on the GPU are then those of the whole step.
    fn micros(&mut self, index: usize, values: &StepValues) -> Result<(), Error> {
        let Share { first, groups, micros, .. } = self.share;
        for group in 0..groups {
            self.engine.run(Phase::Begin, values)?;
            for micro in 0..micros {
                self.loader.next_batch(&mut self.batch)?;
                self.feed(index, first + group * micros + micro)?;
                match &mut self.summing {
                    Some(summing) if micro + 1 == micros => summing.run(&mut self.engine, values)?,
                    _ => self.engine.run(Phase::Micro, values)?,
                }
            }
            match &mut self.summing {
                Some(summing) if group + 1 == groups => summing.sum(&self.engine, self.job.ranks)?,
                Some(summing) => summing.keep(&self.engine)?,
                None => {}
            }
        }
        Ok(())
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
            let scales = drop.draw(engine.elements(drop.scale), &mut stream(1000 + layer as u64));
            engine.write(drop.scale, &scales)?;
        }
        Ok(())
    }

    /// Takes in the oldest step's numbers, and ends the run if they are not finite.
    fn finish(&mut self, reporter: &mut dyn Reporter) -> Result<(), Error> {
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
            return Err(
                self.not_finite(step, format!("the loss is not finite ({losses}, gradient norm {})", record.grad_norm))
            );
        }
        let canary = value(scalars::CANARY);
        if canary != f64::from(step as f32) {
            return Err(Error::Unfinished { step, canary });
        }
        if let Some(log) = &mut self.log {
            log.step(&record).map_err(|e| log_error(self.dir, e))?;
        }
        self.finished += 1;
        // Over the whole session: numbers are read late and, at a checkpoint, several at once.
        let clips = (self.finished * self.job.optim.total_batch() * self.job.clip.repeats) as f64;
        let seconds = self.clock.elapsed().as_secs_f64().max(1e-9);
        if self.job.ranks.size() > 1 {
            reporter.exchanged(self.job.ranks.spent().as_secs_f64() / seconds);
        }
        reporter.step(&record, clips / seconds, self.loader.waited());
        self.last = Some(record);
        Ok(())
    }

    /// The end of a run by NaN or infinity, with what can be done.
    fn not_finite(&self, step: usize, what: String) -> Error {
        let newest = self.dir.newest().ok().flatten().and_then(|path| Some(path.file_name()?.to_owned()));
        let OptimConfig { lr, clip_grad, .. } = *self.job.optim;
        let mut advice = format!("a lower --lr (it is {lr:?})");
        if clip_grad == 0.0 {
            advice += " or --clip-grad 1";
        }
        let advice = match newest {
            Some(newest) => {
                let newest = newest.display();
                format!(
                    "The checkpoint {newest} is kept: go on from it with `{}` and {advice}",
                    resume(self.job, self.dir)
                )
            }
            None => format!("No checkpoint was written before: begin again with {advice}"),
        };
        Error::NotFinite { step, what, advice }
    }

    /// Waits for all steps that were submitted.
    fn drain(&mut self, reporter: &mut dyn Reporter) -> Result<(), Error> {
        while !self.pending.is_empty() {
            self.finish(reporter)?;
        }
        Ok(())
    }

    /// The end of a run by an error, if it was one of numbers with what can be done.
    fn ended(&self, error: Error) -> Error {
        match &error {
            Error::Eval(eval::Error::NotFinite { .. }) | Error::Checkpoint(checkpoint::Error::NotFinite { .. }) => {
                self.not_finite(self.state.step, error.to_string())
            }
            _ => error,
        }
    }

    /// The same by rank 0, while the others wait.
    fn validated(&mut self, task: &mut dyn Task, reporter: &mut dyn Reporter) -> Result<bool, Error> {
        self.drain(reporter)?;
        let found = !self.job.ranks.is_first() || self.validate(task, reporter)?;
        together::told(self.job.ranks, found)
    }

    /// Has the weights and their averages looked at, logs what is found and keeps the best; says whether it came to the
    /// end, and was not told to stop.
    fn validate(&mut self, task: &mut dyn Task, reporter: &mut dyn Reporter) -> Result<bool, Error> {
        let step = self.state.step;
        let mut models = vec![("", transfer::weights(&self.engine, &self.step))];
        models.extend(transfer::averages(&self.engine, &self.step)?.map(|averages| (AVERAGED, averages)));
        let (mut values, mut winner) = (BTreeMap::new(), None);
        let count = models.len();
        for (model, (prefix, weights)) in models.iter().enumerate() {
            let mut progress = |done, all| {
                reporter.validating(model * all + done, count * all);
                reporter.stop().is_none()
            };
            let found = match task.validate(weights, &mut progress) {
                Err(Error::Eval(eval::Error::Stopped)) => return Ok(false),
                found => found.map_err(|error| self.ended(error))?,
            };
            for (name, value) in found {
                values.insert(format!("{prefix}{name}"), value);
                if name == SCORE && value.is_finite() && value > self.best {
                    (self.best, winner) = (value, Some(weights));
                }
            }
        }
        let text = values.iter().map(|(name, value)| format!("{name} {value:.4}")).collect::<Vec<_>>().join(", ");
        if let Some(log) = &mut self.log {
            log.validation(&Validation { step, values }).map_err(|e| log_error(self.dir, e))?;
        }
        if let Some(weights) = winner {
            self.dir.save_best(weights, step, self.best).map_err(|error| self.ended(error.into()))?;
        }
        reporter.note(&format!("step {step}: {text}"));
        Ok(true)
    }

    /// Writes a checkpoint, by rank 0; the others wait for it, so that all find the same one.
    fn save(&mut self, reporter: &mut dyn Reporter) -> Result<(), Error> {
        self.drain(reporter)?;
        let advice =
            "the newest checkpoint was written before; go on from it with the same adapter and driver on all ranks";
        together::same_weights(self.job.ranks, &self.engine, &self.step, advice).map_err(|e| self.ended(e))?;
        if self.job.ranks.is_first() {
            self.write(reporter)?;
        }
        self.job.ranks.barrier()?;
        self.saved = Instant::now();
        Ok(())
    }

    fn write(&mut self, reporter: &mut dyn Reporter) -> Result<(), Error> {
        let clock = Instant::now();
        // A checkpoint is never ahead of the logs.
        if let Some(log) = &mut self.log {
            log.sync().map_err(|e| log_error(self.dir, e))?;
        }
        let Run { engine, step, .. } = &*self;
        let checkpoint = Checkpoint {
            state: self.state.clone(),
            weights: transfer::weights(engine, step),
            optimizer: transfer::moments(engine, step),
            ema: transfer::averages(engine, step)?,
        };
        let SaveConfig { keep_last, keep_every, .. } = *self.job.save;
        let saved = self.dir.save(&checkpoint, keep_last, keep_every);
        let path = saved.map_err(|error| self.ended(error.into()))?;
        reporter.saved(&path, clock.elapsed());
        Ok(())
    }
}
