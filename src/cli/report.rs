//! Progress for people: a bar on a terminal; in a pipe a line every half minute.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

use super::stop::Stop;
use crate::eval::Score;
use crate::progress::Pace;
use crate::train::Reporter;
use crate::train::log::StepRecord;

/// Prints a line. A pipe that nobody reads is told by its signal, and is no reason to panic.
pub(super) fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// A bar with rate and time left; hidden where standard error is no terminal.
pub(super) fn bar(len: usize, what: &str) -> ProgressBar {
    let template = "{prefix} {bar:24} {pos}/{len} {msg} [{elapsed}, {eta} left]";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(len as u64).with_style(style).with_prefix(what.to_owned())
}

/// A training run's bar, and that of its validations.
pub(super) struct TrainBar {
    bar: ProgressBar,
    validation: Option<ProgressBar>,
    what: &'static str,
    stop: Stop,
    pace: Pace,
    /// The share of the time that was spent in sums over ranks.
    exchange: Option<f64>,
}

impl TrainBar {
    pub fn new(what: &'static str, stop: Stop) -> Self {
        TrainBar { bar: ProgressBar::hidden(), validation: None, what, stop, pace: Pace::new(0, 0), exchange: None }
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn line(&self, text: &str) {
        if self.bar.is_hidden() {
            say(text);
        } else {
            self.bar.println(text);
        }
    }
}

/// A test's bar with what has come out so far.
pub(super) struct TestBar {
    bar: ProgressBar,
    pace: Pace,
    /// Lines go to standard error, as standard output is for the result alone.
    quiet: bool,
}

impl TestBar {
    /// Of `total` clips.
    pub fn new(total: usize, quiet: bool) -> TestBar {
        TestBar { bar: bar(total, "clips"), pace: Pace::new(0, total), quiet }
    }

    /// Prints a line beside the bar.
    pub fn line(&self, text: &str) {
        if !self.bar.is_hidden() {
            self.bar.println(text);
        } else if self.quiet {
            let _ = writeln!(std::io::stderr(), "{text}");
        } else {
            say(text);
        }
    }

    /// After a batch: clips of this session that are done, and the score of all videos so far.
    pub fn scored(&mut self, clips: usize, score: &Score) {
        let text = format!("top-1 {:.2} % of {} videos", score.top1(), score.count);
        let now = Instant::now();
        if self.bar.is_hidden() && self.pace.due(clips, now) {
            let left = HumanDuration(self.pace.left(clips, now));
            self.line(&format!("clip {clips} of {}: {text}, {left} left", self.pace.total));
        }
        self.bar.set_message(text);
        self.bar.set_position(clips as u64);
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Reporter for TrainBar {
    fn start(&mut self, total: usize, first: usize, facts: &[String]) {
        facts.iter().for_each(|fact| say(fact));
        if first > 0 {
            say(&format!("going on after step {first}"));
        }
        self.bar = bar(total, self.what).with_position(first as u64);
        self.pace = Pace::new(first, total);
    }

    fn step(&mut self, r: &StepRecord, clips_per_second: f64, waited: Duration) {
        let losses: String = r.losses.iter().map(|(n, v)| format!("{} {v:.4} ", n.replace("loss_", ""))).collect();
        let exchange = self.exchange.map(|share| format!(", exchange {:.0} %", 100.0 * share)).unwrap_or_default();
        let text = format!(
            "{losses}grad {:.3} lr {:.2e} {clips_per_second:.1} clips/s, data waited {:.1} s{exchange}",
            r.grad_norm,
            r.lr,
            waited.as_secs_f64()
        );
        let now = Instant::now();
        if self.bar.is_hidden() && self.pace.due(r.step, now) {
            let left = HumanDuration(self.pace.left(r.step, now));
            say(&format!("step {} of {}: {text}, {left} left", r.step, self.pace.total));
        }
        self.bar.set_message(text);
        self.bar.set_position(r.step as u64);
    }

    fn exchanged(&mut self, share: f64) {
        self.exchange = Some(share);
    }

    fn saved(&mut self, path: &Path, took: Duration) {
        self.line(&format!("saved {} in {:.1} s", path.display(), took.as_secs_f64()));
    }

    fn note(&mut self, text: &str) {
        if let Some(bar) = self.validation.take() {
            bar.finish_and_clear();
        }
        self.line(text);
    }

    fn validating(&mut self, done: usize, all: usize) {
        let bar = self.validation.get_or_insert_with(|| bar(all, "validate"));
        bar.set_position(done as u64);
    }

    fn stop(&self) -> Option<i32> {
        self.stop.signal()
    }
}
