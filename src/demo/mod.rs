//! The whole method in minutes, on clips that the program makes itself: both teachers from pixels, students of one and
//! of both, a pixel-only model of equal compute, each probed for what a frame shows and for what only motion shows, and
//! the last two fine-tuned for it beside a model from scratch; ended by one page of tables, curves and pictures.
//!
//! Everything lies under one folder: `sets/`, `runs/NAME/`, `probes/NAME.json`, `plan.toml`, `index.html`. What is there
//! already is not made again, so a demo that was stopped goes on where it was.

mod look;
mod page;
mod plan;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use page::{Figure, Page, Row, render};
use plan::{Configs, DIRECTION, LABELS, Label, Part, SHAPE};
pub use plan::{Cost, Costs, Plan, Sizes, Steps};

use crate::config::{EncoderKind, PretrainKind};
use crate::data::{Dataset, Index, Items, synth};
use crate::eval::probe::{Features, linear};
use crate::gpu::Gpu;
use crate::model::Vit;
use crate::ranks::Ranks;
use crate::train::checkpoint::{self, Checkpoint, RunDir, Which};
use crate::train::log::{self, Validation};
use crate::train::session::{RunConfig, Session};
use crate::train::{Outcome, Reporter, distill, finetune, pretrain};
use crate::{data, eval, picture, recipes, train};

