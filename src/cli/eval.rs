//! `mvd eval`

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::args::{set, threads};
use super::eval_report::Report;
use super::model::{ModelArgs, NamesArgs, views};
use super::report::TestBar;
use super::stop::{Stop, Stopped};
use super::{AdapterArgs, Failure};
use crate::config::{DataConfig, FinetuneConfig};
use crate::data::{Dataset, KnownClasses};
use crate::eval::partial::{self, Partial, Test};
use crate::eval::{Error, Evaluator, Outcome, Score, Scored, Stamp, Videos, Views};
use crate::gpu::{Gpu, Precision};
use crate::model::opened::Opened;
use crate::train::checkpoint::Which;
use crate::weights::{self, Kind};

/// How a classifier looks at videos.
#[derive(Args)]
pub(super) struct TestArgs {
    /// Clips in time [default: the run's, else 1].
    #[arg(long)]
    clips: Option<usize>,
    /// Crops a clip, 1 or 3 [default: the run's, else 1].
    #[arg(long)]
    crops: Option<usize>,
    /// Clips of a batch; results do not depend on it [default: as many as fit in --memory, 64 at most].
    #[arg(long)]
    batch: Option<usize>,
    /// GiB that a batch may be planned to take.
    #[arg(long, default_value_t = 4.0)]
    memory: f64,
}

impl TestArgs {
    /// The views of a classifier's test, by flags, its run or one of each.
    pub fn views(&self, opened: &Opened) -> Result<Views, Failure> {
        let of_run = |key: &str| opened.run.get(key).and_then(toml::Value::as_integer).map(|n| n as usize);
        let clips = self.clips.or(of_run("test_clips")).unwrap_or(1);
        let crops = self.crops.or(of_run("test_crops")).unwrap_or(1);
        views(opened, clips, crops)
    }

    /// A classifier ready to score `clips` clips in all.
    pub fn evaluator(&self, gpu: &Arc<Gpu>, opened: &Opened, clips: usize) -> Result<Evaluator, Failure> {
        if self.batch == Some(0) {
            return Err("--batch: expected at least 1, got 0".into());
        }
        let memory = (self.memory * f64::from(1 << 30)) as usize;
        let batch =
            self.batch.map_or_else(|| Evaluator::largest_batch(gpu.caps(), opened, clips.max(1), memory), Ok)?;
        let evaluator = Evaluator::open(gpu, opened, batch, true)?;
        if self.batch.is_some_and(|asked| asked > evaluator.batch_size()) {
            log::warn!("--batch {batch}: {} clips at once is what the adapter takes", evaluator.batch_size());
        }
        Ok(evaluator)
    }
}

/// Refuses what is no classifier; how many classes it has.
pub(super) fn expect_classifier(opened: &Opened) -> Result<usize, Failure> {
    match opened.about.classes {
        Some(classes) if opened.about.kind == Kind::Classifier => Ok(classes),
        _ => {
            let (path, kind) = (opened.origin.path.display(), opened.about.kind.an());
            let way = match opened.about.kind {
                Kind::Mae => "it is an image model, for `mvd distill --image-teacher`",
                _ => "`mvd finetune --init` makes one of it",
            };
            Err(format!("{path}: expected a classifier of videos, got {kind}; {way}").into())
        }
    }
}

#[derive(Args)]
pub(super) struct EvalArgs {
    /// A classifier: run directory of a fine-tuning, weight file, folder of Hugging Face's, or hf:owner/name.
    run: PathBuf,
    /// Which of its weights.
    #[arg(long, value_enum, default_value_t)]
    weights: Which,
    /// A list of `path label` lines or a folder of folders of classes [default: the run's validation set].
    #[arg(long)]
    data: Option<PathBuf>,
    /// Where a list's relative paths start.
    #[arg(long)]
    root: Option<PathBuf>,
    /// What `mvd check-data --index` wrote of the set [default, for the run's validation set: the run's].
    #[arg(long, value_name = "FILE")]
    index: Option<PathBuf>,
    #[command(flatten)]
    names: NamesArgs,
    #[command(flatten)]
    test: TestArgs,
    #[command(flatten)]
    model: ModelArgs,
    /// File of results, a line a video, which a test that was ended goes on with [default: a file in the run or beside the
    /// weights, removed at the end].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Score all videos, also those that a test that was ended has scored.
    #[arg(long)]
    fresh: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// File to write the confusion matrix to, a row a label, a column a prediction: as CSV, or drawn if it ends in .png.
    #[arg(long, value_name = "FILE")]
    confusion: Option<PathBuf>,
    #[command(flatten)]
    gpu: AdapterArgs,
}

