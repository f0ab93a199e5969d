//! One training step of `bench-tiny` or `small-from-base` in burn on wgpu, as `mvd bench` runs it.
//!
//! ```text
//! mvd-peer-burn bench-tiny [--runs 5]
//! ```
//!
//! Student on visible tokens, both decoders, both frozen teachers, SmoothL1, AdamW; fusion, autotuning and attention as burn
//! chooses them. Prints one JSON line: median and least seconds of a step, seconds from the start to the end of the
//! first step, peak memory of the process in MiB, and the last step's loss.

mod model;

use std::error::Error;
use std::process::ExitCode;
use std::time::Instant;

use burn::nn::loss::{Reduction, SmoothL1LossConfig};
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Distribution, Int, Tensor, s};

use model::{Sizes, Student, Teachers, Vit, cut};

const USAGE: &str = "usage: mvd-peer-burn bench-tiny|small-from-base [--runs 5]";

const fn vit(dim: usize, depth: usize, heads: usize) -> Vit {
    Vit { dim, depth, heads }
}

const SIZES: [Sizes; 2] = [
    Sizes {
        name: "bench-tiny",
        frames: 8,
        size: 64,
        patch: 8,
        batch: 8,
        masked: 48,
        student: vit(192, 6, 3),
        decoder: vit(96, 2, 3),
        teacher: vit(192, 6, 3),
    },
    Sizes {
        name: "small-from-base",
        frames: 16,
        size: 224,
        patch: 16,
        batch: 1,
        masked: 176,
        student: vit(384, 12, 6),
        decoder: vit(384, 2, 6),
        teacher: vit(768, 12, 12),
    },
];

/// The step and the timed runs of it that the command line asks for.
fn arguments(mut args: impl Iterator<Item = String>) -> Option<(&'static Sizes, usize)> {
    let name = args.next()?;
    let sizes = SIZES.iter().find(|sizes| sizes.name == name)?;
    let runs = match args.next().as_deref() {
        None => 5,
        Some("--runs") => args.next()?.parse().ok().filter(|&runs| runs > 0)?,
        Some(_) => return None,
    };
    args.next().is_none().then_some((sizes, runs))
}

/// Everything that a step reads or changes.
struct Training<'a> {
    sizes: &'a Sizes,
    device: Device,
    student: Student,
    optimiser: ModuleOptimizer,
    teachers: Teachers,
    clips: Tensor<5>,
    order: Tensor<1, Int>,
}

impl<'a> Training<'a> {
    fn new(sizes: &'a Sizes) -> Self {
        let device = Device::wgpu(Default::default());
        device.seed(0);
        let clip = [sizes.batch, 3, sizes.frames, sizes.size, sizes.size];
        let optimiser = AdamWConfig::new().with_beta_2(0.95).with_epsilon(1e-8).with_weight_decay(0.05).init();
        let autodiff = device.clone().autodiff();
        Self {
            sizes,
            student: Student::new(sizes, &autodiff),
            optimiser,
            teachers: Teachers::new(sizes, &device),
            clips: Tensor::random(clip, Distribution::Normal(0.0, 1.0), &device),
            order: Tensor::arange(0..sizes.tokens() as i64, &autodiff),
            device,
        }
    }

    /// Takes a step, waits for the device and gives the loss, still on it.
    fn step(mut self) -> Result<(Self, Tensor<1>), Box<dyn Error>> {
        let visible = self.sizes.visible();
        let targets = self.teachers.forward(self.clips.clone(), self.sizes);
        let patches = cut(self.clips.clone(), self.sizes.patch, 2).slice(s![.., ..visible]).autodiff();
        let outputs = self.student.forward(patches, &self.order);
        let smooth_l1 = SmoothL1LossConfig::new().init();
        let [image, video] = [0, 1].map(|i| {
            let target = targets[i].clone().slice(s![.., visible..]).autodiff();
            smooth_l1.forward_with_reduction(outputs[i].clone(), target, Reduction::Mean)
        });
        let loss = image + video;
        let gradients = GradientsParams::from_grads(loss.backward(), &self.student);
        self.student = self.optimiser.step(1e-4, self.student, gradients);
        self.device.sync()?;
        Ok((self, loss.inner()))
    }
}

/// The most memory that the process has held, in MiB.
fn peak_mib() -> Result<f64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM in /proc/self/status")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim_end().parse()?;
    Ok(kib / 1024.0)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

fn measure(sizes: &Sizes, runs: usize) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let (training, _) = Training::new(sizes).step()?;
    let first_step = start.elapsed().as_secs_f64();
    let (mut training, mut loss) = training.step()?;
    let mut seconds = Vec::with_capacity(runs);
    for _ in 0..runs {
        let clock = Instant::now();
        (training, loss) = training.step()?;
        seconds.push(clock.elapsed().as_secs_f64());
    }
    let fastest = seconds.iter().copied().fold(f64::INFINITY, f64::min);
    let (seconds, peak, loss) = (median(seconds), peak_mib()?, loss.into_scalar::<f32>());
    println!(
        r#"{{"step": "{}", "seconds": {seconds}, "fastest": {fastest}, "first_step": {first_step}, "peak_mib": {peak}, "loss": {loss}}}"#,
        sizes.name
    );
    Ok(())
}

fn main() -> ExitCode {
    let Some((sizes, runs)) = arguments(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match measure(sizes, runs) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