/// Why a demo ended before its time; `--out` again goes on with it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A run.
    #[error(transparent)]
    Train(#[from] train::Error),
    /// It was told to stop.
    #[error("stopped by a signal; the same command goes on with it")]
    Stopped {
        /// The signal.
        signal: i32,
    },
    /// A run directory.
    #[error(transparent)]
    Checkpoint(#[from] checkpoint::Error),
    /// A probe or a look.
    #[error(transparent)]
    Eval(#[from] eval::Error),
    /// The clips.
    #[error(transparent)]
    Data(#[from] data::Error),
    /// A recipe.
    #[error(transparent)]
    Recipe(#[from] recipes::Unknown),
    /// A chart.
    #[error(transparent)]
    Chart(#[from] picture::chart::Error),
    /// A picture.
    #[error("a picture of the page cannot be encoded: {0}")]
    Picture(#[from] image::ImageError),
    /// A file.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file of the demo's is not what it should be.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The folder holds a demo of another budget, seed or size.
    #[error(
        "{} was begun with --minutes {minutes} --seed {seed} --input-size {size} and an encoder of {encoder:?}; give the \
         same, or name another --out", path.display()
    )]
    Other {
        /// The folder.
        path: PathBuf,
        /// Its budget.
        minutes: f64,
        /// Its seed.
        seed: u64,
        /// The size of its clips.
        size: usize,
        /// Its encoders.
        encoder: Vit,
    },
}

fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { doing, path, source }
}

/// What a demo is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Folder of everything.
    pub out: PathBuf,
    /// Budget in minutes.
    pub minutes: f64,
    /// Seed of clips, weights and order.
    pub seed: u64,
    /// Decoding threads.
    pub threads: usize,
    /// Sizes of everything.
    pub sizes: Sizes,
}

/// Hears what a demo is doing, beside its runs' steps.
pub trait Progress: Reporter {
    /// Something else begins; `part` is the share of all the work that is done now, and that will be when it ends.
    fn stage(&mut self, name: &str, part: Range<f64>);
}

/// An encoder that is fine-tuned and probed.
#[derive(Debug, Clone)]
struct Model {
    /// In names of folders.
    key: &'static str,
    /// For people.
    name: &'static str,
    /// Its weights, but from scratch.
    weights: Option<PathBuf>,
    kind: EncoderKind,
    /// Fine-tuned, too, for both labels.
    tuned: bool,
}

struct Demo<'a> {
    gpu: &'a Arc<Gpu>,
    out: PathBuf,
    configs: Configs,
    plan: Plan,
    progress: &'a mut dyn Progress,
    /// Expected seconds of the runs that are done.
    done: f64,
}

/// Makes or goes on with a demo; gives its page.
///
/// # Errors
/// Whatever ends one of its runs.
pub fn run(gpu: &Arc<Gpu>, options: &Options, progress: &mut dyn Progress) -> Result<PathBuf, Error> {
    let begun = Instant::now();
    let Options { out, minutes, seed, threads, sizes } = options.clone();
    std::fs::create_dir_all(&out).map_err(io("create", &out))?;
    // The runs go on from any folder.
    let out = std::path::absolute(&out).map_err(io("find", &out))?;
    let configs = Configs { sets: out.join("sets"), sizes, seed, threads };
    write_sets(&configs, progress)?;
    let file = out.join("plan.toml");
    let resumed = file.exists();
    let plan = if resumed { read_plan(&file, options)? } else { make_plan(gpu, options, &configs, begun, progress)? };
    let mut demo = Demo { gpu, out, configs, plan, progress, done: 0.0 };
    let mut last = begun.elapsed();
    let mut fit = |demo: &mut Demo, part| {
        let now = begun.elapsed();
        let took = now - std::mem::replace(&mut last, now);
        // What is gone on with keeps its plan: part of its time was spent before.
        if resumed {
            return Ok(());
        }
        demo.plan.refit(part, took, now);
        write_plan(&file, &demo.plan)
    };
    let teachers = demo.teachers()?;
    fit(&mut demo, Part::Teachers)?;
    let models = demo.models(&teachers)?;
    fit(&mut demo, Part::Students)?;
    let rows = models.iter().map(|model| demo.row(model)).collect::<Result<Vec<_>, Error>>()?;
    demo.progress.stage("pictures", 0.98..1.0);
    let figures = demo.figures(&teachers, &models)?;
    let plan = demo.plan.clone();
    let page = Page { adapter: gpu.describe(), plan, minutes, took: begun.elapsed(), resumed, rows, figures };
    let path = demo.out.join("index.html");
    write_whole(&path, render(&page)?.as_bytes())?;
    Ok(path)
}

/// Writes a file aside and renames it: under `path` there is always a whole one.
fn write_whole(path: &Path, content: &[u8]) -> Result<(), Error> {
    let aside = path.with_extension("tmp");
    std::fs::write(&aside, content).map_err(io("write", &aside))?;
    std::fs::rename(&aside, path).map_err(io("rename into place", path))
}

fn read_plan(path: &Path, options: &Options) -> Result<Plan, Error> {
    let text = std::fs::read_to_string(path).map_err(io("read", path))?;
    let malformed = |e: toml::de::Error| Error::Malformed { path: path.to_owned(), reason: e.to_string() };
    let plan: Plan = toml::from_str(&text).map_err(malformed)?;
    if (plan.minutes, plan.seed, plan.sizes) != (options.minutes, options.seed, options.sizes) {
        let Plan { minutes, seed, sizes: Sizes { size, encoder, .. }, .. } = plan;
        return Err(Error::Other { path: options.out.clone(), minutes, seed, size, encoder });
    }
    Ok(plan)
}

fn make_plan(
    gpu: &Arc<Gpu>,
    options: &Options,
    configs: &Configs,
    begun: Instant,
    progress: &mut dyn Progress,
) -> Result<Plan, Error> {
    let folder = options.out.join("timing");
    let clear = || match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io("remove", &folder)(error)),
        _ => Ok(()),
    };
    // What a kill left of an earlier measurement.
    clear()?;
    let costs =
        plan::measure(gpu, &folder, configs, &mut |what| progress.stage(&format!("measuring {what}"), 0.01..0.02))?;
    clear()?;
    let plan = Plan::new(options.minutes, begun.elapsed(), options.seed, options.sizes, costs);
    write_plan(&options.out.join("plan.toml"), &plan)?;
    Ok(plan)
}

fn write_plan(path: &Path, plan: &Plan) -> Result<(), Error> {
    write_whole(path, toml::to_string(plan).map_err(train::Error::from)?.as_bytes())
}

