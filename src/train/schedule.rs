//! Per-step schedules, as MAE's and VideoMAE's `cosine_scheduler`.

use std::f64::consts::PI;

use crate::config::OptimConfig;

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

/// A learning rate given for 256 videos a step, at another number of them.
pub fn scaled_lr(lr: f64, videos: usize) -> f64 {
    lr * videos as f64 / 256.0
}

/// How long a run is, in optimiser steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Length {
    /// Of a pass over the set.
    pub pass: usize,
    /// In all.
    pub total: usize,
    /// Of warm-up.
    pub warmup: usize,
}

impl Length {
    /// The length of a run over a set of so many videos. A pass has the whole steps that fit, one at least.
    pub fn of(optim: &OptimConfig, videos: usize) -> Length {
        let pass = (videos / optim.total_batch().max(1)).max(1);
        let total = if optim.steps > 0 { optim.steps } else { optim.epochs * pass };
        // By passes; with `steps`, the share that the warm-up has of `epochs`.
        let of_pass = if optim.steps > 0 { total as f64 / optim.epochs.max(1) as f64 } else { pass as f64 };
        let warmup = (optim.warmup_epochs * of_pass).round() as usize;
        Length { pass, total, warmup: warmup.min(total.saturating_sub(1)) }
    }
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

    #[test]
    fn lengths_are_whole_steps() {
        let optim = |batch, accumulate, epochs, steps, warmup_epochs| OptimConfig {
            batch,
            accumulate,
            epochs,
            steps,
            warmup_epochs,
            ..crate::recipes::distill("mvd-tiny").unwrap().optim
        };
        let of = |optim: OptimConfig, videos| {
            let Length { pass, total, warmup } = Length::of(&optim, videos);
            (pass, total, warmup)
        };
        assert_eq!(of(optim(4, 2, 10, 0, 2.0), 100), (12, 120, 24));
        // 5 / 75 of 46,950 steps is 3130 but for rounding.
        assert_eq!(of(optim(384, 1, 75, 0, 5.0), 240_436), (626, 46_950, 3130));
        assert_eq!(of(optim(8, 1, 3, 0, 0.5), 5), (1, 3, 1), "a set smaller than a step");
        assert_eq!(of(optim(8, 1, 10, 200, 1.0), 5), (1, 200, 20), "steps instead of passes");
        assert_eq!(of(optim(8, 1, 3, 0, 5.0), 80), (10, 30, 29), "a warm-up longer than the run");
    }
}
