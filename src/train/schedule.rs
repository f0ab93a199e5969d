//! Per-step schedules, as MAE's and VideoMAE's `cosine_scheduler`.

use std::f64::consts::PI;

/// Linear warm-up from 0 to `base`, then half a cosine to `end`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// Value after the warm-up.
    pub base: f64,
    /// Value the cosine tends to.
    pub end: f64,
    /// Steps of warm-up.
    pub warmup: usize,
    /// All steps.
    pub total: usize,
}

impl Schedule {
    /// The value of step `step`, counted from 0.
    ///
    /// The warm-up reaches `base` at its last step, as `linspace(0, base, warmup)` does; the cosine starts at `base`
    /// and would reach `end` one step after the last.
    pub fn at(&self, step: usize) -> f64 {
        if step < self.warmup {
            return if self.warmup == 1 { 0.0 } else { self.base * step as f64 / (self.warmup - 1) as f64 };
        }
        let rest = (self.total.max(self.warmup + 1) - self.warmup) as f64;
        let share = ((step - self.warmup) as f64 / rest).min(1.0);
        self.end + 0.5 * (self.base - self.end) * (1.0 + (PI * share).cos())
    }
}

/// A learning rate given for a total batch of 256, at another total batch.
pub fn scaled_lr(lr: f64, total_batch: usize) -> f64 {
    lr * total_batch as f64 / 256.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of VideoMAE's `cosine_scheduler(1.0, 0.1, 2, 4, warmup_epochs=1)`.
    #[test]
    fn follows_the_reference() {
        let schedule = Schedule { base: 1.0, end: 0.1, warmup: 4, total: 8 };
        let expected = [0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0, 1.0, 0.868_198_051_533_946_3, 0.55, 0.231_801_948_466_053_87];
        for (step, expected) in expected.into_iter().enumerate() {
            assert!((schedule.at(step) - expected).abs() < 1e-12, "step {step}: {}", schedule.at(step));
        }
    }

    #[test]
    fn learning_rates_scale_with_the_batch() {
        assert_eq!(scaled_lr(1.5e-4, 1024), 6e-4);
    }
}
