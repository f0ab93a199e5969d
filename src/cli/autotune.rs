//! `mvd autotune`

use std::path::PathBuf;

use clap::Args;

use super::bench::BatchArgs;
use super::{AdapterArgs, Failure, report};
use crate::bench::workloads;
use crate::gpu::store::{self, Measured};
use crate::gpu::{Recorder, tune};

#[derive(Args)]
pub(super) struct AutotuneArgs {
    /// Only steps whose name holds this: bench-tiny, demo, small-from-base or base-from-base.
    #[arg(long, default_value = "")]
    only: String,
    #[command(flatten)]
    batch: BatchArgs,
    /// Print what was found before, on every adapter.
    #[arg(long, conflicts_with = "clear")]
    list: bool,
    /// Delete what was found before and all built pipelines.
    #[arg(long)]
    clear: bool,
    #[command(flatten)]
    gpu: AdapterArgs,
}

fn row(question: &str, measured: &Measured) -> String {
    let times: Vec<String> = measured.ms.iter().map(|(kernel, ms)| format!("{kernel} {ms:.3}")).collect();
    format!("{question:<48}{:<18}{} ms", measured.kernel, times.join(", "))
}

/// The cache's folder.
fn folder(args: &AutotuneArgs) -> Result<PathBuf, Failure> {
    Ok(args.gpu.cache().ok_or("--cache: expected a folder, for the system names none")?)
}

pub(super) fn run(args: &AutotuneArgs) -> Result<(), Failure> {
    if args.list || args.clear {
        let folder = folder(args)?;
        let failed = |e| format!("{}: {e}", folder.display());
        if args.clear {
            println!("{} files deleted under {}", store::clear(&folder).map_err(failed)?.len(), folder.display());
            return Ok(());
        }
        for tuned in store::tuned(&folder).map_err(failed)? {
            println!("{}", tuned.adapter);
            tuned.choices.iter().for_each(|(question, measured)| println!("  {}", row(question, measured)));
            for (kernel, reason) in &tuned.refused {
                // A driver says it in several lines.
                let reason: Vec<&str> = reason.split_whitespace().collect();
                println!("  left out: {kernel}: {}", reason.join(" "));
            }
        }
        return Ok(());
    }
    let batch = args.batch.batch()?;
    let gpu = args.gpu.open()?;
    println!("on {}", gpu.describe());
    let chosen: Vec<_> = workloads().into_iter().filter(|w| w.name.contains(&args.only)).collect();
    if chosen.is_empty() {
        return Err(format!("--only {}: no step has that in its name", args.only).into());
    }
    let mut rec = Recorder::new(gpu.caps().clone());
    for workload in chosen {
        workload.with_batch(batch, gpu.caps())?.record(&mut rec)?;
    }
    let bar = report::bar(0, "operations");
    let tuned = tune(&gpu, &rec, |question, measured, done, of| {
        bar.set_length(of as u64);
        bar.set_position(done as u64);
        bar.suspend(|| println!("{}", row(question, measured)));
    })?;
    bar.finish_and_clear();
    if tuned.is_none() {
        println!("nothing to choose: there is one kernel for each operation, or the choices were made before");
    }
    Ok(())
}
