//! What the demo trains, and for how long: step counts from a budget of minutes and the adapter's measured speed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Error;
use crate::config::{EncoderKind, FinetuneConfig, PretrainKind};
use crate::data::synth::{Background, Level, SynthConfig};
use crate::gpu::Gpu;
use crate::model::{Grid, Vit};
use crate::ranks::Ranks;
pub use crate::study::configs::DIRECTION;
use crate::study::configs::{Configs, Label, SPEED, Shapes, shape};
use crate::study::timing::{TIMED_STEPS, time};
use crate::train::{distill, finetune, pretrain};

pub use crate::study::timing::Cost;

/// Everything of a demo but its budget and seed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sizes {
    /// Height and width of the clips in pixels; their patches have 8.
    pub size: usize,
    /// Clips to learn from.
    pub train: usize,
    /// Clips held out.
    pub test: usize,
    /// Clips of a step.
    pub batch: usize,
    /// Steps of each kind of training in a run of full length; a budget scales them all alike.
    pub steps: Steps,
    /// Teachers' and students' encoders.
    pub encoder: Vit,
    /// Their decoders.
    pub decoder: Vit,
}

impl Default for Sizes {
    fn default() -> Self {
        Sizes {
            size: 32,
            train: 2000,
            test: 500,
            batch: 8,
            steps: Steps { teacher: 2100, student: 1900, tuning: 2500 },
            // Shallow, and of so few channels that there is time for steps: 97 / 97 % where 128 channels came to 96 / 94 in the time.
            encoder: Vit { dim: 96, depth: 2, heads: 3, mlp_ratio: 4 },
            decoder: Vit { dim: 64, depth: 2, heads: 2, mlp_ratio: 4 },
        }
    }
}

impl Sizes {
    /// Those of the runs.
    pub fn shapes(&self) -> Shapes {
        let Sizes { size, batch, encoder, decoder, .. } = *self;
        Shapes { size, batch, encoder, decoder }
    }

    /// How a clip is cut.
    pub fn grid(&self) -> Grid {
        self.shapes().grid()
    }
}

/// Share of the budget kept for probes, pictures and surprises.
const RESERVE: f64 = 0.03;

/// Steps of each kind of training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Steps {
    /// Of each teacher.
    pub teacher: usize,
    /// Of each student.
    pub student: usize,
    /// Of each fine-tuning.
    pub tuning: usize,
}

/// The measured costs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Costs {
    /// The image teacher.
    pub image: Cost,
    /// The video teacher.
    pub video: Cost,
    /// A student of one teacher.
    pub one: Cost,
    /// The student of both.
    pub both: Cost,
    /// Fine-tuning.
    pub tuning: Cost,
}

/// All that fixes a demo's runs; kept as `plan.toml`, so that a demo is gone on with as it was begun.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The budget.
    pub minutes: f64,
    /// Seed of everything.
    pub seed: u64,
    /// Steps of the pixel-only model: as long as the student of both takes.
    pub pixel_steps: usize,
    /// Seconds that the runs are expected to take.
    pub expected: f64,
    /// Steps of the others.
    pub steps: Steps,
    /// Sizes of everything.
    pub sizes: Sizes,
    /// What was measured.
    pub costs: Costs,
}

/// How much varies from clip to clip.
const LEVEL: Level = Level::Easy;
/// What a single frame shows.
pub const SHAPE: Label = shape(LEVEL);
/// All labels of the set.
pub const LABELS: [Label; 3] = [SHAPE, DIRECTION, SPEED];

/// A set of clips to write.
pub fn clips(size: usize, count: usize, seed: u64) -> SynthConfig {
    SynthConfig { count, seed, background: Background::Grey, level: LEVEL, frames: 16, size }
}

