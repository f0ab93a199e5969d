//! `mvd predict`

use std::fmt::Write as _;
use std::io::BufRead;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::args::threads;
use super::eval::{TestArgs, expect_classifier};
use super::model::{ModelArgs, NamesArgs};
use super::{AdapterArgs, Failure};
use crate::data::{Index, Item, Items};
use crate::eval::{VideoScore, ranking};
use crate::model::opened::Opened;
use crate::train::checkpoint::Which;

#[derive(Args)]
pub(super) struct PredictArgs {
    /// A classifier: run directory of a fine-tuning, weight file, folder of Hugging Face's, or hf:owner/name.
    run: PathBuf,
    /// Which of its weights.
    #[arg(long, value_enum, default_value_t)]
    weights: Which,
    /// Videos; - reads their paths from standard input, one a line.
    #[arg(required = true)]
    videos: Vec<PathBuf>,
    #[command(flatten)]
    names: NamesArgs,
    /// Classes to print.
    #[arg(long, default_value_t = 5)]
    top: usize,
    /// Print one JSON object a video and line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    test: TestArgs,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    gpu: AdapterArgs,
}

/// The videos that are named, and those that standard input names where `-` stands.
fn videos(args: &PredictArgs) -> Result<Items, Failure> {
    let mut items = Vec::new();
    for path in &args.videos {
        if path.as_os_str() != "-" {
            items.push(Item::of(path));
            continue;
        }
        for line in std::io::stdin().lock().lines() {
            let line = line.map_err(|e| format!("-: cannot read standard input: {e}"))?;
            if !line.trim().is_empty() {
                items.push(Item::of(line.trim()));
            }
        }
    }
    Ok(items.into_iter().collect())
}

/// One video's line.
fn line(args: &PredictArgs, item: &Item, score: Option<&VideoScore>, opened: &Opened) -> String {
    let path = item.path.display().to_string();
    let Some(score) = score else {
        return json!({ "path": path, "error": "could not be read" }).to_string();
    };
    let likeliest = ranking(&score.shares).into_iter().take(args.top);
    if args.json {
        let names = opened.names.as_ref().map_or(&[][..], |known| &known.value);
        let class = |class: usize| match names.get(class).filter(|name| !name.is_empty()) {
            Some(name) => json!({ "class": class, "name": name, "share": score.shares[class] }),
            None => json!({ "class": class, "share": score.shares[class] }),
        };
        return json!({ "path": path, "classes": likeliest.map(class).collect::<Vec<_>>() }).to_string();
    }
    let mut text = format!("{path}:");
    for class in likeliest {
        let _ = write!(text, "  {} {:.1} %", opened.class_name(class), 100.0 * score.shares[class]);
    }
    text
}

pub(super) fn run(args: &PredictArgs) -> Result<(), Failure> {
    let mut opened = args.model.open(&args.run, args.weights)?;
    expect_classifier(&opened)?;
    args.names.apply(&mut opened)?;
    let (views, items) = (args.test.views(&opened)?, videos(args)?);
    let gpu = args.gpu.open()?;
    let mut evaluator = args.test.evaluator(&gpu, &opened, items.len() * views.clips * views.crops)?;
    let scores = evaluator.scores(&items, &Index::default(), &views, threads(), &mut |_| true)?;
    for (item, score) in items.iter().zip(&scores) {
        // Otherwise a warning has named it.
        if args.json || score.is_some() {
            println!("{}", line(args, &item, score.as_ref(), &opened));
        }
    }
    let bad = |score: &&VideoScore| score.shares.iter().any(|share| !share.is_finite());
    let not_finite = scores.iter().flatten().filter(bad).count();
    if not_finite > 0 {
        let file = opened.origin.path.display();
        return Err(format!("{file}: scores of {not_finite} videos are not finite; the weights are no good").into());
    }
    match scores.iter().filter(|score| score.is_none()).count() {
        0 => Ok(()),
        unread => Err(format!("{unread} of {} videos could not be read", items.len()).into()),
    }
}
