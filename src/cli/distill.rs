//! `mvd distill`

use std::path::{Path, PathBuf};

use clap::Args;

use super::args::{DataArgs, MaskArgs, OptimArgs, RunArgs, set, threads};
use super::{AdapterArgs, Failure, report, train};
use crate::config::{DataConfig, DistillConfig, OptimConfig, PretrainConfig, TeacherConfig, size};
use crate::data::synth::{self, Background, Level, SynthConfig};
use crate::gpu::Recorder;
use crate::model::Vit;
use crate::op::loss::LossKind;
use crate::recipes;
use crate::train::checkpoint::{RunDir, Which};
use crate::train::session::Session;
use crate::train::{distill, groups, pretrain};

/// Flags left out take the defaults of the published recipes; without --data, those of the small built-in run.
#[derive(Args)]
#[command(args_override_self = true)]
pub(super) struct DistillArgs {
    /// Run directory to make.
    #[arg(long, default_value = "runs/distill")]
    out: PathBuf,
    /// Student: tiny, small, base, large, huge, or dim,depth,heads.
    #[arg(long, value_parser = size)]
    student: Option<Vit>,
    /// Decoders, as --student [default: the student's width, depth 2].
    #[arg(long, value_parser = size)]
    decoder: Option<Vit>,
    /// Weights of the image teacher (MAE), safetensors or PyTorch.
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
    #[arg(long)]
    image_weight: Option<f32>,
    /// Weights of the video teacher (VideoMAE), safetensors or PyTorch.
    #[arg(long, value_name = "FILE")]
    video_teacher: Option<PathBuf>,
    /// Its size, as --student.
    #[arg(long, value_parser = size)]
    video_teacher_size: Option<Vit>,
    /// Weight of its loss; 0 leaves it out.
    #[arg(long)]
    video_weight: Option<f32>,
    /// Distance to the teachers' features.
    #[arg(long, value_enum)]
    loss: Option<LossKind>,
    /// Normalise the teachers' features (LayerNorm without affine).
    #[arg(long)]
    norm_feature: bool,
    /// Stochastic depth of the last block.
    #[arg(long)]
    drop_path: Option<f64>,
    /// Smallest share of the frame's short side that a crop keeps, of 1, 0.875, 0.75 and 0.66.
    #[arg(long)]
    crop_min: Option<f64>,
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    mask: MaskArgs,
    #[command(flatten)]
    optim: OptimArgs,
    #[command(flatten)]
    gpu: AdapterArgs,
}

/// The built-in run's set.
const BUILT_IN: SynthConfig =
    SynthConfig { count: 512, seed: 0, background: Background::Black, level: Level::Full, size: 64, frames: 16 };

impl DistillArgs {
    /// Nothing of the user's own was given: no data, teachers or recipe, nor is this a dry run of the published models.
    fn is_built_in(&self) -> bool {
        let given = [&self.data.data, &self.image_teacher, &self.video_teacher, &self.run.config];
        !self.run.dry_run && self.run.recipe.is_none() && given.iter().all(|g| g.is_none())
    }

    /// What flags left out stand for: a recipe, at a batch that fits one GPU.
    fn preset(&self) -> Result<DistillConfig, Failure> {
        let published = if self.is_built_in() { "mvd-tiny" } else { "mvd-small-from-base-k400" };
        let mut config = recipes::distill(published)?;
        if !self.optim.is_auto() || self.is_built_in() {
            config.optim.batch = 8;
        }
        if self.is_built_in() {
            // Shorter than the recipe: minutes on two CPU cores.
            config.optim = OptimConfig { epochs: 2, lr: 3.2e-2, min_lr: 0.0, warmup_epochs: 0.2, ..config.optim };
        } else if let Some(student) = self.student {
            // The recipe's decoders are as wide as its student; another student brings its own width.
            config.decoder = Vit { depth: 2, ..student };
        }
        if !self.run.dry_run && !self.is_built_in() {
            config.image_teacher = config.image_teacher.filter(|_| self.image_teacher.is_some());
            config.video_teacher = config.video_teacher.filter(|_| self.video_teacher.is_some());
        }
        Ok(config)
    }

    /// The complete config: where it starts from, with the flags given.
    fn config(&self) -> Result<DistillConfig, Failure> {
        let mut config = train::base(&self.run, recipes::distill, || self.preset())?;
        config.data.threads = threads();
        let before = (config.data.input_size, config.data.patch);
        self.data.apply(&mut config.data);
        self.mask.apply(&mut config.mask);
        self.optim.apply(&mut config.optim);
        self.run.apply(&mut config.save);
        set(&mut config.seed, &self.run.seed);
        set(&mut config.crop_min, &self.crop_min);
        set(&mut config.student, &self.student);
        set(&mut config.decoder, &self.decoder);
        set(&mut config.loss, &self.loss);
        set(&mut config.drop_path, &self.drop_path);
        config.norm_feature |= self.norm_feature;
        let (side, patch) = (config.data.input_size, config.data.patch);
        for (teacher, weights, vit, weight) in [
            (&mut config.image_teacher, &self.image_teacher, &self.image_teacher_size, self.image_weight),
            (&mut config.video_teacher, &self.video_teacher, &self.video_teacher_size, self.video_weight),
        ] {
            let Some(t) = teacher else { continue };
            set(&mut t.weights, weights);
            set(&mut t.vit, vit);
            set(&mut t.weight, &weight);
            // A teacher that takes the student's frames and patches goes on doing so.
            if (t.size, t.patch) == before {
                (t.size, t.patch) = (side, patch);
            }
            if t.weight == 0.0 {
                *teacher = None;
            }
        }
        if let Some(t) = &mut config.image_teacher {
            set(&mut t.size, &self.image_teacher_input_size);
            set(&mut t.patch, &self.image_teacher_patch);
        }
        let base = config.clone();
        self.optim.fit(&mut config.optim, 1, &self.gpu, |optim, rec| record(&base, optim, rec))?;
        Ok(config)
    }
}

