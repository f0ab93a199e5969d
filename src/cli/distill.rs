//! `mvd distill`

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::init::{self, Teacher};
use super::report::{self, DistillBar};
use super::{AdapterArgs, Failure};
use crate::config::{DistillConfig, TeacherConfig, size};
use crate::data::MaskKind;
use crate::data::synth::{self, Background, SynthConfig};
use crate::gpu::{Caps, Gpu, Plan, Recorder};
use crate::model::Vit;
use crate::op::loss::LossKind;
use crate::recipes::recipe;
use crate::train::checkpoint::{self, Checkpoint, RunDir};
use crate::train::{distill, groups};

/// Flags left out take the defaults of the published recipes; without --data, those of the small built-in run.
#[derive(Args)]
#[command(args_override_self = true)]
pub(super) struct DistillArgs {
    /// A list of `path label` lines, a folder of videos or of image folders, or one video.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Where a list's relative paths start.
    #[arg(long)]
    root: Option<PathBuf>,
    /// Run directory to make.
    #[arg(long, default_value = "runs/distill")]
    out: PathBuf,
    /// Go on with this run directory, with its own config.
    #[arg(long, value_name = "RUN")]
    resume: Option<PathBuf>,
    /// Print parameters, memory, dispatches and FLOPs of a step, and run nothing.
    #[arg(long)]
    dry_run: bool,
    /// Student: tiny, small, base, large, huge, or dim,depth,heads.
    #[arg(long, value_parser = size)]
    student: Option<Vit>,
    /// Decoders, as --student [default: the student's width, depth 2].
    #[arg(long, value_parser = size)]
    decoder: Option<Vit>,
    /// Weights of the image teacher (MAE), safetensors.
    #[arg(long, value_name = "FILE")]
    image_teacher: Option<PathBuf>,
    /// Its size, as --student.
    #[arg(long, value_parser = size)]
    image_teacher_size: Option<Vit>,
    /// Its patch [default: the student's].
    #[arg(long)]
    image_teacher_patch: Option<usize>,
    /// Its frames' height and width [default: the student's].
    #[arg(long)]
    image_teacher_input_size: Option<usize>,
    /// Weight of its loss; 0 leaves it out.
    #[arg(long, default_value_t = 1.0)]
    image_weight: f32,
    /// Weights of the video teacher (VideoMAE), safetensors.
    #[arg(long, value_name = "FILE")]
    video_teacher: Option<PathBuf>,
    /// Its size, as --student.
    #[arg(long, value_parser = size)]
    video_teacher_size: Option<Vit>,
    /// Weight of its loss; 0 leaves it out.
    #[arg(long, default_value_t = 1.0)]
    video_weight: f32,
    /// Frames of a clip.
    #[arg(long)]
    frames: Option<usize>,
    /// Frames of the video from one of the clip's to the next.
    #[arg(long)]
    stride: Option<usize>,
    /// Height and width of the frames.
    #[arg(long)]
    input_size: Option<usize>,
    /// Height and width of a patch.
    #[arg(long)]
    patch: Option<usize>,
    /// How tokens are masked.
    #[arg(long, value_enum, default_value = "tube")]
    mask: MaskKind,
    /// Share of masked tokens.
    #[arg(long)]
    mask_ratio: Option<f64>,
    /// Distance to the teachers' features.
    #[arg(long, value_enum, default_value = "smooth-l1")]
    loss: LossKind,
    /// Normalise the teachers' features (LayerNorm without affine).
    #[arg(long)]
    norm_feature: bool,
    /// Clips of a micro-batch.
    #[arg(long)]
    batch: Option<usize>,
    /// Micro-batches of a step.
    #[arg(long, default_value_t = 1)]
    accumulate: usize,
    /// Passes over the set.
    #[arg(long)]
    epochs: Option<usize>,
    /// Steps, instead of passes.
    #[arg(long)]
    steps: Option<usize>,
    /// Learning rate of a total batch of 256.
    #[arg(long)]
    lr: Option<f64>,
    /// Where it ends, of a total batch of 256.
    #[arg(long)]
    min_lr: Option<f64>,
    /// Passes of warm-up.
    #[arg(long)]
    warmup_epochs: Option<f64>,
    /// Weight decay.
    #[arg(long, default_value_t = 0.05)]
    weight_decay: f64,
    /// Weight decay at the end [default: the same].
    #[arg(long)]
    weight_decay_end: Option<f64>,
    /// Largest gradient norm; 0 lets all through.
    #[arg(long, default_value_t = 0.0)]
    clip_grad: f64,
    /// Stochastic depth of the last block.
    #[arg(long)]
    drop_path: Option<f64>,
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Decoding threads [default: as many as cores, 8 at most].
    #[arg(long)]
    threads: Option<usize>,
    /// Share of unreadable files at which the run stops.
    #[arg(long, default_value_t = 0.01)]
    max_bad: f64,
    /// Steps from one checkpoint to the next.
    #[arg(long, default_value_t = 100)]
    save_every: usize,
    /// Newest checkpoints kept.
    #[arg(long, default_value_t = 2)]
    keep_last: usize,
    /// Keep every checkpoint whose step is a multiple of this; 0: none.
    #[arg(long, default_value_t = 0)]
    keep_every: usize,
    #[command(flatten)]
    gpu: AdapterArgs,
}

