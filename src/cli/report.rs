//! Progress for people: a bar on a terminal, quiet in a pipe.

use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::train::Reporter;
use crate::train::log::StepRecord;

/// A bar with rate and time left; hidden where standard error is no terminal.
pub(super) fn bar(len: usize, what: &str) -> ProgressBar {
    let template = "{prefix} {bar:24} {pos}/{len} {msg} [{elapsed}, {eta} left]";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(len as u64).with_style(style).with_prefix(what.to_owned())
}

/// A training run's bar.
pub(super) struct TrainBar {
    bar: ProgressBar,
    what: &'static str,
}

impl TrainBar {
    pub fn new(what: &'static str) -> Self {
        TrainBar { bar: ProgressBar::hidden(), what }
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Reporter for TrainBar {
    fn start(&mut self, total: usize, first: usize, facts: &[String]) {
        for fact in facts {
            println!("{fact}");
        }
        if first > 0 {
            println!("going on after step {first}");
        }
        self.bar = bar(total, self.what).with_position(first as u64);
    }

    fn step(&mut self, r: &StepRecord, clips_per_second: f64, waited: Duration) {
        let losses: String = r.losses.iter().map(|(n, v)| format!("{} {v:.4} ", n.replace("loss_", ""))).collect();
        self.bar.set_message(format!(
            "{losses}grad {:.3} lr {:.2e} {clips_per_second:.1} clips/s, data waited {:.1} s",
            r.grad_norm,
            r.lr,
            waited.as_secs_f64()
        ));
        self.bar.set_position(r.step as u64);
    }

    fn saved(&mut self, path: &Path) {
        self.bar.println(format!("saved {}", path.display()));
    }

    fn note(&mut self, text: &str) {
        if self.bar.is_hidden() {
            println!("{text}");
        } else {
            self.bar.println(text);
        }
    }
}
