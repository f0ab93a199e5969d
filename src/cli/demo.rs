//! `mvd demo`

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::args::threads;
use super::report::say;
use super::stop::Stop;
use super::{AdapterArgs, Failure};
use crate::config::size;
use crate::demo::{self, Options, Progress, Sizes};
use crate::model::Vit;
use crate::train::Reporter;
use crate::train::log::StepRecord;

#[derive(Args)]
pub(super) struct DemoArgs {
    /// Folder of the page and of all that it is made from; what is there of the same demo is gone on with.
    #[arg(long, default_value = "runs/demo")]
    out: PathBuf,
    /// Time that it may take; step counts follow from the adapter's speed.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Seed of clips, weights and order.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Height and width of the clips, a multiple of 8.
    #[arg(long, default_value_t = Sizes::default().size)]
    input_size: usize,
    /// Encoders: tiny, small, base, large, huge, or dim,depth,heads.
    #[arg(long, value_parser = size, default_value = "96,2,3")]
    size: Vit,
    #[command(flatten)]
    gpu: AdapterArgs,
}

/// One bar over the whole demo; on no terminal, a line a stage.
struct Bar {
    bar: ProgressBar,
    stage: String,
    part: Range<f64>,
    total: usize,
    stop: Stop,
}

impl Progress for Bar {
    fn stage(&mut self, name: &str, part: Range<f64>) {
        self.stage = name.to_owned();
        self.bar.set_position((1000.0 * part.start) as u64);
        self.part = part;
        self.bar.set_message(name.to_owned());
        if self.bar.is_hidden() {
            say(name);
        }
    }
}

impl Reporter for Bar {
    fn start(&mut self, total: usize, _first: usize, _facts: &[String]) {
        self.total = total;
    }

    fn step(&mut self, record: &StepRecord, clips_per_second: f64, _waited: Duration) {
        let (step, total, loss) = (record.step, self.total, record.loss);
        let share = step as f64 / total.max(1) as f64;
        let done = self.part.start + share * (self.part.end - self.part.start);
        self.bar.set_position((1000.0 * done) as u64);
        self.bar.set_message(format!(
            "{}: step {step} of {total}, loss {loss:.3}, {clips_per_second:.0} clips/s",
            self.stage
        ));
        if self.bar.is_hidden() && step == total {
            say(&format!("  {total} steps, loss {loss:.4}"));
        }
    }

    fn saved(&mut self, _path: &Path, _took: Duration) {}

    fn note(&mut self, text: &str) {
        if self.bar.is_hidden() {
            say(&format!("  {text}"));
        }
    }

    fn stop(&self) -> Option<i32> {
        self.stop.signal()
    }
}

pub(super) fn run(args: &DemoArgs) -> Result<(), Failure> {
    let DemoArgs { out, minutes, seed, .. } = args;
    if !(minutes.is_finite() && *minutes > 0.0) {
        return Err(format!("--minutes: expected over 0, got {minutes}").into());
    }
    if args.input_size < 16 || !args.input_size.is_multiple_of(8) {
        return Err(format!("--input-size: expected a multiple of 8, 16 at least, got {}", args.input_size).into());
    }
    let sizes = Sizes { size: args.input_size, encoder: args.size, ..Sizes::default() };
    let gpu = args.gpu.open()?;
    let style = ProgressStyle::with_template("[{elapsed}] {bar:30} {percent:>3} %  {msg}")?;
    let bar = ProgressBar::new(1000).with_style(style);
    bar.enable_steady_tick(Duration::from_millis(500));
    let mut progress = Bar { bar, stage: String::new(), part: 0.0..0.0, total: 0, stop: Stop::listen()? };
    let options = Options { out: out.clone(), minutes: *minutes, seed: *seed, threads: threads(), sizes };
    let page = demo::run(&gpu, &options, &mut progress);
    progress.bar.finish_and_clear();
    say(&format!("the page: {}", page?.display()));
    Ok(())
}