/// The built-in run's set.
const BUILT_IN: SynthConfig = SynthConfig { count: 512, seed: 0, background: Background::Black, size: 64, frames: 16 };

impl DistillArgs {
    /// Nothing of the user's own was given: neither data nor teachers, nor is this a dry run of the published models.
    fn is_built_in(&self) -> bool {
        !self.dry_run && self.data.is_none() && self.image_teacher.is_none() && self.video_teacher.is_none()
    }

    /// What flags left out stand for: a recipe, at a batch that fits one GPU.
    fn preset(&self) -> Result<DistillConfig, Failure> {
        Ok(if self.is_built_in() {
            // Shorter than the recipe and with smaller batches: minutes on two CPU cores.
            let short = recipe("mvd-tiny")?;
            DistillConfig { batch: 8, epochs: 2, lr: 3.2e-2, min_lr: 0.0, warmup_epochs: 0.2, ..short }
        } else {
            DistillConfig { batch: 8, ..recipe("mvd-small-from-base-k400")? }
        })
    }

    /// The complete config: the preset, with the flags given.
    fn config(&self) -> Result<DistillConfig, Failure> {
        let preset = self.preset()?;
        let student = self.student.unwrap_or(preset.student);
        let input_size = self.input_size.unwrap_or(preset.input_size);
        let patch = self.patch.unwrap_or(preset.patch);
        let known = self.dry_run || self.is_built_in();
        let teacher = |preset: Option<TeacherConfig>, weights: &Option<PathBuf>, vit: Option<Vit>, weight: f32| {
            let preset = preset.filter(|_| weight != 0.0 && (weights.is_some() || known))?;
            let weights = weights.clone().unwrap_or_default();
            Some(TeacherConfig { weights, vit: vit.unwrap_or(preset.vit), size: input_size, patch, weight })
        };
        let image = teacher(preset.image_teacher, &self.image_teacher, self.image_teacher_size, self.image_weight);
        let image = image.map(|t| {
            let (size, patch) = (self.image_teacher_input_size, self.image_teacher_patch);
            TeacherConfig { size: size.unwrap_or(t.size), patch: patch.unwrap_or(t.patch), ..t }
        });
        let video = teacher(preset.video_teacher, &self.video_teacher, self.video_teacher_size, self.video_weight);
        // The recipe's decoders are as wide as its student; another student brings its own width.
        let decoder = if self.is_built_in() { preset.decoder } else { Vit { depth: 2, ..student } };
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Ok(DistillConfig {
            data: self.data.clone().unwrap_or_default(),
            root: self.root.clone().unwrap_or_default(),
            frames: self.frames.unwrap_or(preset.frames),
            stride: self.stride.unwrap_or(preset.stride),
            input_size,
            patch,
            mask: self.mask,
            mask_ratio: self.mask_ratio.unwrap_or(preset.mask_ratio),
            loss: self.loss,
            norm_feature: self.norm_feature,
            batch: self.batch.unwrap_or(preset.batch),
            accumulate: self.accumulate,
            epochs: self.epochs.unwrap_or(preset.epochs),
            steps: self.steps.unwrap_or(preset.steps),
            lr: self.lr.unwrap_or(preset.lr),
            min_lr: self.min_lr.unwrap_or(preset.min_lr),
            warmup_epochs: self.warmup_epochs.unwrap_or(preset.warmup_epochs),
            weight_decay: self.weight_decay,
            weight_decay_end: self.weight_decay_end.unwrap_or(self.weight_decay),
            clip_grad: self.clip_grad,
            drop_path: self.drop_path.unwrap_or(preset.drop_path),
            seed: self.seed,
            threads: self.threads.unwrap_or(cores.min(8)),
            max_bad: self.max_bad,
            save_every: self.save_every,
            keep_last: self.keep_last,
            keep_every: self.keep_every,
            student,
            decoder: self.decoder.unwrap_or(decoder),
            image_teacher: image,
            video_teacher: video,
            ..preset
        })
    }
}