/// Measures every kind of training; `told` hears of each as it begins.
///
/// # Errors
/// Whatever ends a run.
pub fn measure(
    gpu: &Arc<Gpu>,
    folder: &Path,
    configs: &Configs,
    told: &mut dyn FnMut(&'static str),
) -> Result<Costs, Error> {
    let at = |name: &str| folder.join(name);
    let steps = TIMED_STEPS;
    let teacher = |kind, name| {
        let config = configs.pretrain(kind, steps)?;
        time(&at(name), &config, |dir, watch| pretrain::train(gpu, &Ranks::alone(), &config, dir, None, watch))
    };
    told("the image teacher's speed");
    let (image, image_weights) = teacher(PretrainKind::Image, "image")?;
    told("the video teacher's speed");
    let (video, video_weights) = teacher(PretrainKind::Video, "video")?;
    let student = |image: Option<&Path>, name| {
        let config = configs.distill(image, Some(&video_weights), steps)?;
        time(&at(name), &config, |dir, watch| distill::train(gpu, &Ranks::alone(), &config, dir, None, watch))
    };
    told("a student's speed");
    let (one, _) = student(None, "one")?;
    told("the speed of the student of both");
    let (both, _) = student(Some(&image_weights), "both")?;
    told("fine-tuning's speed");
    let config = FinetuneConfig { val: PathBuf::new(), ..configs.finetune(None, EncoderKind::Mvd, SHAPE, steps)? };
    let (tuning, _) =
        time(&at("tuning"), &config, |dir, watch| finetune::train(gpu, &Ranks::alone(), &config, dir, None, watch))?;
    Ok(Costs { image, video, one, both, tuning })
}

/// Fine-tunings: three encoders, two labels.
const TUNINGS: usize = 6;

/// What a fine-tuning takes with its validations, one after each pass and one at the end: all held-out clips, forward only,
/// which is a third of a step's work a batch.
fn with_validations(sizes: &Sizes, tuning: Cost) -> Cost {
    let Cost { start, step } = tuning;
    let one = (sizes.test / sizes.batch.max(1)) as f64 * step / 3.0;
    let passes_a_step = sizes.batch as f64 / sizes.train.max(1) as f64;
    Cost { start: start + one, step: step + passes_a_step * one }
}

/// Parts of a demo, in their order; after each, the steps of those behind it are fitted to the time that is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The image and the video teacher.
    Teachers,
    /// The pixel-only model and the students.
    Students,
    /// The fine-tunings.
    Tunings,
}

const PARTS: [Part; 3] = [Part::Teachers, Part::Students, Part::Tunings];

impl Plan {
    /// What a fine-tuning takes with its validations.
    pub fn tuning(&self) -> Cost {
        with_validations(&self.sizes, self.costs.tuning)
    }

    /// Seconds of a part's starts and of its steps.
    fn seconds(&self, part: Part) -> [f64; 2] {
        let (Costs { image, video, one, both, .. }, tuning) = (self.costs, self.tuning());
        let [teachers, students, pixels, tunings] =
            [self.steps.teacher, self.steps.student, self.pixel_steps, self.steps.tuning].map(|steps| steps as f64);
        let count = TUNINGS as f64;
        match part {
            Part::Teachers => [image.start + video.start, teachers * (image.step + video.step)],
            Part::Students => [
                video.start + 2.0 * one.start + both.start,
                students * (2.0 * one.step + both.step) + pixels * video.step,
            ],
            Part::Tunings => [count * tuning.start, count * tunings * tuning.step],
        }
    }

    /// Gives some parts their steps at a share of a run of full length.
    fn scale(&mut self, scale: f64, parts: &[Part]) {
        let (full, costs) = (self.sizes.steps, self.costs);
        let scaled = |steps: usize| ((steps as f64 * scale).round() as usize).max(2);
        for part in parts {
            match part {
                Part::Teachers => self.steps.teacher = scaled(full.teacher),
                Part::Students => {
                    self.steps.student = scaled(full.student);
                    // As long as the student of both takes.
                    let alike = self.steps.student as f64 * costs.both.step / costs.video.step;
                    self.pixel_steps = (alike.round() as usize).max(2);
                }
                Part::Tunings => self.steps.tuning = scaled(full.tuning),
            }
        }
    }