/// Writes the clips to learn from and those held out, with a list of each label.
fn write_sets(configs: &Configs, progress: &mut dyn Progress) -> Result<(), Error> {
    let Sizes { size, train, test, .. } = configs.sizes;
    for (index, (name, count)) in [("train", train), ("test", test)].into_iter().enumerate() {
        let set = configs.sets.join(name);
        let table = set.join("labels.csv");
        if !table.exists() {
            progress.stage(&format!("{count} clips"), 0.0..0.01);
            // Other clips than the training set's, whatever its seed.
            let seed = configs.seed.wrapping_mul(2).wrapping_add(index as u64);
            synth::write(&set, &plan::clips(size, count, seed), |_| {})?;
        }
        let text = std::fs::read_to_string(&table).map_err(io("read", &table))?;
        for label in LABELS {
            let list = set.join(format!("{}.txt", label.name));
            write_whole(&list, label_list(&text, label.name).as_bytes())?;
        }
    }
    Ok(())
}

/// `path label` lines of one column of a `labels.csv`.
fn label_list(table: &str, column: &str) -> String {
    let mut lines = table.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let place = lines.next().and_then(|head| head.iter().position(|name| *name == column)).unwrap_or(1);
    let mut list = String::new();
    for line in lines {
        let _ = writeln!(list, "{} {}", line[0], line[place]);
    }
    list
}