pub(super) fn run(args: DistillArgs) -> Result<(), Failure> {
    if args.dry_run {
        return dry_run(&args);
    }
    if let Some(path) = &args.resume {
        let (run, text) = RunDir::open(path)?;
        let file = path.join("config.toml");
        let config = DistillConfig::from_toml(&text, &file.display().to_string())?;
        let from = match run.latest() {
            Ok(newest) => Some(Checkpoint::load(&newest)?),
            // Killed before its first checkpoint: the run starts anew.
            Err(checkpoint::Error::None { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        return train(&args.gpu.open()?, &config, &run, from);
    }
    let mut config = args.config()?;
    if args.data.is_none() {
        if !args.is_built_in() || config.image_teacher.is_none() && config.video_teacher.is_none() {
            return Err("--data: expected a list, a folder or a video beside the teachers, got none".into());
        }
        built_in(&args, &mut config)?;
    } else if config.image_teacher.is_none() && config.video_teacher.is_none() {
        return Err(
            "--image-teacher, --video-teacher: expected the weights of one at least (`mvd init` makes random ones)"
                .into(),
        );
    }
    config.validate()?;
    let gpu = args.gpu.open()?;
    let run = RunDir::create(&args.out, &toml::to_string(&config)?)?;
    train(&gpu, &config, &run, None)
}

fn train(gpu: &Arc<Gpu>, config: &DistillConfig, run: &RunDir, from: Option<Checkpoint>) -> Result<(), Failure> {
    let mut bar = DistillBar::new();
    let outcome = distill::train(gpu, config, run, from, &mut bar)?;
    bar.finish();
    for file in &outcome.bad_files {
        eprintln!("could not be read, other clips took its place: {}", file.display());
    }
    if let Some(last) = outcome.last {
        println!("step {}: loss {:.4}, gradient norm {:.3}", last.step, last.loss, last.grad_norm);
    }
    println!("student: {}", outcome.checkpoint.join("weights.safetensors").display());
    Ok(())
}

/// Makes the built-in run's clips and random teachers beside the run directory, unless they are there.
fn built_in(args: &DistillArgs, config: &mut DistillConfig) -> Result<(), Failure> {
    let folder = args.out.parent().unwrap_or(Path::new(".")).join("built-in");
    let list = folder.join("list.txt");
    if !list.exists() {
        let bar = report::bar(BUILT_IN.count, "clips");
        synth::write(&folder, &BUILT_IN, |done| bar.set_position(done as u64))?;
        bar.finish_and_clear();
    }
    println!("no --data: {} synthetic clips in {}", BUILT_IN.count, folder.display());
    config.data = list;
    let teachers =
        [(Teacher::Image, "image", &mut config.image_teacher), (Teacher::Video, "video", &mut config.video_teacher)];
    for (kind, name, teacher) in teachers {
        let Some(teacher) = teacher else { continue };
        let Vit { dim, depth, heads, .. } = teacher.vit;
        teacher.weights = folder.join(format!("{name}-teacher-{dim}-{depth}-{heads}-p{}.safetensors", teacher.patch));
        if !teacher.weights.exists() {
            init::write(kind, &teacher.weights, &teacher.vit, teacher.patch, 0)?;
        }
    }
    println!("no teachers given: theirs are seeded random weights, so the student learns nothing of use yet");
    Ok(())
}

fn dry_run(args: &DistillArgs) -> Result<(), Failure> {
    let config = args.config()?;
    let arch = distill::arch(&config)?;
    let (caps, adapter) = match Gpu::open(&args.gpu.choice()) {
        Ok(gpu) => (gpu.caps().clone(), gpu.describe()),
        Err(_) => (Caps::webgpu_default(), "no adapter found: planned for WebGPU's default limits".to_owned()),
    };
    let mut rec = Recorder::new(caps);
    arch.record(&mut rec, groups::decays)?;
    println!("{adapter}");
    println!("{}", toml::to_string(&config)?);
    println!("one step of {} clips, micro-batches of {}:", config.total_batch(), config.batch);
    println!("{}", Plan::new(rec).summary());
    Ok(())
}
