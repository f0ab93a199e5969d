//! One cell: what it trains, and what is measured of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::seq::SliceRandom;
use rayon::prelude::*;

use super::plan::{Cell, Change, Control, Experiment, Plan, Teachers, Work, teacher_name};
use super::score::{Found, Score};
use crate::config::{DistillConfig, EncoderKind, PretrainConfig, PretrainKind};
use crate::data::Items;
use crate::eval::look::{middle_clip, off_diagonal, similarity};
use crate::eval::probe::{Features, linear, linear_right, nearest_neighbours};
use crate::gpu::{self, Gpu, Recorder};
use crate::study::configs::{Configs, Label};
use crate::study::probes::STRIDE;
use crate::study::{self, Error, Progress, io, write_set};
use crate::train::checkpoint::{RunDir, Which};
use crate::train::log::{self, StepRecord};
use crate::train::{Error as RunError, distill, groups, pretrain};
use crate::{data, eval, weights};

/// Held-out clips that similarities are averaged over.
const LOOKED_AT: usize = 32;
/// Neighbours that vote.
const NEIGHBOURS: usize = 20;

/// GFLOP of a step of a pixel model.
pub(super) fn gflop_of_pixels(gpu: &Gpu, config: &PretrainConfig) -> Result<f64, Error> {
    let mut rec = Recorder::new(gpu.caps().clone());
    let recorded = pretrain::arch(config)?.record(&mut rec, groups::pixels(config.kind.family()));
    recorded.map_err(RunError::from)?;
    Ok(gpu::Plan::new(rec).summary().flops / 1e9)
}

/// GFLOP of a student's step, its teachers' forward passes among them.
pub(super) fn gflop_of_student(gpu: &Gpu, config: &DistillConfig) -> Result<f64, Error> {
    let mut rec = Recorder::new(gpu.caps().clone());
    distill::arch(config)?.record(&mut rec, groups::student).map_err(RunError::from)?;
    Ok(gpu::Plan::new(rec).summary().flops / 1e9)
}

/// The first `few` rows of each class.
fn few_of_each(all: &Features, few: usize) -> Features {
    let mut seen = vec![0; all.labels.iter().max().map_or(0, |most| most + 1)];
    let kept = all.rows.iter().zip(&all.labels).filter(|(_, label)| {
        seen[**label] += 1;
        seen[**label] <= few
    });
    let (rows, labels) = kept.map(|(row, label)| (row.clone(), *label)).unzip();
    Features { rows, labels }
}

/// All probes of one label.
fn score(train: &Features, test: &Features, few: usize) -> Score {
    let right = linear_right(train, test);
    let count = right.iter().filter(|right| **right).count();
    Score {
        linear: 100.0 * count as f64 / right.len().max(1) as f64,
        few: linear(&few_of_each(train, few), test),
        neighbours: nearest_neighbours(train, test, NEIGHBOURS),
        right: right.into_iter().map(|right| if right { '1' } else { '0' }).collect(),
    }
}

/// Grey frames of `size` x `size`, each 2 x 2 averaged into one.
fn halved(frames: &[u8], size: usize) -> Vec<f64> {
    let half = size / 2;
    let grey = |frame: usize, y: usize, x: usize| f64::from(frames[3 * ((frame * size + y) * size + x)]);
    let count = frames.len() / (3 * size * size);
    let one = |i: usize| {
        let (frame, y, x) = (i / (half * half), i / half % half * 2, i % half * 2);
        (grey(frame, y, x) + grey(frame, y, x + 1) + grey(frame, y + 1, x) + grey(frame, y + 1, x + 1)) / 4.0
    };
    (0..count * half * half).map(one).collect()
}

/// What a classifier is given of a clip in an encoder's place.
fn raw(control: Control, frames: &[u8], size: usize) -> Vec<f64> {
    let small = || halved(frames, size);
    let frame = size * size;
    match control {
        Control::OneFrame => {
            let middle = frames.len() / (3 * frame) / 2;
            frames[3 * middle * frame..][..3 * frame].iter().step_by(3).map(|v| f64::from(*v)).collect()
        }
        Control::Differences => {
            let small = small();
            small.iter().zip(small.iter().skip(frame / 4)).map(|(before, after)| after - before).collect()
        }
        Control::Pixels | Control::Shuffled => small(),
    }
}