impl Demo<'_> {
    /// The share of all the work that is done.
    fn share(&self) -> f64 {
        (0.02 + 0.96 * self.done / self.plan.expected.max(1e-9)).min(0.98)
    }

    fn set(&self, name: &str) -> PathBuf {
        self.configs.sets.join(name)
    }

    fn run_path(&self, name: &str) -> PathBuf {
        self.out.join("runs").join(name)
    }

    /// Trains the run of this name to its end, unless it is there; gives its weights.
    fn train<C: RunConfig>(
        &mut self,
        name: &str,
        config: C,
        (steps, cost): (usize, Cost),
        train: impl FnOnce(
            &Arc<Gpu>,
            &Ranks,
            &C,
            &RunDir,
            Option<Checkpoint>,
            &mut dyn Reporter,
        ) -> Result<Outcome, train::Error>,
    ) -> Result<PathBuf, Error> {
        let before = self.share();
        self.done += cost.of(steps);
        self.progress.stage(name, before..self.share());
        let Session { dir, config, from, notes } = Session::create_or_resume(&self.run_path(name), config)?;
        notes.iter().for_each(|note| self.progress.note(note));
        if from.as_ref().is_none_or(|from| from.state.step < steps) {
            train(self.gpu, &Ranks::alone(), &config, &dir, from, self.progress).map_err(|error| match error {
                train::Error::Stopped { signal, .. } => Error::Stopped { signal },
                error => error.into(),
            })?;
        }
        Ok(dir.weights(Which::Newest)?)
    }

    fn pretrained(&mut self, name: &str, kind: PretrainKind, steps: usize) -> Result<PathBuf, Error> {
        let config = self.configs.pretrain(kind, steps)?;
        let costs = &self.plan.costs;
        let cost = if kind == PretrainKind::Image { costs.image } else { costs.video };
        self.train(name, config, (steps, cost), pretrain::train)
    }

    /// Weights of the image and of the video teacher.
    fn teachers(&mut self) -> Result<[PathBuf; 2], Error> {
        let steps = self.plan.steps.teacher;
        let image = self.pretrained("image teacher", PretrainKind::Image, steps)?;
        let video = self.pretrained("video teacher", PretrainKind::Video, steps)?;
        Ok([image, video])
    }

    /// All that is fine-tuned and compared.
    fn models(&mut self, [image, video]: &[PathBuf; 2]) -> Result<Vec<Model>, Error> {
        let Plan { steps, costs, pixel_steps, .. } = self.plan;
        let mut models =
            vec![Model { key: "scratch", name: "from scratch", weights: None, kind: EncoderKind::Mvd, tuned: true }];
        let pixels = self.pretrained("pixels only", PretrainKind::Video, pixel_steps)?;
        let weights = Some(pixels);
        models.push(Model { key: "pixels", name: "pixels only", weights, kind: EncoderKind::Videomae, tuned: true });
        let (image, video) = (Some(image.as_path()), Some(video.as_path()));
        for (key, name, image, video, cost) in [
            ("image", "student of the image teacher", image, None, costs.one),
            ("video", "student of the video teacher", None, video, costs.one),
            ("both", "student of both", image, video, costs.both),
        ] {
            let config = self.configs.distill(image, video, steps.student)?;
            let weights = Some(self.train(name, config, (steps.student, cost), distill::train)?);
            models.push(Model { key, name, weights, kind: EncoderKind::Mvd, tuned: key == "both" });
        }
        Ok(models)
    }

    /// Fine-tunes a model for both labels, if it is one of those, and probes it; gives its row of the table.
    fn row(&mut self, model: &Model) -> Result<Row, Error> {
        let tuned = match model.tuned {
            true => Some([self.tuned(model, SHAPE)?, self.tuned(model, DIRECTION)?]),
            false => None,
        };
        self.progress.stage(&format!("probes: {}", model.name), self.share()..self.share());
        Ok(Row { name: model.name, tuned, probed: self.probed(model)? })
    }

    /// Percent of the held-out clips that a model fine-tuned for a label gets right.
    fn tuned(&mut self, model: &Model, label: Label) -> Result<f64, Error> {
        let steps = self.plan.steps.tuning;
        let config = self.configs.finetune(model.weights.as_deref(), model.kind, label, steps)?;
        let name = tuning_name(model, label);
        self.train(&name, config, (steps, self.plan.tuning()), finetune::train)?;
        let path = self.run_path(&name).join("validation.jsonl");
        let found: Vec<Validation> = log::read(&path).map_err(io("read", &path))?;
        let last = found.last().and_then(|v| v.values.get("top1")).copied();
        last.ok_or_else(|| Error::Malformed { path, reason: "no validation is logged".to_owned() })
    }

    /// What a linear classifier on a model's frozen features gets right, label by label, in percent; none from scratch.
    fn probed(&mut self, model: &Model) -> Result<Option<[f64; LABELS.len()]>, Error> {
        let Some(weights) = &model.weights else { return Ok(None) };
        let folder = self.out.join("probes");
        let path = folder.join(format!("{}.json", model.key));
        if let Ok(text) = std::fs::read(&path) {
            let malformed = |e: serde_json::Error| Error::Malformed { path: path.clone(), reason: e.to_string() };
            return Ok(Some(serde_json::from_slice(&text).map_err(malformed)?));
        }
        let mut encoder = self.encoder(weights, model.kind)?;
        let views = self.views();
        let mut features = |set: &str, most: usize| -> Result<BTreeMap<&str, Features>, Error> {
            let labelled = LABELS.iter().map(|label| {
                let set = Dataset::open(&self.set(set).join(format!("{}.txt", label.name)), None)?;
                Ok((label.name, set.items.iter().take(most).collect::<Items>()))
            });
            let labelled = labelled.collect::<Result<Vec<_>, Error>>()?;
            let none = Items::default();
            let items = labelled.first().map_or(&none, |(_, items)| items);
            let scores = encoder.scores(items, &Index::default(), &views, self.configs.threads, &mut |_| true)?;
            let of = |items: &Items| {
                let read = items
                    .iter()
                    .zip(&scores)
                    .filter_map(|(i, s)| Some((s.as_ref()?.features.clone(), i.label? as usize)));
                let (rows, labels) = read.unzip();
                Features { rows, labels }
            };
            Ok(labelled.iter().map(|(name, items)| (*name, of(items))).collect())
        };
        let (train, test) = (features("train", 1000)?, features("test", usize::MAX)?);
        let found = LABELS.map(|label| linear(&train[label.name], &test[label.name]));
        std::fs::create_dir_all(&folder).map_err(io("create", &folder))?;
        let json = serde_json::to_vec(&found).map_err(|e| io("encode", &path)(e.into()))?;
        write_whole(&path, &json)?;
        Ok(Some(found))
    }
}

fn tuning_name(model: &Model, label: Label) -> String {
    format!("{} for {}", model.name, label.name)
}

/// Time for people.
fn minutes(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 60 { format!("{seconds} s") } else { format!("{} min {:02} s", seconds / 60, seconds % 60) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_columns_of_the_table() {
        let table = "path,shape,direction\nclips/0.mp4,3,7\nclips/1.mp4,1,0\n";
        assert_eq!(label_list(table, "direction"), "clips/0.mp4 7\nclips/1.mp4 0\n");
        assert_eq!(label_list(table, "shape"), "clips/0.mp4 3\nclips/1.mp4 1\n");
    }
}
