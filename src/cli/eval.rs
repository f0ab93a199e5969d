//! `mvd eval`

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::args::{set, threads};
use super::model::{ModelArgs, views};
use super::{AdapterArgs, Failure, report};
use crate::config::{DataConfig, FinetuneConfig};
use crate::data::Dataset;
use crate::eval::{Evaluator, Score, Views};
use crate::gpu::Gpu;
use crate::model::opened::Opened;
use crate::train::checkpoint::Which;
use crate::weights::Kind;

/// How a classifier looks at videos.
#[derive(Args)]
pub(super) struct TestArgs {
    /// Clips in time [default: the run's, else 1].
    #[arg(long)]
    clips: Option<usize>,
    /// Crops a clip, 1 or 3 [default: the run's, else 1].
    #[arg(long)]
    crops: Option<usize>,
    /// Clips of a batch [default: 16, or as many as the adapter's limits allow].
    #[arg(long)]
    batch: Option<usize>,
}

/// Clips of a batch where no flag says otherwise.
const BATCH: usize = 16;

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
        if opened.about.kind != Kind::Classifier {
            let (path, kind) = (opened.origin.path.display(), opened.about.kind.name());
            return Err(
                format!("{path}: expected a classifier, got a {kind}; `mvd finetune --init` makes one of it").into()
            );
        }
        if self.batch == Some(0) {
            return Err("--batch: expected at least 1, got 0".into());
        }
        let batch = self.batch.unwrap_or(BATCH.min(clips.max(1)));
        let evaluator = Evaluator::open(gpu, opened, batch, true)?;
        if self.batch.is_some_and(|asked| asked > evaluator.batch_size()) {
            log::warn!("--batch {batch}: {} clips at once is what the adapter takes", evaluator.batch_size());
        }
        Ok(evaluator)
    }
}

#[derive(Args)]
pub(super) struct EvalArgs {
    /// A classifier: run directory of a fine-tuning, weight file, folder of Hugging Face's, or hf:owner/name.
    run: PathBuf,
    /// Which of its weights.
    #[arg(long, value_enum, default_value_t)]
    weights: Which,
    /// A list of `path label` lines [default: the run's validation set].
    #[arg(long)]
    data: Option<PathBuf>,
    /// Where a list's relative paths start.
    #[arg(long)]
    root: Option<PathBuf>,
    /// What `mvd check-data --index` wrote of the set [default, for the run's validation set: the run's].
    #[arg(long, value_name = "FILE")]
    index: Option<PathBuf>,
    #[command(flatten)]
    test: TestArgs,
    #[command(flatten)]
    model: ModelArgs,
    /// File to write the confusion matrix to, as CSV: a row a label, a column a prediction.
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

pub(super) fn run(args: &EvalArgs) -> Result<(), Failure> {
    let opened = args.model.open(&args.run, args.weights)?;
    let classes = opened.about.classes.unwrap_or(0);
    let (data, set) = videos(args, &opened)?;
    set.expect_labels(classes)?;
    if let Some(names) = opened.names.as_ref().filter(|names| !set.classes.is_empty() && names.value != set.classes) {
        let (path, of_set, from) = (data.display(), set.classes.join(", "), &names.from);
        let of_model = names.value.join(", ");
        return Err(format!(
            "{path}: its classes are {of_set}; the model's are {of_model} ({from}): labels would differ"
        )
        .into());
    }
    let views = args.test.views(&opened)?;
    let Views { clips, crops, .. } = views;
    let gpu = args.gpu.open()?;
    let mut evaluator = args.test.evaluator(&gpu, &opened, set.items.len() * clips * crops)?;
    let bar = report::bar(set.items.len() * clips * crops, "clips");
    let scores = evaluator.scores(&set.items, &set.index, &views, threads(), &mut |n| {
        bar.inc(n as u64);
        true
    })?;
    bar.finish_and_clear();
    let score = Score::of(&set.items, &scores);
    let counted = set.items.len() - score.unread;
    if counted == 0 {
        return Err(format!("{}: none of its {} videos could be read", data.display(), set.items.len()).into());
    }
    if score.not_finite > 0 {
        let (file, bad) = (opened.origin.path.display(), score.not_finite);
        return Err(
            format!("{file}: scores of {bad} of {counted} videos are not finite; the weights are no good").into()
        );
    }
    println!("{counted} videos, {clips} x {crops} views: top-1 {:.2} %, top-5 {:.2} %", score.top1, score.top5);
    if score.unread > 0 {
        println!("{} videos could not be read and are not counted", score.unread);
    }
    for (label, row) in score.confusion.iter().enumerate() {
        let all: usize = row.iter().sum();
        if all > 0 {
            println!("class {label:>4}: {:>6.2} % of {all}", 100.0 * row[label] as f64 / all as f64);
        }
    }
    if let Some(path) = &args.confusion {
        let row = |row: &Vec<usize>| row.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let text = score.confusion.iter().map(row).collect::<Vec<_>>().join("\n") + "\n";
        std::fs::write(path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    }
    Ok(())
}
