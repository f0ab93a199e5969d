//! `mvd claims`

use std::path::PathBuf;

use clap::Args;

use super::args::threads;
use super::report::{StudyBar, say};
use super::{AdapterArgs, Failure};
use crate::claims::{self, Experiment, Options};
use crate::config::from_toml;

#[derive(Args)]
pub(super) struct ClaimsArgs {
    /// Folder of the page and of all that it is made from; what is there is gone on with, and others may work on it too.
    #[arg(long, default_value = "runs/claims")]
    out: PathBuf,
    /// Time that it may take; what does not fit is left out: ablations first, then seeds.
    #[arg(long, default_value_t = 60.0)]
    minutes: f64,
    /// Seeds that every comparison is repeated with; with one nothing is decided.
    #[arg(long, default_value_t = 3)]
    seeds: usize,
    /// The first of them.
    #[arg(long, default_value_t = 100)]
    seed: u64,
    /// A TOML file of sizes and lengths in place of the built-in ones.
    #[arg(long, value_name = "FILE", hide = true)]
    experiment: Option<PathBuf>,
    #[command(flatten)]
    gpu: AdapterArgs,
}

pub(super) fn run(args: &ClaimsArgs) -> Result<(), Failure> {
    let ClaimsArgs { out, minutes, seeds, seed, .. } = args;
    if !(minutes.is_finite() && *minutes > 0.0) {
        return Err(format!("--minutes: expected over 0, got {minutes}").into());
    }
    if *seeds == 0 {
        return Err("--seeds: expected at least 1, got 0".into());
    }
    let experiment = match &args.experiment {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
            from_toml(&text, &path.display().to_string())?
        }
        None => Experiment::default(),
    };
    experiment.check().map_err(|reason| format!("--experiment: {reason}"))?;
    let gpu = args.gpu.open()?;
    let mut progress = StudyBar::new()?;
    let options =
        Options { out: out.clone(), minutes: *minutes, seeds: *seeds, seed: *seed, threads: threads(), experiment };
    let page = claims::run(&gpu, &options, &mut progress);
    progress.finish();
    say(&format!("the page: {}", page?.display()));
    Ok(())
}
