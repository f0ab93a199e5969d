//! `mvd plot`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;

use super::Failure;
use crate::picture::chart::draw_panels;
use crate::train::curves::{Curves, panels};

#[derive(Args)]
pub(super) struct PlotArgs {
    /// Run directories.
    #[arg(required = true)]
    runs: Vec<PathBuf>,
    /// PNG to write.
    #[arg(long, default_value = "curves.png")]
    out: PathBuf,
}

/// The shortest ends of the paths that tell them apart.
fn names(runs: &[PathBuf]) -> Vec<String> {
    let end = |run: &Path, parts: usize| {
        let all: Vec<_> = run.iter().map(|p| p.to_string_lossy()).collect();
        all[all.len().saturating_sub(parts)..].join("/")
    };
    let longest = runs.iter().map(|r| r.iter().count()).max().unwrap_or(1);
    let unique = |parts: &usize| {
        let mut seen = BTreeMap::new();
        runs.iter().all(|run| seen.insert(end(run, *parts), ()).is_none())
    };
    let parts = (1..=longest).find(unique).unwrap_or(longest);
    runs.iter().map(|run| end(run, parts)).collect()
}

pub(super) fn run(args: &PlotArgs) -> Result<(), Failure> {
    let runs = args.runs.iter().zip(names(&args.runs)).map(|(path, name)| {
        let read = Curves::read(path, &name).map_err(|e| format!("cannot read the log of {}: {e}", path.display()))?;
        if read.steps.is_empty() {
            return Err(format!("{}: no step is logged (looked for log.jsonl)", path.display()));
        }
        Ok(read)
    });
    let runs = runs.collect::<Result<Vec<_>, _>>()?;
    let picture = draw_panels(&panels(&runs), 2, 640, 420)?;
    picture.save(&args.out).map_err(|e| format!("cannot write {}: {e}", args.out.display()))?;
    let of = if runs.len() == 1 { "1 run".to_owned() } else { format!("{} runs", runs.len()) };
    println!("curves of {of}: {}", args.out.display());
    Ok(())
}
