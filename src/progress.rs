//! When a line about long work is due where no terminal shows a bar.

use std::time::{Duration, Instant};

/// Time from one line to the next.
const LINES: Duration = Duration::from_secs(30);

/// When a line is due, and how long the rest takes at the pace so far.
pub(crate) struct Pace {
    first: usize,
    /// Steps in all.
    pub total: usize,
    begun: Instant,
    told: Option<Instant>,
}

impl Pace {
    /// Work of `total` steps, of which `first` are done.
    pub fn new(first: usize, total: usize) -> Pace {
        Pace { first, total, begun: Instant::now(), told: None }
    }

    /// Whether a line is due at this time: after the first step and the last, and every half minute.
    pub fn due(&mut self, step: usize, now: Instant) -> bool {
        let due = step == self.total || self.told.is_none_or(|told| now - told >= LINES);
        if due {
            self.told = Some(now);
        }
        due
    }

    /// Steps a second so far.
    pub fn rate(&self, step: usize, now: Instant) -> f64 {
        step.saturating_sub(self.first) as f64 / (now - self.begun).as_secs_f64().max(1e-3)
    }

    /// The time that the rest takes.
    pub fn left(&self, step: usize, now: Instant) -> Duration {
        let done = step.saturating_sub(self.first).max(1) as f64;
        (now - self.begun).mul_f64(self.total.saturating_sub(step) as f64 / done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_every_half_minute_with_the_time_left() {
        let mut pace = Pace::new(10, 30);
        let at = |seconds| pace.begun + Duration::from_secs(seconds);
        let times = [1, 2, 30, 31, 60, 62].map(at);
        let due: Vec<bool> = (11..).zip(times).map(|(step, now)| pace.due(step, now)).collect();
        assert_eq!(due, [true, false, false, true, false, true]);
        assert!(pace.due(30, times[5]), "the last step");
        // 5 of 20 steps in half a minute.
        assert_eq!(pace.left(15, times[2]), Duration::from_secs(90));
        assert!((pace.rate(15, times[2]) - 5.0 / 30.0).abs() < 1e-9);
    }
}