/// One cell at work.
pub(super) struct Bench<'a> {
    pub gpu: &'a Arc<Gpu>,
    pub plan: &'a Plan,
    pub cell: &'a Cell,
    /// Folder of the seed.
    pub folder: PathBuf,
    pub threads: usize,
    pub progress: &'a mut dyn Progress,
}

impl Bench<'_> {
    fn of(&self) -> &Experiment {
        &self.plan.experiment
    }

    fn configs(&self) -> Configs {
        let (sets, shapes) = (self.folder.join("sets"), self.of().shapes);
        Configs { sets, shapes, seed: self.cell.seed, threads: self.threads }
    }

    fn run_path(&self, name: &str) -> PathBuf {
        self.folder.join("runs").join(name)
    }

    fn weights_of(&self, name: &str) -> Result<PathBuf, Error> {
        Ok(RunDir::read(&self.run_path(name))?.0.weights(Which::Newest)?)
    }

    /// Does the cell's work; what is there of it already is gone on with.
    pub fn work(&mut self) -> Result<Found, Error> {
        match self.cell.work {
            Work::Set => self.sets(),
            Work::Control(Control::Shuffled) => self.shuffled(),
            Work::Control(control) => self.control(control),
            Work::Similarity => self.similarity(),
            Work::Teacher(kind, large) => self.pretrained(kind, large, self.plan.scaled(self.of().teacher)),
            Work::Pixels(budget) => self.pretrained(PretrainKind::Video, false, self.plan.pixel_steps(budget)),
            Work::Student(teachers, budget, change) => self.student(teachers, self.plan.scaled(budget), change),
        }
    }

    fn sets(&self) -> Result<Found, Error> {
        let labels: Vec<&str> = self.of().labels().iter().map(|label| label.name).collect();
        for (index, (name, count)) in [("train", self.of().train), ("test", self.of().test)].into_iter().enumerate() {
            // Other clips than the training set's, whatever its seed.
            let seed = self.cell.seed.wrapping_mul(2).wrapping_add(index as u64);
            write_set(&self.folder.join("sets").join(name), &self.of().clips(count, seed), &labels)?;
        }
        Ok(Found::default())
    }

    fn scored(&self, features: impl Fn(&str, usize) -> Result<Vec<Features>, Error>) -> Result<Found, Error> {
        let (train, test) = (features("train", self.of().labelled)?, features("test", usize::MAX)?);
        let (labels, few) = (self.of().labels(), self.of().few);
        let scores =
            labels.par_iter().enumerate().map(|(i, label)| (label.name.to_owned(), score(&train[i], &test[i], few)));
        Ok(Found { scores: scores.collect(), ..Found::default() })
    }

    fn control(&self, control: Control) -> Result<Found, Error> {
        let (configs, grid) = (self.configs(), self.of().shapes.grid());
        self.scored(|set, most| {
            let labelled = |label: &Label| configs.labelled(set, label, most);
            let all = self.of().labels().iter().map(labelled).collect::<Result<Vec<Items>, Error>>()?;
            let paths: Vec<PathBuf> = all.first().into_iter().flat_map(Items::iter).map(|item| item.path).collect();
            let row = |path: &PathBuf| Ok(raw(control, &middle_clip(path, &grid, STRIDE)?, grid.size));
            let rows = paths.par_iter().map(row).collect::<Result<Vec<Vec<f64>>, Error>>()?;
            let labels = |items: &Items| items.iter().map(|item| item.label.unwrap_or(0) as usize).collect();
            Ok(all.iter().map(|items| Features { rows: rows.clone(), labels: labels(items) }).collect())
        })
    }

    fn shuffled(&self) -> Result<Found, Error> {
        let teacher = teacher_name(PretrainKind::Video, false);
        let mut found = self.features_of(&teacher, EncoderKind::Videomae, true)?;
        // With labels that mean nothing there is nothing to learn from few of them.
        found.scores.values_mut().for_each(|score| score.right.clear());
        Ok(found)
    }

    /// The scores of a run's encoder.
    fn features_of(&self, name: &str, kind: EncoderKind, shuffle: bool) -> Result<Found, Error> {
        let configs = self.configs();
        let weights = self.weights_of(name)?;
        let labels = self.of().labels();
        let mut encoder = configs.encoder(self.gpu, &weights, kind)?;
        let mut train = configs.features(&mut encoder, "train", &labels, self.of().labelled)?;
        let test = configs.features(&mut encoder, "test", &labels, usize::MAX)?;
        if shuffle {
            let mut rng = data::rng(self.cell.seed, 0, 0, 4);
            train.iter_mut().for_each(|features| features.labels.shuffle(&mut rng));
        }
        self.scored(|set, _| Ok(if set == "train" { train.clone() } else { test.clone() }))
    }

    fn similarity(&self) -> Result<Found, Error> {
        let configs = self.configs();
        let mut found = Found::default();
        let clips = (0..LOOKED_AT.min(self.of().test)).map(|i| {
            middle_clip(&configs.sets.join(format!("test/clips/{i:06}.mp4")), &self.of().shapes.grid(), STRIDE)
        });
        let clips = clips.collect::<Result<Vec<_>, _>>()?;
        for kind in [PretrainKind::Image, PretrainKind::Video] {
            let path = self.weights_of(&teacher_name(kind, false))?;
            let tensors = weights::open(&path).map_err(eval::Error::from)?.0;
            for (centred, name) in [(false, ""), (true, " centred")] {
                let map = similarity(self.gpu, &configs.look(kind.family()), &tensors, &clips, centred)?;
                let kind = if kind == PretrainKind::Image { "image" } else { "video" };
                found.similarity.insert(format!("{kind}{name}"), off_diagonal(&map));
            }
        }
        Ok(found)
    }

    /// What the logs say of a run, beside the scores.
    fn logged(&self, steps: usize, gflop_a_step: f64, found: Found) -> Result<Found, Error> {
        let path = self.run_path(&self.cell.name).join("log.jsonl");
        let records: Vec<StepRecord> = log::read(&path).map_err(io("read", &path))?;
        let mean = |last: usize, of: fn(&StepRecord) -> f64| {
            let records = &records[records.len().saturating_sub(last.max(1))..];
            records.iter().map(of).sum::<f64>() / records.len().max(1) as f64
        };
        let (loss, grad_norm) = (mean(steps / 10, |r| r.loss), mean(steps / 2, |r| r.grad_norm));
        Ok(Found { steps, gflop_a_step, loss, grad_norm, ..found })
    }

    fn pretrained(&mut self, kind: PretrainKind, large: bool, steps: usize) -> Result<Found, Error> {
        let mut configs = self.configs();
        if large {
            configs.shapes.encoder = self.of().large;
        }
        let config = configs.pretrain(kind, steps)?;
        let gflop = gflop_of_pixels(self.gpu, &config)?;
        let path = self.run_path(&self.cell.name);
        study::train(self.gpu, &path, config, steps, self.progress, pretrain::train)?;
        // Encoders of single frames, and those of other widths than the students', are compared with nothing.
        let scored = match kind == PretrainKind::Video && !large {
            true => self.features_of(&self.cell.name, EncoderKind::Videomae, false)?,
            false => Found::default(),
        };
        self.logged(steps, gflop, scored)
    }

    fn student(&mut self, teachers: Teachers, steps: usize, change: Option<Change>) -> Result<Found, Error> {
        let large = change == Some(Change::LargeTeachers);
        let weights = |kind| self.weights_of(&teacher_name(kind, large));
        let image = if teachers == Teachers::Video { None } else { Some(weights(PretrainKind::Image)?) };
        let video = if teachers == Teachers::Image { None } else { Some(weights(PretrainKind::Video)?) };
        let mut config = self.configs().distill(image.as_deref(), video.as_deref(), steps)?;
        let balance = match teachers {
            Teachers::Balanced => self.balance(change == Some(Change::ByLoss))?,
            _ => 1.0,
        };
        if let Some(teacher) = &mut config.image_teacher {
            teacher.weight = balance as f32;
        }
        match change {
            Some(Change::MaskRatio(ratio)) => config.mask.ratio = ratio,
            Some(Change::MaskKind(kind)) => config.mask.kind = kind,
            Some(Change::Loss(loss)) => config.loss = loss,
            Some(Change::PlainFeatures) => config.norm_feature = false,
            Some(Change::Decoder(depth)) => config.decoder.depth = depth,
            Some(Change::LargeTeachers) => {
                let both = [&mut config.image_teacher, &mut config.video_teacher];
                both.into_iter().flatten().for_each(|teacher| teacher.vit = self.of().large);
            }
            Some(Change::ByLoss) | None => {}
        }
        let gflop = gflop_of_student(self.gpu, &config)?;
        let used = [f64::from(u8::from(image.is_some())) * balance, f64::from(u8::from(video.is_some()))];
        let path = self.run_path(&self.cell.name);
        study::train(self.gpu, &path, config, steps, self.progress, distill::train)?;
        let scored = self.features_of(&self.cell.name, EncoderKind::Mvd, false)?;
        self.logged(steps, gflop, Found { weights: used, ..scored })
    }

    /// Weight of the image teacher's loss beside 1 of the video teacher's, from the students of one teacher of the same
    /// length and their training clips alone: so that both losses' gradients are of one size, or both losses.
    fn balance(&self, by_loss: bool) -> Result<f64, Error> {
        let share = match self.cell.work {
            Work::Student(_, budget, _) => self.of().share(budget),
            _ => String::new(),
        };
        let size = |name: &str| {
            let found = read_found(&self.folder, &format!("{name}-{share}"))?;
            Ok::<f64, Error>(if by_loss { found.loss } else { found.grad_norm })
        };
        // Three digits are enough, and survive being written down.
        let ratio = size("video")? / size("image")?.max(1e-9);
        Ok(format!("{ratio:.3}").parse().unwrap_or(ratio))
    }
}

