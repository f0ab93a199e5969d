//! What a step costs, before it runs.

use serde::Serialize;

use super::{AdapterArgs, Failure};
use crate::config::OptimConfig;
use crate::gpu::{Caps, Plan, PlanSummary, Recorder};

/// What a step of this optimiser costs on an adapter of these capabilities.
pub(super) fn planned(
    caps: &Caps,
    optim: &OptimConfig,
    record: impl Fn(&OptimConfig, &mut Recorder) -> Result<(), Failure>,
) -> Result<PlanSummary, Failure> {
    let mut rec = Recorder::new(caps.clone());
    rec.set_recompute(optim.recompute);
    record(optim, &mut rec)?;
    Ok(Plan::new(rec).summary())
}

/// Prints a config and what a step costs, and what it would with activations recomputed, or kept.
pub(super) fn dry_run(
    gpu: &AdapterArgs,
    config: &impl Serialize,
    (optim, repeats): (&OptimConfig, usize),
    record: impl Fn(&OptimConfig, &mut Recorder) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let (caps, adapter) = gpu.caps()?;
    let summary = planned(&caps, optim, &record)?;
    let other = planned(&caps, &OptimConfig { recompute: !optim.recompute, ..optim.clone() }, &record)?;
    println!("{adapter}");
    println!("{}", toml::to_string(config)?);
    println!("one step of {}, micro-batches of {}:", optim.of_step(repeats), optim.batch);
    println!("{summary}");
    println!(
        "{} --recompute: {:.1} MiB in total, {:.2} times the FLOPs",
        if optim.recompute { "without" } else { "with" },
        other.total_bytes() as f64 / f64::from(1 << 20),
        other.flops / summary.flops
    );
    Ok(())
}
