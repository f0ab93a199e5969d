//! Progress for people: a bar on a terminal, quiet in a pipe.

use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::train::distill::Reporter;
use crate::train::log::StepRecord;

/// A bar with rate and time left; hidden where standard error is no terminal.
pub(super) fn bar(len: usize, what: &str) -> ProgressBar {
    let template = "{prefix} {bar:24} {pos}/{len} {msg} [{elapsed}, {eta} left]";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(len as u64).with_style(style).with_prefix(what.to_owned())
}

/// A distillation's bar.
pub(super) struct DistillBar {
    bar: ProgressBar,
}

impl DistillBar {
    pub fn new() -> Self {
        DistillBar { bar: ProgressBar::hidden() }
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Reporter for DistillBar {
    fn start(&mut self, total: usize, first: usize, facts: &[String]) {
        for fact in facts {
            println!("{fact}");
        }
        if first > 0 {
            println!("going on after step {first}");
        }
        self.bar = bar(total, "distil").with_position(first as u64);
    }

    fn step(&mut self, r: &StepRecord, clips_per_second: f64, waited: Duration) {
        let loss = |name: &str, value: Option<f64>| value.map(|v| format!("{name} {v:.4} ")).unwrap_or_default();
        let (image, video) = (loss("image", r.loss_image), loss("video", r.loss_video));
        self.bar.set_message(format!(
            "{image}{video}grad {:.3} lr {:.2e} {clips_per_second:.1} clips/s, data waited {:.1} s",
            r.grad_norm,
            r.lr,
            waited.as_secs_f64()
        ));
        self.bar.set_position(r.step as u64);
    }

    fn saved(&mut self, path: &Path) {
        self.bar.println(format!("saved {}", path.display()));
    }
}
