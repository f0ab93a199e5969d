//! `mvd eval` and `mvd predict`

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::args::set;
use super::{AdapterArgs, Failure, report, train};
use crate::config::{FinetuneConfig, OptimConfig};
use crate::data::{Index, Item, Items};
use crate::eval::{Evaluator, Score, Views, ranking};
use crate::gpu::Gpu;
use crate::train::checkpoint::Which;
use crate::train::finetune;
use crate::weights::{self, Import};

#[derive(Args)]
pub(super) struct EvalArgs {
    /// Run directory of a fine-tuning.
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
    /// Clips in time [default: the run's].
    #[arg(long)]
    clips: Option<usize>,
    /// Crops a clip, 1 or 3 [default: the run's].
    #[arg(long)]
    crops: Option<usize>,
    /// File to write the confusion matrix to, as CSV: a row a label, a column a prediction.
    #[arg(long, value_name = "FILE")]
    confusion: Option<PathBuf>,
    #[command(flatten)]
    gpu: AdapterArgs,
}

#[derive(Args)]
pub(super) struct PredictArgs {
    /// Run directory of a fine-tuning.
    run: PathBuf,
    /// Which of its weights.
    #[arg(long, value_enum, default_value_t)]
    weights: Which,
    /// Videos.
    #[arg(required = true)]
    videos: Vec<PathBuf>,
    /// Names of the classes, one a line.
    #[arg(long, value_name = "FILE")]
    names: Option<PathBuf>,
    /// Classes to print.
    #[arg(long, default_value_t = 5)]
    top: usize,
    #[command(flatten)]
    gpu: AdapterArgs,
}

/// A run's classifier with the weights of `checkpoint`, ready to score clips.
fn evaluator(gpu: &Arc<Gpu>, config: &FinetuneConfig, checkpoint: &Path) -> Result<Evaluator, Failure> {
    let batch = config.optim.batch.min(16);
    // A test cuts its views itself: one clip of each.
    let config = FinetuneConfig { repeats: 1, optim: OptimConfig { batch, ..config.optim.clone() }, ..config.clone() };
    let mut evaluator = Evaluator::new(gpu, &finetune::arch(&config)?)?;
    let (tensors, _) = weights::open(checkpoint)?;
    let tensors = weights::adopt(tensors, evaluator.specs(), &Import::exact(), checkpoint)?;
    evaluator.set_weights::<_, crate::eval::Error>(&tensors)?;
    Ok(evaluator)
}

pub(super) fn run(args: &EvalArgs) -> Result<(), Failure> {
    let (config, checkpoint): (FinetuneConfig, _) = train::look(&args.run, args.weights)?;
    let data = args.data.as_ref().unwrap_or(&config.val);
    if data.as_os_str().is_empty() {
        return Err("--data: expected a list of `path label` lines, got none; the run has no validation set".into());
    }
    let mut rules = config.data.clone();
    if args.data.is_some() {
        // The run's index is of its own sets.
        rules.index = PathBuf::new();
    }
    set(&mut rules.root, &args.root);
    set(&mut rules.index, &args.index);
    let set = rules.open(data)?;
    set.expect_labels(config.classes)?;
    let (clips, crops) = (args.clips.unwrap_or(config.test_clips), args.crops.unwrap_or(config.test_crops));
    if clips == 0 || ![1, 3].contains(&crops) {
        return Err(format!("--clips, --crops: expected 1 or more, and 1 or 3; got {clips} and {crops}").into());
    }
    let gpu = args.gpu.open()?;
    let mut evaluator = evaluator(&gpu, &config, &checkpoint)?;
    let views: Views = finetune::views(&config, clips, crops);
    let bar = report::bar(set.items.len() * clips * crops, "clips");
    let scores = evaluator.scores(&set.items, &set.index, &views, config.data.threads, &mut |n| {
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
        let (file, bad) = (checkpoint.display(), score.not_finite);
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

/// A name a line, without a byte order mark and without empty lines at the end.
fn names_of(text: &str) -> Vec<String> {
    let text = text.trim_start_matches('\u{feff}').trim_end();
    text.lines().map(|line| line.trim().to_owned()).collect()
}

pub(super) fn predict(args: &PredictArgs) -> Result<(), Failure> {
    let (config, checkpoint): (FinetuneConfig, _) = train::look(&args.run, args.weights)?;
    let names: Vec<String> = match &args.names {
        None => Vec::new(),
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
            let names = names_of(&text);
            if names.len() != config.classes {
                let (path, got) = (path.display(), names.len());
                return Err(format!("--names {path}: expected {} lines, got {got}", config.classes).into());
            }
            names
        }
    };
    let gpu = args.gpu.open()?;
    let mut evaluator = evaluator(&gpu, &config, &checkpoint)?;
    let items: Items = args.videos.iter().map(Item::of).collect();
    let views = finetune::views(&config, config.test_clips, config.test_crops);
    let scores = evaluator.scores(&items, &Index::default(), &views, config.data.threads, &mut |_| true)?;
    let mut unread = 0;
    for (item, score) in items.iter().zip(scores) {
        let Some(score) = score else {
            unread += 1;
            continue;
        };
        let mut text = format!("{}:", item.path.display());
        for class in ranking(&score.shares).into_iter().take(args.top) {
            let name = names.get(class).map_or_else(|| class.to_string(), Clone::clone);
            let _ = write!(text, "  {name} {:.1} %", 100.0 * score.shares[class]);
        }
        println!("{text}");
    }
    if unread > 0 { Err(format!("{unread} of {} videos could not be read", items.len()).into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_files_of_all_editors() {
        for text in ["wave\na b\n", "wave\na b", "\u{feff}wave\r\na b\r\n\r\n", "wave\na b\n\n \n"] {
            assert_eq!(names_of(text), ["wave", "a b"], "{text:?}");
        }
        // An empty name in between keeps its place.
        assert_eq!(names_of("a\n\nb\n"), ["a", "", "b"]);
    }
}
