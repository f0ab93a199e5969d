//! How fast clips can be drawn, by stage.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::augment::RandAugment;
use super::dataset::Dataset;
use super::error::Result;
use super::rng;
use super::sample::{ClipConfig, Cutter, Taken, Training, View};

/// Time that stages took, summed over threads.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stages {
    /// Reading and decoding.
    pub decode: Duration,
    /// Cutting a region out and resizing it, mirroring.
    pub crop: Duration,
    /// What augmentation takes more.
    pub augment: Duration,
    /// Time on the clock.
    pub elapsed: Duration,
    /// Clips drawn.
    pub clips: usize,
    /// Clips that could not be drawn.
    pub bad: usize,
}

/// Draws `count` clips from random places of a set, with and without the augmentation of `config`.
pub fn measure(
    set: &Dataset,
    config: &ClipConfig,
    count: usize,
    threads: usize,
    progress: &(dyn Fn() + Sync),
) -> Stages {
    let (sum, next, clock) = (Mutex::new(Stages::default()), AtomicUsize::new(0), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut own = Stages::default();
                let mut cutter = Cutter::default();
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        break;
                    }
                    match one(set, config, index, &mut cutter, &mut own) {
                        Ok(()) => own.clips += 1,
                        Err(error) => {
                            log::warn!("{error}");
                            own.bad += 1;
                        }
                    }
                    progress();
                }
                if let Ok(mut sum) = sum.lock() {
                    sum.decode += own.decode;
                    sum.crop += own.crop;
                    sum.augment += own.augment;
                    (sum.clips, sum.bad) = (sum.clips + own.clips, sum.bad + own.bad);
                }
            });
        }
    });
    let sum = sum.into_inner().unwrap_or_default();
    Stages { elapsed: clock.elapsed(), ..sum }
}

fn one(set: &Dataset, config: &ClipConfig, index: usize, cutter: &mut Cutter, own: &mut Stages) -> Result<()> {
    use rand::RngExt;
    let mut rng = rng(0, 0, index, 7);
    let item = set.items.at(rng.random_range(0..set.items.len()));
    let plain = match config.view {
        View::Training(training) => View::Training(Training { augment: RandAugment::NONE, jitter: 0.0, ..training }),
        other => other,
    };
    let clock = Instant::now();
    let taken = Taken::decode(&item, &[*config], &set.index, &mut rng)?;
    let decoded = clock.elapsed();
    let clip = taken.cut(0, &ClipConfig { view: plain, ..*config }, cutter, &mut rng)?;
    let cropped = clock.elapsed();
    cutter.spent.push(clip);
    let clip = taken.cut(0, config, cutter, &mut rng)?;
    let augmented = clock.elapsed();
    cutter.spent.push(clip);
    own.decode += decoded;
    own.crop += cropped - decoded;
    own.augment += (augmented - cropped).saturating_sub(cropped - decoded);
    Ok(())
}