/// The set to test on: that of --data, else the run's validation set.
fn videos(args: &EvalArgs, opened: &Opened) -> Result<(PathBuf, Dataset), Failure> {
    let config: Option<FinetuneConfig> = match &args.data {
        None if opened.run.contains_key("val") => Some(opened.run.clone().try_into()?),
        _ => None,
    };
    let of_run = config.as_ref().map(|config| (&config.val, &config.data));
    let Some(data) = args.data.as_ref().or(of_run.map(|(val, _)| val)).filter(|data| !data.as_os_str().is_empty())
    else {
        return Err(
            "--data: expected a list of `path label` lines, got none; there is no run with a validation set".into()
        );
    };
    // The run's root is of its lists, its index of its own sets.
    let mut root =
        opened.run.get("data").and_then(|data| data.get("root")?.as_str()).map(PathBuf::from).unwrap_or_default();
    let mut index = of_run.map_or_else(PathBuf::new, |(_, rules): (_, &DataConfig)| rules.index.clone());
    set(&mut root, &args.root);
    set(&mut index, &args.index);
    let given = |path: PathBuf| (!path.as_os_str().is_empty()).then_some(path);
    let set = Dataset::open(data, given(root).as_deref())?.with_index(given(index).as_deref())?;
    Ok((data.clone(), set))
}

/// What the result of each video depends on.
fn described(args: &EvalArgs, opened: &Opened, set: &Dataset, views: &Views) -> Result<Test, Failure> {
    let Views { frames, stride, size, segments, clips, crops } = *views;
    let shape = opened.vit()?;
    let mut model = weights::pin(&opened.origin.path)?.digest;
    if !opened.origin.prefix.is_empty() {
        model += &format!(" under {}", opened.origin.prefix);
    }
    let facts = [
        ("mvd", env!("CARGO_PKG_VERSION").to_owned()),
        ("model", model),
        ("set", set.items.digest()),
        ("videos", set.items.len().to_string()),
        ("frames", frames.to_string()),
        ("stride", stride.to_string()),
        ("input_size", size.to_string()),
        ("sampling", if segments { "segment" } else { "dense" }.to_owned()),
        ("clips", clips.to_string()),
        ("crops", crops.to_string()),
        ("positions", opened.family()?.name().to_owned()),
        ("heads", shape.heads.to_string()),
        ("pooling", opened.pooling.value.name().to_owned()),
        ("precision", if args.gpu.precision == Precision::F16 { "f16" } else { "f32" }.to_owned()),
    ];
    Ok(Test(facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()))
}

/// Where results are kept: by --out, in the run, or beside the weights.
fn place(args: &EvalArgs, opened: &Opened, test: &Test) -> PathBuf {
    let name = format!("eval-{}.jsonl", test.key());
    match &args.out {
        Some(path) => path.clone(),
        None if args.run.join("config.toml").is_file() => args.run.join(name),
        None => {
            let file = &opened.origin.path;
            file.with_file_name(format!("{}.{name}", file.file_name().unwrap_or_default().to_string_lossy()))
        }
    }
}

