//! `mvd bench`

use clap::{Args, Subcommand};

use super::bench_data::{self, BenchDataArgs};
use super::bench_scaling::{self, BenchScalingArgs};
use super::{AdapterArgs, Failure};
use crate::bench::{self, Operation, Report, Step};

#[derive(Subcommand)]
enum Other {
    /// Measure how fast clips are loaded, by stage.
    Data(BenchDataArgs),
    /// Measure how a step's time and memory grow with tokens and with the batch.
    Scaling(BenchScalingArgs),
}

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct BenchArgs {
    #[command(subcommand)]
    other: Option<Other>,
    /// Only operations and steps whose name holds this, e.g. `product NT`, `attention` or `bench-tiny`.
    #[arg(long, default_value = "")]
    only: String,
    /// How often a whole step is timed.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Show the time of whole steps by operation, shapes and kernel.
    #[arg(long)]
    each: bool,
    /// Print everything as JSON instead of tables.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    gpu: AdapterArgs,
}

pub(super) fn run(args: &BenchArgs) -> Result<(), Failure> {
    match &args.other {
        Some(Other::Data(args)) => return bench_data::run(args),
        Some(Other::Scaling(args)) => return bench_scaling::run(args),
        None => {}
    }
    let gpu = args.gpu.open()?;
    let limits = bench::limits(&gpu)?;
    let adapter = gpu.describe();
    let say = |text: String| {
        if !args.json {
            println!("{text}");
        }
    };
    say(format!("on {adapter}"));
    say(format!(
        "limits: {:.1} GFLOP/s of multiply-adds, {:.1} GB/s copied, {:.1} us a dispatch",
        limits.gflops, limits.copy_gbs, limits.dispatch_us
    ));
    say(format!("{:<48}{:<22}{:>10}{:>10}{:>9}{:>8}", "operation", "kernel", "ms", "GFLOP/s", "of limit", "GB/s"));
    let operations = bench::operations(&gpu, &args.only, |o| say(row(o)))?;
    let mut steps = Vec::new();
    for workload in bench::workloads().into_iter().filter(|w| w.name.contains(&args.only)) {
        let step = workload.measure(&gpu, args.runs as usize)?;
        say(table(&step, args.each));
        steps.push(step);
    }
    if operations.is_empty() && steps.is_empty() {
        return Err(format!("--only {}: no operation and no step has that in its name", args.only).into());
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&Report { adapter, limits, operations, steps })?);
    }
    Ok(())
}

fn row(o: &Operation) -> String {
    let (gflops, share) = match o.gflops {
        0.0 => (String::new(), String::new()),
        gflops => (format!("{gflops:.1}"), format!("{:.1} %", 100.0 * o.of_limit)),
    };
    format!("{:<48}{:<22}{:>10.3}{gflops:>10}{share:>9}{:>8.2}", o.name, o.kernel, o.ms, o.gbs)
}

fn table(step: &Step, each: bool) -> String {
    let mut text = format!(
        "step {}: {:.3} s (fastest {:.3}), {:.1} GFLOP ({:.1} GFLOP/s), {} dispatches, {:.1} % outside kernels, {:.0} MiB, first step after {:.1} s",
        step.name,
        step.seconds,
        step.fastest,
        step.gflop,
        step.gflops,
        step.dispatches,
        100.0 * step.outside,
        step.mib,
        step.first_step
    );
    let all: f64 = step.shares.iter().map(|s| s.ms).sum();
    for s in if each { &step.each } else { &step.shares } {
        let figures = format!("{:>5} x{:>10.3} ms{:>8.1} %", s.count, s.ms / s.count as f64, 100.0 * s.ms / all);
        text += &match each {
            true => format!("\n  {figures}{:>8.1} GFLOP/s  {}", 1e3 * s.gflop / s.ms, s.operation),
            false => format!("\n  {:<30}{figures}", s.operation),
        };
    }
    text
}
