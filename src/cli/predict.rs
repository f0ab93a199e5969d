//! `mvd predict`

use std::fmt::Write as _;
use std::io::BufRead;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::args::threads;
use super::eval::TestArgs;
use super::model::ModelArgs;
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
    /// Names of the classes, one a line [default: those of config.json].
    #[arg(long, value_name = "FILE")]
    names: Option<PathBuf>,
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

/// Names of the classes: the file's of --names, else the model's own; none where it has none.
fn names(args: &PredictArgs, opened: &Opened) -> Result<Vec<String>, Failure> {
    let Some(path) = &args.names else {
        return Ok(opened.names.as_ref().map(|known| known.value.clone()).unwrap_or_default());
    };
    let text = std::fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    let names = names_of(&text);
    let classes = opened.about.classes.unwrap_or(0);
    if names.len() != classes {
        let (path, got) = (path.display(), names.len());
        return Err(format!("--names {path}: expected {classes} lines, got {got}").into());
    }
    Ok(names)
}

/// A name a line, without a byte order mark and without empty lines at the end.
fn names_of(text: &str) -> Vec<String> {
    let text = text.trim_start_matches('\u{feff}').trim_end();
    text.lines().map(|line| line.trim().to_owned()).collect()
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
fn line(args: &PredictArgs, item: &Item, score: Option<&VideoScore>, names: &[String]) -> String {
    let path = item.path.display().to_string();
    let Some(score) = score else {
        return json!({ "path": path, "error": "could not be read" }).to_string();
    };
    let likeliest = ranking(&score.shares).into_iter().take(args.top);
    if args.json {
        let class = |class: usize| match names.get(class) {
            Some(name) => json!({ "class": class, "name": name, "share": score.shares[class] }),
            None => json!({ "class": class, "share": score.shares[class] }),
        };
        return json!({ "path": path, "classes": likeliest.map(class).collect::<Vec<_>>() }).to_string();
    }
    let mut text = format!("{path}:");
    for class in likeliest {
        let name = names.get(class).map_or_else(|| class.to_string(), Clone::clone);
        let _ = write!(text, "  {name} {:.1} %", 100.0 * score.shares[class]);
    }
    text
}

pub(super) fn run(args: &PredictArgs) -> Result<(), Failure> {
    let opened = args.model.open(&args.run, args.weights)?;
    let (names, views, items) = (names(args, &opened)?, args.test.views(&opened)?, videos(args)?);
    let gpu = args.gpu.open()?;
    let mut evaluator = args.test.evaluator(&gpu, &opened, items.len() * views.clips * views.crops)?;
    let scores = evaluator.scores(&items, &Index::default(), &views, threads(), &mut |_| true)?;
    for (item, score) in items.iter().zip(&scores) {
        // Otherwise a warning has named it.
        if args.json || score.is_some() {
            println!("{}", line(args, &item, score.as_ref(), &names));
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