/// Records a step of this optimiser.
fn record(config: &DistillConfig, optim: &OptimConfig, rec: &mut Recorder) -> Result<(), Failure> {
    let arch = distill::arch(&DistillConfig { optim: optim.clone(), ..config.clone() })?;
    arch.record(rec, groups::student)?;
    Ok(())
}

pub(super) fn run(args: &DistillArgs) -> Result<(), Failure> {
    if args.run.dry_run {
        let config = args.config()?;
        return train::dry_run(&args.gpu, &config, &config.optim, |optim, rec| record(&config, optim, rec));
    }
    let Session { dir, config, from } = train::open(&args.run, &args.out, || new(args))?;
    let gpu = args.gpu.open()?;
    let outcome = train::report("distil", |bar| distill::train(&gpu, &config, &dir, from, bar))?;
    println!("student: {}", outcome.checkpoint.join("weights.safetensors").display());
    Ok(())
}

/// The config of a new run.
fn new(args: &DistillArgs) -> Result<DistillConfig, Failure> {
    let mut config = args.config()?;
    if args.is_built_in() {
        // Before minutes of stage one.
        RunDir::vacant(&args.out)?;
        built_in(args, &mut config)?;
    }
    if config.data.path.as_os_str().is_empty() {
        return Err("--data: expected a list, a folder or a video beside the teachers, got none".into());
    }
    let missing = |t: &Option<TeacherConfig>| t.as_ref().is_some_and(|t| t.weights.as_os_str().is_empty());
    if config.image_teacher.is_none() && config.video_teacher.is_none() {
        return Err(
            "--image-teacher, --video-teacher: expected the weights of one at least (`mvd pretrain` trains them)"
                .into(),
        );
    }
    for (flag, teacher) in [("image", &config.image_teacher), ("video", &config.video_teacher)] {
        if missing(teacher) {
            return Err(format!("--{flag}-teacher: expected its weights, or --{flag}-weight 0, got none").into());
        }
    }
    config.validate()?;
    Ok(config)
}

/// Steps that each of the built-in run's teachers is trained for.
const TEACHER_STEPS: usize = 120;

/// Makes the built-in run's clips and trains its teachers on them, beside the run directory, unless they are there.
fn built_in(args: &DistillArgs, config: &mut DistillConfig) -> Result<(), Failure> {
    let folder = args.out.parent().unwrap_or(Path::new(".")).join("built-in");
    let list = folder.join("list.txt");
    if !list.exists() {
        let bar = report::bar(BUILT_IN.count, "clips");
        synth::write(&folder, &BUILT_IN, |done| bar.set_position(done as u64))?;
        bar.finish_and_clear();
    }
    println!("no --data: {} synthetic clips in {}", BUILT_IN.count, folder.display());
    let teachers = [("mae-tiny", &mut config.image_teacher), ("videomae-tiny", &mut config.video_teacher)];
    for (recipe, teacher) in teachers {
        let Some(teacher) = teacher else { continue };
        let mut stage_one = recipes::pretrain(recipe)?;
        stage_one.data = DataConfig { path: list.clone(), threads: config.data.threads, ..stage_one.data };
        let epochs = (TEACHER_STEPS * stage_one.optim.batch).div_ceil(BUILT_IN.count);
        stage_one.optim = OptimConfig { steps: TEACHER_STEPS, epochs, warmup_epochs: 0.5, ..stage_one.optim };
        (stage_one.encoder, stage_one.seed) = (teacher.vit, config.seed);
        teacher.weights = built_in_teacher(args, &folder.join(recipe), &stage_one)?;
    }
    config.data.path = list;
    Ok(())
}

/// The weights of a finished stage-one run at `dir`, which is made or gone on with as need be.
fn built_in_teacher(args: &DistillArgs, dir: &Path, config: &PretrainConfig) -> Result<PathBuf, Failure> {
    let Session { dir: run, config, from } = if dir.join("config.toml").exists() {
        let session = Session::<PretrainConfig>::resume(dir)?;
        if session.config.encoder != config.encoder {
            let (dir, own, wanted) = (dir.display(), session.config.encoder, config.encoder);
            return Err(format!(
                "{dir} holds a teacher of {own:?}, {wanted:?} is wanted; remove it or name another --out"
            )
            .into());
        }
        session
    } else {
        Session::create(dir, config.clone())?
    };
    if from.as_ref().is_none_or(|from| from.state.step < config.optim.steps) {
        println!("stage one: {} for {} steps", dir.display(), config.optim.steps);
        let gpu = args.gpu.open()?;
        train::report("pretrain", |bar| pretrain::train(&gpu, &config, &run, from, bar))?;
    }
    Ok(run.weights(Which::Newest)?)
}