/// The results so far. Where nobody asked for a file, a folder that cannot be written to ends no test.
fn kept(args: &EvalArgs, path: &Path, test: &Test) -> Result<Option<Partial>, Failure> {
    match Partial::open(path, test, args.fresh) {
        Ok(partial) => Ok(Some(partial)),
        Err(error @ (partial::Error::Io { .. } | partial::Error::Busy { .. })) if args.out.is_none() => {
            log::warn!(
                "{error}; results are not kept, so a test that is stopped begins anew; --out FILE keeps them at another place"
            );
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// A test under way.
struct Testing {
    partial: Option<Partial>,
    score: Score,
    /// Videos that could not be read.
    unread: Vec<usize>,
    bar: TestBar,
}

impl Testing {
    /// Takes in what a batch completed.
    fn take(&mut self, set: &Dataset, done: Vec<Scored>) -> Result<(), Error> {
        let mut outcomes = Vec::new();
        for (video, score) in done {
            match (set.items.label(video), score) {
                (Some(label), Some(score)) => {
                    let stamp = Stamp::of(&set.items.at(video).path);
                    outcomes.push(Outcome::of(video, label, &score, stamp));
                }
                _ => self.unread.push(video),
            }
        }
        outcomes.iter().for_each(|outcome| self.score.add(outcome));
        self.partial.as_mut().map_or(Ok(()), |partial| partial.add(&outcomes))?;
        Ok(())
    }

    /// Takes in what an earlier session has scored; the videos that are left.
    fn go_on(&mut self, set: &Dataset) -> Result<Vec<usize>, Failure> {
        let (mut left, mut changed) = (vec![true; set.items.len()], BTreeSet::new());
        let Some(partial) = &mut self.partial else { return Ok((0..left.len()).collect()) };
        for outcome in std::mem::take(&mut partial.before) {
            let classes = self.score.confusion.len();
            let top = outcome.top.iter().all(|(class, _)| *class < classes);
            let known = left.get(outcome.video).is_some_and(|left| *left);
            if !known || !top || set.items.label(outcome.video) != Some(outcome.label) {
                let (path, video) = (partial.path().display(), outcome.video);
                return Err(format!(
                    "{path}: its result of video {video} is none of this set; begin anew with --fresh"
                )
                .into());
            }
            if Stamp::of(&set.items.at(outcome.video).path) != outcome.stamp {
                changed.insert(outcome.video);
                continue;
            }
            left[outcome.video] = false;
            self.score.add(&outcome);
        }
        if self.score.count > 0 {
            let (path, done) = (partial.path().display(), self.score.count);
            self.bar.line(&format!("goes on after {done} of {} videos, scored before: {path}", left.len()));
        }
        changed.retain(|video| left[*video]);
        if let Some(first) = changed.first() {
            let (count, first) = (changed.len(), set.items.at(*first).path);
            let files = if count == 1 { "1 file that has" } else { &format!("{count} files that have") };
            self.bar.line(&format!("scores anew {files} changed since: {}", first.display()));
        }
        Ok((0..left.len()).filter(|video| left[*video]).collect())
    }

    /// The end by a signal.
    fn stopped(&self, signal: i32, all: usize) -> Failure {
        let done = self.score.count;
        let how = self.partial.as_ref().map_or_else(
            || "their results are not kept".to_owned(),
            |partial| format!("the same command goes on with the others ({})", partial.path().display()),
        );
        Stopped { signal, what: format!("after {done} of {all} videos; {how}") }.into()
    }
}

pub(super) fn run(args: &EvalArgs) -> Result<(), Failure> {
    let mut opened = args.model.open(&args.run, args.weights)?;
    let classes = expect_classifier(&opened)?;
    let given = args.names.apply(&mut opened)?;
    let (data, mut set) = videos(args, &opened)?;
    let owner = given.unwrap_or_else(|| args.run.display().to_string());
    let names = opened.names.as_ref().map_or(&[][..], |known| &known.value);
    let note = set.match_classes(&data, &KnownClasses { classes, names, owner: &owner })?;
    let views = args.test.views(&opened)?;
    let stop = Stop::listen_in("ends after the batch at hand and keeps what is done; once more ends it at once")?;
    let gpu = args.gpu.open()?;
    let test = described(args, &opened, &set, &views)?;
    let path = place(args, &opened, &test);
    let partial = kept(args, &path, &test)?;
    let bar = TestBar::new(0, args.json);
    let mut testing = Testing { partial, score: Score::new(classes), unread: Vec::new(), bar };
    let others = if args.out.is_none() { partial::others(&path, &test) } else { Vec::new() };
    note.iter().chain(&others).for_each(|line| testing.bar.line(line));
    let wanted = testing.go_on(&set)?;
    let all = wanted.len() * views.clips * views.crops;
    let mut evaluator = args.test.evaluator(&gpu, &opened, all)?;
    testing.bar = TestBar::new(all, args.json);
    let mut clips = 0;
    let videos = Videos { items: &set.items, wanted: &wanted, index: &set.index };
    let outcome = evaluator.each(videos, &views, threads(), &mut |batch, done| {
        testing.take(&set, done)?;
        clips += batch;
        testing.bar.scored(clips, &testing.score);
        Ok(clips == all || stop.signal().is_none())
    });
    testing.bar.finish();
    match (outcome, stop.signal()) {
        (Err(Error::Stopped), Some(signal)) => return Err(testing.stopped(signal, set.items.len())),
        (outcome, _) => outcome?,
    }
    let Testing { partial, mut score, unread, .. } = testing;
    score.unread = unread.len();
    let unread: Vec<PathBuf> = unread.into_iter().map(|video| set.items.at(video).path).collect();
    if score.count == 0 {
        return Err(format!("{}: none of its {} videos could be read", data.display(), set.items.len()).into());
    }
    if score.not_finite > 0 {
        let (file, bad, counted) = (opened.origin.path.display(), score.not_finite, score.count);
        return Err(
            format!("{file}: scores of {bad} of {counted} videos are not finite; the weights are no good").into()
        );
    }
    let (batch, adapter) = (evaluator.batch_size(), gpu.describe());
    let report = Report { opened: &opened, data: &data, test: &test, score: &score, unread: &unread, batch, adapter };
    report.print(args.json)?;
    if let Some(path) = &args.confusion {
        report.write_confusion(path)?;
    }
    // What nobody asked for is of no use any more.
    if let (Some(partial), None) = (partial, &args.out) {
        let path = partial.path().to_owned();
        drop(partial);
        std::fs::remove_file(&path).map_err(|e| format!("cannot remove {}: {e}", path.display()))?;
    }
    Ok(())
}
