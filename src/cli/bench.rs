//! `mvd bench`

use clap::{Args, Subcommand};

use super::bench_data::{self, BenchDataArgs};
use super::bench_scaling::{self, BenchScalingArgs};
use super::{AdapterArgs, Failure};
use crate::bench::{self, Batch, MemoryOperation, Operation, Report, Step};

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
    /// Leave whole steps out.
    #[arg(long)]
    no_steps: bool,
    #[command(flatten)]
    batch: BatchArgs,
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

/// How many clips the steps have.
#[derive(Args)]
pub(super) struct BatchArgs {
    /// Clips of a whole step: a number, or `auto` for the largest power of two whose plan fits into --memory, 8 without it
    /// [default: 8 for bench-tiny and demo, else 1].
    #[arg(long, value_name = "CLIPS|auto", value_parser = clips)]
    batch: Option<Clips>,
    /// Memory in GiB that `--batch auto` may plan for: adapters do not tell theirs.
    #[arg(long, value_name = "GIB", requires = "batch")]
    memory: Option<f64>,
}

/// What `--batch` says.
#[derive(Clone, Copy)]
enum Clips {
    Auto,
    Number(usize),
}

fn clips(text: &str) -> Result<Clips, String> {
    match (text, text.parse()) {
        ("auto", _) => Ok(Clips::Auto),
        (_, Ok(clips @ 1..)) => Ok(Clips::Number(clips)),
        _ => Err("expected a number of clips, 1 at least, or auto".to_owned()),
    }
}

impl BatchArgs {
    pub(super) fn batch(&self) -> Result<Batch, Failure> {
        match (self.batch, self.memory) {
            (None, _) => Ok(Batch::Own),
            (Some(Clips::Number(clips)), None) => Ok(Batch::Clips(clips)),
            (Some(Clips::Number(clips)), Some(_)) => {
                Err(format!("--memory: expected with --batch auto alone, got --batch {clips}").into())
            }
            (Some(Clips::Auto), None) => Ok(Batch::Clips(8)),
            (Some(Clips::Auto), Some(gib)) if gib > 0.0 => Ok(Batch::Within((gib * f64::from(1 << 30)) as u64)),
            (Some(Clips::Auto), Some(gib)) => Err(format!("--memory: expected GiB over 0, got {gib}").into()),
        }
    }
}

pub(super) fn run(args: &BenchArgs) -> Result<(), Failure> {
    match &args.other {
        Some(Other::Data(args)) => return bench_data::run(args),
        Some(Other::Scaling(args)) => return bench_scaling::run(args),
        None => {}
    }
    let batch = args.batch.batch()?;
    let gpu = args.gpu.open()?;
    let limits = bench::limits(&gpu)?;
    let adapter = gpu.describe();
    let say = |text: String| {
        if !args.json {
            println!("{text}");
        }
    };
    say(format!("on {adapter}"));
    let matrices = limits.matrix_gflops.map(|gflops| format!(", {gflops:.1} of f16 in matrices")).unwrap_or_default();
    say(format!(
        "limits: {:.1} GFLOP/s of multiply-adds{matrices}, {:.1} GB/s copied, {:.1} us a dispatch",
        limits.gflops, limits.copy_gbs, limits.dispatch_us
    ));
    say(format!("{:<48}{:<22}{:>10}{:>10}{:>9}{:>8}", "operation", "kernel", "ms", "GFLOP/s", "of limit", "GB/s"));
    let operations = bench::operations(&gpu, &args.only, |o| say(row(o)))?;
    if !operations.is_empty() {
        say(String::new());
    }
    say(format!("{:<48}{:<22}{:>10}{:>10}{:>9}", "operation bound by memory", "kernel", "ms", "GB/s", "of copy"));
    let memory = bench::memory(&gpu, &args.only, |o| say(memory_row(o)))?;
    let mut steps = Vec::new();
    for workload in bench::workloads().into_iter().filter(|w| !args.no_steps && w.name.contains(&args.only)) {
        let step = workload.with_batch(batch, gpu.caps())?.measure(&gpu, args.runs as usize)?;
        say(table(&step, args.each));
        steps.push(step);
    }
    if operations.is_empty() && memory.is_empty() && steps.is_empty() {
        return Err(format!("--only {}: no operation and no step has that in its name", args.only).into());
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&Report { adapter, limits, operations, memory, steps })?);
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

fn memory_row(o: &MemoryOperation) -> String {
    let share = format!("{:.1} %", 100.0 * o.of_copy);
    format!("{:<48}{:<22}{:>10.3}{:>10.2}{share:>9}", o.name, o.kernel, o.ms, o.gbs)
}

fn table(step: &Step, each: bool) -> String {
    let mut text = format!(
        "step {}, {} clips: {:.4} s (fastest {:.4}, queued {:.4} of which the host {:.4}), {:.1} clips/s, {:.1} GFLOP ({:.1} GFLOP/s), {} dispatches, {:.1} % outside kernels, {:.0} MiB, first step after {:.1} s",
        step.name,
        step.batch,
        step.seconds,
        step.fastest,
        step.queued,
        step.host,
        step.clips_per_second,
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
