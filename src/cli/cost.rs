//! What a step costs, before it runs.

use serde::Serialize;

use super::{AdapterArgs, Failure};
use crate::config::OptimConfig;
use crate::gpu::{Caps, Plan, PlanSummary, Recorder};
use crate::ranks::Launch;

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
    println!("{}", exchange(&summary, Launch::of_env().size));
    Ok(())
}

/// What ranks exchange in a step; for a process alone, as many ranks as one likes.
fn exchange(summary: &PlanSummary, ranks: usize) -> String {
    let (of, factor) = match ranks {
        1 => ("of many".to_owned(), 2.0),
        _ => (format!("of {ranks}"), 2.0 * (ranks - 1) as f64 / ranks as f64),
    };
    let bytes = factor * summary.gradients as f64;
    // The backward pass is two thirds of a micro-batch.
    let seconds_at_tera = summary.flops * 2.0 / 3.0 / 1e12;
    format!(
        "with several ranks (mpirun): each {of} sends and receives {:.1} MiB a step; a link of {:.2} Gbit/s for each TFLOP/s that the \
         GPU reaches hides it behind one backward pass",
        bytes / f64::from(1 << 20),
        8.0 * bytes / 1e9 / seconds_at_tera
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_bandwidth_of_ranks() {
        let summary = PlanSummary { gradients: 100 << 20, flops: 3e12, ..PlanSummary::default() };
        let text = exchange(&summary, 2);
        assert!(text.contains("each of 2 sends and receives 100.0 MiB") && text.contains("0.42 Gbit/s"), "{text}");
        assert!(exchange(&summary, 1).contains("each of many sends and receives 200.0 MiB"));
    }
}
