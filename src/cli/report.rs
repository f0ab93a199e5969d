//! Progress for people: a bar on a terminal; in a pipe a line every half minute.

use std::io::Write as _;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

use super::Failure;
use super::stop::Stop;
use crate::eval::Score;
use crate::progress::Pace;
use crate::study::Progress;
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

/// One bar over all runs of a study; on no terminal, a line a stage.
pub(super) struct StudyBar {
    bar: ProgressBar,
    stage: String,
    part: Range<f64>,
    total: usize,
    stop: Stop,
}

impl Progress for StudyBar {
    fn stage(&mut self, name: &str, part: Range<f64>) {
        self.stage = name.to_owned();
        self.bar.set_position((1000.0 * part.start) as u64);
        self.part = part;
        self.bar.set_message(name.to_owned());
        if self.bar.is_hidden() {
            say(name);
        }
    }

    fn announce(&mut self, text: &str) {
        match self.bar.is_hidden() {
            true => say(text),
            false => self.bar.println(text),
        }
    }
}

impl StudyBar {
    pub fn new() -> Result<Self, Failure> {
        let style = ProgressStyle::with_template("[{elapsed}] {bar:30} {percent:>3} %  {msg}")?;
        let bar = ProgressBar::new(1000).with_style(style);
        bar.enable_steady_tick(Duration::from_millis(500));
        Ok(StudyBar { bar, stage: String::new(), part: 0.0..0.0, total: 0, stop: Stop::listen()? })
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Reporter for StudyBar {
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
