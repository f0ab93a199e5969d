//! The whole method in minutes, on clips that the program makes itself: both teachers from pixels, students of one and
//! of both, a pixel-only model of equal compute, each probed for what a frame shows and for what only motion shows, and
//! the last two fine-tuned for it beside a model from scratch; ended by one page of tables, curves and pictures.
//!
//! Everything lies under one folder: `sets/`, `runs/NAME/`, `probes/NAME.json`, `plan.toml`, `index.html`. What is there
//! already is not made again, so a demo that was stopped goes on where it was.

mod look;
mod page;
mod plan;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

pub use page::{Page, Row, render};
pub use plan::{Cost, Costs, Plan, Sizes, Steps};
use plan::{DIRECTION, LABELS, Part, SHAPE};

use crate::config::{EncoderKind, PretrainKind};
use crate::eval::probe::linear;
use crate::gpu::Gpu;
use crate::study::configs::{Configs, Label};
pub use crate::study::page::Figure;
use crate::study::{self, io, write_set, write_whole};
pub use crate::study::{Error, Progress};
use crate::train::checkpoint::Which;
use crate::train::log::{self, Validation};
use crate::train::session::RunConfig;
use crate::train::{self, distill, finetune, pretrain};

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
    let configs = Configs { sets: out.join("sets"), shapes: sizes.shapes(), seed, threads };
    write_sets(&configs, &sizes, progress)?;
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

fn read_plan(path: &Path, options: &Options) -> Result<Plan, Error> {
    let text = std::fs::read_to_string(path).map_err(io("read", path))?;
    let malformed = |e: toml::de::Error| Error::Malformed { path: path.to_owned(), reason: e.to_string() };
    let plan: Plan = toml::from_str(&text).map_err(malformed)?;
    if (plan.minutes, plan.seed, plan.sizes) != (options.minutes, options.seed, options.sizes) {
        let Plan { minutes, seed, sizes: Sizes { size, encoder, .. }, .. } = plan;
        let begun = format!("--minutes {minutes} --seed {seed} --input-size {size} and an encoder of {encoder:?}");
        return Err(Error::Other { path: options.out.clone(), begun });
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
fn write_sets(configs: &Configs, sizes: &Sizes, progress: &mut dyn Progress) -> Result<(), Error> {
    let Sizes { size, train, test, .. } = *sizes;
    for (index, (name, count)) in [("train", train), ("test", test)].into_iter().enumerate() {
        progress.stage(&format!("{count} clips"), 0.0..0.01);
        // Other clips than the training set's, whatever its seed.
        let seed = configs.seed.wrapping_mul(2).wrapping_add(index as u64);
        write_set(&configs.sets.join(name), &plan::clips(size, count, seed), &LABELS.map(|label| label.name))?;
    }
    Ok(())
}

impl Demo<'_> {
    /// The share of all the work that is done.
    fn share(&self) -> f64 {
        (0.02 + 0.96 * self.done / self.plan.expected.max(1e-9)).min(0.98)
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
        train: study::Train<C>,
    ) -> Result<PathBuf, Error> {
        let before = self.share();
        self.done += cost.of(steps);
        self.progress.stage(name, before..self.share());
        let dir = study::train(self.gpu, &self.run_path(name), config, steps, self.progress, train)?;
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
        let mut encoder = self.configs.encoder(self.gpu, weights, model.kind)?;
        let train = self.configs.features(&mut encoder, "train", &LABELS, 1000)?;
        let test = self.configs.features(&mut encoder, "test", &LABELS, usize::MAX)?;
        let found: [f64; LABELS.len()] = std::array::from_fn(|i| linear(&train[i], &test[i]));
        std::fs::create_dir_all(&folder).map_err(io("create", &folder))?;
        let json = serde_json::to_vec(&found).map_err(|e| io("encode", &path)(e.into()))?;
        write_whole(&path, &json)?;
        Ok(Some(found))
    }
}

fn tuning_name(model: &Model, label: Label) -> String {
    format!("{} for {}", model.name, label.name)
}