/// Where a cell's results are kept.
pub(super) fn result_path(folder: &Path, name: &str) -> PathBuf {
    folder.join("results").join(format!("{name}.json"))
}

/// A cell's results.
pub(super) fn read_found(folder: &Path, name: &str) -> Result<Found, Error> {
    let path = result_path(folder, name);
    let text = std::fs::read(&path).map_err(io("read", &path))?;
    serde_json::from_slice(&text).map_err(|e| Error::Malformed { path, reason: e.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_labels_are_the_first_of_each_class() {
        let all = Features { rows: (0..6).map(|i| vec![f64::from(i)]).collect(), labels: vec![0, 1, 0, 0, 1, 1] };
        let few = few_of_each(&all, 2);
        assert_eq!((few.rows, few.labels), (vec![vec![0.0], vec![1.0], vec![2.0], vec![4.0]], vec![0, 1, 0, 1]));
    }

    #[test]
    fn controls_show_pixels_one_frame_and_differences() {
        // Three frames of 4 x 4: 10, then 30, then 30 with one pixel of 70.
        let mut frames: Vec<u8> = [10u8, 30, 30].iter().flat_map(|v| [*v; 48]).collect();
        frames[3 * 32] = 70;
        assert_eq!(raw(Control::Pixels, &frames, 4), [[10.0; 4], [30.0; 4], [40.0, 30.0, 30.0, 30.0]].concat());
        assert_eq!(raw(Control::OneFrame, &frames, 4), [30.0; 16]);
        assert_eq!(raw(Control::Differences, &frames, 4), [20.0, 20.0, 20.0, 20.0, 10.0, 0.0, 0.0, 0.0]);
    }
}