    /// Fits some parts into so many seconds.
    fn fit(&mut self, left: f64, parts: &[Part]) {
        self.scale(1.0, parts);
        let [starts, steps] = [0, 1].map(|which| parts.iter().map(|part| self.seconds(*part)[which]).sum::<f64>());
        self.scale(((left - starts) / steps).clamp(0.0, 1.0), parts);
        self.expected = PARTS.iter().flat_map(|part| self.seconds(*part)).sum();
    }

    /// Step counts for what is left of a budget.
    pub fn new(minutes: f64, spent: Duration, seed: u64, sizes: Sizes, costs: Costs) -> Plan {
        let mut plan = Plan { minutes, seed, pixel_steps: 0, expected: 0.0, steps: sizes.steps, sizes, costs };
        plan.fit(plan.left(spent), &PARTS);
        plan
    }

    /// Seconds left of the budget.
    fn left(&self, spent: Duration) -> f64 {
        60.0 * self.minutes * (1.0 - RESERVE) - spent.as_secs_f64()
    }

    /// Fits what is behind a part into what is left of the budget; the part took `took`, all so far `spent`.
    pub fn refit(&mut self, part: Part, took: Duration, spent: Duration) {
        // Neighbours and clocks change; what they did last is the best guess of what they will do.
        let expected: f64 = self.seconds(part).iter().sum();
        let slower = (took.as_secs_f64() / expected.max(1e-9)).clamp(0.25, 4.0);
        self.fit(self.left(spent) / slower, &PARTS[part as usize + 1..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a machine so many times as slow as another.
    fn costs(slow: f64) -> Costs {
        let cost = |step: f64| Cost { start: 1.0, step: step * slow };
        Costs { image: cost(0.05), video: cost(0.1), one: cost(0.1), both: cost(0.15), tuning: cost(0.1) }
    }

    #[test]
    fn budgets_scale_steps_to_the_speed() {
        let plan = |minutes, slow| Plan::new(minutes, Duration::from_secs(30), 0, Sizes::default(), costs(slow));
        let short = plan(5.0, 1.0);
        assert!((240.0..300.0).contains(&(30.0 + short.expected)), "{short:?}");
        assert!((short.pixel_steps as f64 - 1.5 * short.steps.student as f64).abs() <= 1.0, "{short:?}");
        assert!(plan(5.0, 4.0).steps.tuning < short.steps.tuning / 3);
        assert_eq!(plan(1e4, 1.0).steps, Sizes::default().steps, "no longer than full length");
        assert_eq!(plan(0.0, 1.0).steps, Steps { teacher: 2, student: 2, tuning: 2 });
        let text = toml::to_string(&short).unwrap();
        assert_eq!(toml::from_str::<Plan>(&text).unwrap(), short);
    }

    #[test]
    fn steps_follow_the_speed_seen() {
        let plan = Plan::new(10.0, Duration::from_secs(30), 0, Sizes::default(), costs(1.0));
        // How many times as slow as measured the teachers, the students and the fine-tunings are.
        for slow in [[1.0; 3], [1.2; 3], [0.5; 3], [1.0, 1.5, 1.5], [2.0, 1.0, 1.0]] {
            let (mut plan, before, mut spent) = (plan.clone(), plan.steps, 30.0);
            for (part, slow) in PARTS.into_iter().zip(slow) {
                let took = slow * plan.seconds(part).iter().sum::<f64>();
                spent += took;
                if part != Part::Tunings {
                    plan.refit(part, Duration::from_secs_f64(took), Duration::from_secs_f64(spent));
                }
            }
            assert_eq!(plan.steps.teacher, before.teacher, "what is done stays");
            assert_eq!(plan.steps.student < before.student, slow[0] > 1.0, "{slow:?}: {plan:?}");
            assert_eq!(plan.steps.student > before.student, slow[0] < 1.0, "{slow:?}: {plan:?}");
            assert!((0.9..=1.0).contains(&(spent / 600.0)), "{slow:?}: {spent} s of 600, {plan:?}");
        }
    }
}
