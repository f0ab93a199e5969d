//! `mvd distill`

use std::path::{Path, PathBuf};

use clap::Args;

use super::args::{DataArgs, Given, MaskArgs, OptimArgs, RunArgs, set, switch, threads};
use super::report::say;
use super::stop::Stop;
use super::teachers::{self, Stated};
use super::train::Flags;
use super::{AdapterArgs, Failure, cost, ranks, report, train};
use crate::config::{DataConfig, DistillConfig, OptimConfig, PretrainConfig, TeacherConfig, Which, size};
use crate::data::synth::{self, Background, Level, SynthConfig};
use crate::gpu::Recorder;
use crate::model::Vit;
use crate::op::loss::LossKind;
use crate::ranks::{Launch, Ranks};
use crate::recipes::{self, public};
use crate::train::checkpoint::RunDir;
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
    /// Decoders, as --student [default: the recipe's; where they are as wide as its student, as wide as --student].
    #[arg(long, value_parser = size)]
    decoder: Option<Vit>,
    /// Weights of the image teacher (MAE): a run, a weight file, a folder of Hugging Face's or hf:owner/name [default: the public ones that --recipe names].
    #[arg(long, value_name = "FILE")]
    image_teacher: Option<PathBuf>,
    /// Its size, as --student [default: what the file is, else the recipe's].
    #[arg(long, value_parser = size)]
    image_teacher_size: Option<Vit>,
    /// Its patch [default: what the file is].
    #[arg(long)]
    image_teacher_patch: Option<usize>,
    /// Its frames' height and width [default: the student's].
    #[arg(long)]
    image_teacher_input_size: Option<usize>,
    /// Weight of its loss; 0 leaves it out.
    #[arg(long)]
    image_weight: Option<f32>,
    /// Weights of the video teacher, VideoMAE or ST-MAE, whichever the file is; as --image-teacher.
    #[arg(long, value_name = "FILE")]
    video_teacher: Option<PathBuf>,
    /// Its size, as --student [default: what the file is, else the recipe's].
    #[arg(long, value_parser = size)]
    video_teacher_size: Option<Vit>,
    /// Weight of its loss; 0 leaves it out.
    #[arg(long)]
    video_weight: Option<f32>,
    /// Which weights of the teachers; `which` in a config chooses those of one alone.
    #[arg(long, value_enum)]
    weights: Option<Which>,
    /// Distance to the teachers' features.
    #[arg(long, value_enum)]
    loss: Option<LossKind>,
    /// Normalise the teachers' features (LayerNorm without affine).
    #[arg(long, overrides_with = "no_norm_feature")]
    norm_feature: bool,
    /// Take them as they are, where the recipe or config normalises.
    #[arg(long, overrides_with = "norm_feature")]
    no_norm_feature: bool,
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
        // Without a recipe a teacher that is not given is forgotten, and not to be downloaded.
        for teacher in [&mut config.image_teacher, &mut config.video_teacher].into_iter().flatten() {
            teacher.weights.clear();
        }
        if !self.optim.is_auto() || self.is_built_in() {
            config.optim.batch = 8;
        }
        if self.is_built_in() {
            // Shorter than the recipe: minutes on two CPU cores.
            config.optim = OptimConfig { epochs: 2, lr: 3.2e-2, min_lr: 0.0, warmup_epochs: 0.2, ..config.optim };
        }
        Ok(config)
    }

    /// Why a teacher's weights, which are missing, are not downloaded.
    fn why_not_public(&self, name: &str) -> String {
        let Some(Ok(recipe)) = self.run.recipe.as_deref().map(recipes::distill) else {
            return "; --recipe downloads public ones, see `mvd recipes`".to_owned();
        };
        let teacher = if name == "image" { &recipe.image_teacher } else { &recipe.video_teacher };
        let Some(teacher) = teacher else { return String::new() };
        match public::of(&teacher.weights) {
            Some(public) => format!("; the recipe's, {}, are of another size or patch", public.name),
            None => format!("; {}", public::note(teacher)),
        }
    }

    fn fitted(&self, config: &mut DistillConfig) -> Result<(), Failure> {
        let base = config.clone();
        self.optim.fit(&mut config.optim, &self.gpu, |optim, rec| record(&base, optim, rec))
    }

    /// What the files of the teachers are held against.
    fn stated(&self) -> Stated {
        Stated {
            by_config: self.run.recipe.is_some() || self.run.config.is_some(),
            sizes: [self.image_teacher_size.is_some(), self.video_teacher_size.is_some()],
            patch: self.data.gives_patch(),
            image_patch: self.image_teacher_patch.is_some(),
            image_size: self.image_teacher_input_size.is_some(),
            video: self.video_teacher.is_some(),
            dry_run: self.run.dry_run,
        }
    }

    /// What a run cannot do without, and a dry run can.
    fn expect_given(&self, config: &DistillConfig) -> Result<(), Failure> {
        if config.data.path.as_os_str().is_empty() {
            return Err("--data: expected a list, a folder or a video beside the teachers, got none".into());
        }
        let missing = |t: &Option<TeacherConfig>| t.as_ref().is_some_and(|t| t.weights.as_os_str().is_empty());
        for (name, teacher) in [("image", &config.image_teacher), ("video", &config.video_teacher)] {
            if missing(teacher) {
                let public = self.why_not_public(name);
                return Err(format!(
                    "--{name}-teacher: expected its weights (`mvd pretrain {name}` trains them), or --{name}-weight 0 to leave \
                     it out; got neither{public}"
                )
                .into());
            }
        }
        Ok(())
    }

    /// Applies the flags of the teachers. `before` is what size and patch the student's frames had without flags.
    fn teachers(&self, config: &mut DistillConfig, before: (usize, usize)) -> Result<(), Failure> {
        let first = |flags: &[(&'static str, bool)]| flags.iter().find(|(_, given)| *given).map(|(flag, _)| *flag);
        let image = TeacherFlags {
            name: "image",
            weights: &self.image_teacher,
            vit: &self.image_teacher_size,
            weight: self.image_weight,
            given: first(&[
                ("--image-teacher", self.image_teacher.is_some()),
                ("--image-teacher-size", self.image_teacher_size.is_some()),
                ("--image-teacher-patch", self.image_teacher_patch.is_some()),
                ("--image-teacher-input-size", self.image_teacher_input_size.is_some()),
            ]),
        };
        let video = TeacherFlags {
            name: "video",
            weights: &self.video_teacher,
            vit: &self.video_teacher_size,
            weight: self.video_weight,
            given: first(&[
                ("--video-teacher", self.video_teacher.is_some()),
                ("--video-teacher-size", self.video_teacher_size.is_some()),
            ]),
        };
        let now = (config.data.input_size, config.data.patch);
        image.apply(&mut config.image_teacher, before, now)?;
        video.apply(&mut config.video_teacher, before, now)?;
        if let Some(t) = &mut config.image_teacher {
            set(&mut t.size, &self.image_teacher_input_size);
            set(&mut t.patch, &self.image_teacher_patch);
        }
        for teacher in [&mut config.image_teacher, &mut config.video_teacher].into_iter().flatten() {
            set(&mut teacher.which, &self.weights);
        }
        Ok(())
    }
}

impl Flags<DistillConfig> for DistillArgs {
    const CHANGEABLE: &[&str] = &["image_teacher", "video_teacher"];

    fn run(&self) -> &RunArgs {
        &self.run
    }

    fn out(&self) -> &Path {
        &self.out
    }

    fn config(&self) -> Result<DistillConfig, Failure> {
        let mut config = train::base(&self.run, recipes::distill, || self.preset())?;
        config.data.threads = threads();
        let before = (config.data.input_size, config.data.patch);
        self.data.apply(&mut config.data);
        self.mask.apply(&mut config.mask);
        self.optim.apply(&mut config.optim, false)?;
        self.run.apply(&mut config.save);
        set(&mut config.seed, &self.run.seed);
        set(&mut config.crop_min, &self.crop_min);
        let own = |vit: Vit| (vit.dim, vit.heads);
        if let Some(student) = self.student {
            // Another student brings the width of decoders as wide as the student; the larger models' have their own.
            if own(config.decoder) == own(config.student) {
                config.decoder = Vit { depth: config.decoder.depth, ..student };
            }
            config.student = student;
        }
        set(&mut config.decoder, &self.decoder);
        set(&mut config.loss, &self.loss);
        set(&mut config.drop_path, &self.drop_path);
        switch(&mut config.norm_feature, self.norm_feature, self.no_norm_feature);
        let own = shapes(&config);
        self.teachers(&mut config, before)?;
        without_unfit(&mut config, own);
        if !self.run.dry_run && !self.is_built_in() {
            self.expect_given(&config)?;
        }
        teachers::adapt(&mut config, &self.stated())?;
        self.fitted(&mut config)?;
        Ok(config)
    }

    fn complete(&self, stop: &Stop) -> Result<DistillConfig, Failure> {
        let mut config = self.config()?;
        if self.is_built_in() {
            // Before minutes of stage one.
            RunDir::vacant(&self.out)?;
            built_in(self, &mut config, stop)?;
        }
        config.validate()?;
        Ok(config)
    }

    fn change(&self, config: &mut DistillConfig) -> Result<(), Failure> {
        self.data.apply(&mut config.data);
        self.optim.apply(&mut config.optim, true)?;
        self.run.apply(&mut config.save);
        // The same teachers at another place: their digests stay.
        for (flag, given, teacher) in [
            ("--image-teacher", &self.image_teacher, &mut config.image_teacher),
            ("--video-teacher", &self.video_teacher, &mut config.video_teacher),
        ] {
            match (given, teacher) {
                (None, _) => {}
                (Some(given), Some(teacher)) => teacher.weights.clone_from(given),
                (Some(_), None) => return Err(format!("{flag}: the run has no such teacher").into()),
            }
        }
        self.fitted(config)?;
        Ok(config.validate()?)
    }
}

/// Blocks and patches of both teachers.
type Shapes = [Option<(Vit, usize)>; 2];

fn shapes(config: &DistillConfig) -> Shapes {
    [&config.image_teacher, &config.video_teacher].map(|teacher| teacher.as_ref().map(|t| (t.vit, t.patch)))
}

/// Public weights fit the teacher that names them, of these blocks and patches; flags for another ask for its own.
fn without_unfit(config: &mut DistillConfig, own: Shapes) {
    let unfit: Vec<bool> = shapes(config).iter().zip(own).map(|(now, own)| *now != own).collect();
    for (teacher, unfit) in [&mut config.image_teacher, &mut config.video_teacher].into_iter().zip(unfit) {
        if let Some(teacher) = teacher.as_mut().filter(|t| unfit && public::of(&t.weights).is_some()) {
            teacher.weights.clear();
        }
    }
}

/// The flags of one teacher.
struct TeacherFlags<'a> {
    name: &'static str,
    weights: &'a Option<PathBuf>,
    vit: &'a Option<Vit>,
    weight: Option<f32>,
    /// The first of them that says something of a teacher that is there.
    given: Option<&'static str>,
}

impl TeacherFlags<'_> {
    /// Sets what is given; a teacher whose weight is 0 is left out, and then has no other flags. One that takes the
    /// student's frames and patches, as they were `before`, goes on doing so.
    fn apply(
        self,
        teacher: &mut Option<TeacherConfig>,
        before: (usize, usize),
        now: (usize, usize),
    ) -> Result<(), Failure> {
        let TeacherFlags { name, weights, vit, weight, given } = self;
        let Some(t) = teacher else {
            let weighted = weight.is_some_and(|weight| weight > 0.0).then_some("a weight over 0");
            return given.or(weighted).map_or(Ok(()), |flag| {
                Err(format!(
                    "{flag}: the config has no {name} teacher; add a table [{name}_teacher], or start from a recipe"
                )
                .into())
            });
        };
        if weights.is_some() {
            t.digest.clear();
        }
        set(&mut t.weights, weights);
        set(&mut t.vit, vit);
        set(&mut t.weight, &weight);
        if (t.size, t.patch) == before {
            (t.size, t.patch) = now;
        }
        if t.weight == 0.0 {
            if let Some(flag) = given {
                return Err(
                    format!("{flag}: a weight of 0 leaves the {name} teacher out; give one or the other").into()
                );
            }
            *teacher = None;
        }
        Ok(())
    }
}

/// Records a step of this optimiser.
fn record(config: &DistillConfig, optim: &OptimConfig, rec: &mut Recorder) -> Result<(), Failure> {
    let arch = distill::arch(&DistillConfig { optim: optim.clone(), ..config.clone() })?;
    arch.record(rec, groups::student)?;
    Ok(())
}

pub(super) fn run(args: &DistillArgs, given: &Given) -> Result<(), Failure> {
    ranks::together(&args.run.ranks, |ranks, stop| {
        if args.run.dry_run {
            let config = train::planned_config(args, given)?;
            return cost::dry_run(&args.gpu, &config, (&config.optim, 1), |optim, rec| record(&config, optim, rec));
        }
        let Session { dir, config, from, .. } = train::open(args, given, ranks, stop)?;
        let gpu = args.gpu.open_as(ranks)?;
        let outcome = train::report("distil", stop, |bar| distill::train(&gpu, ranks, &config, &dir, from, bar))?;
        say(&format!("student: {}", outcome.checkpoint.join("weights.safetensors").display()));
        Ok(())
    })
}

/// Steps that each of the built-in run's teachers is trained for.
const TEACHER_STEPS: usize = 120;

/// Makes the built-in run's clips and trains its teachers on them, beside the run directory, unless they are there. Both
/// belong to the seed.
fn built_in(args: &DistillArgs, config: &mut DistillConfig, stop: &Stop) -> Result<(), Failure> {
    if Launch::of_env().size > 1 {
        return Err("--data: expected one where several processes train; the built-in clips are for one process".into());
    }
    let folder = args.out.parent().unwrap_or(Path::new(".")).join(format!("built-in-{}", config.seed));
    let list = folder.join("list.txt");
    let set = SynthConfig { seed: config.seed, ..BUILT_IN };
    if !list.exists() {
        let bar = report::bar(set.count, "clips");
        synth::write(&folder, &set, |done| bar.set_position(done as u64))?;
        bar.finish_and_clear();
    }
    say(&format!("no --data: {} synthetic clips in {}", set.count, folder.display()));
    let teachers = [("mae-tiny", &mut config.image_teacher), ("videomae-tiny", &mut config.video_teacher)];
    for (recipe, teacher) in teachers {
        let Some(teacher) = teacher else { continue };
        let mut stage_one = recipes::pretrain(recipe)?;
        stage_one.data = DataConfig { path: list.clone(), threads: config.data.threads, ..stage_one.data };
        let epochs = (TEACHER_STEPS * stage_one.optim.batch).div_ceil(set.count);
        stage_one.optim = OptimConfig { steps: TEACHER_STEPS, epochs, warmup_epochs: 0.5, ..stage_one.optim };
        (stage_one.encoder, stage_one.seed) = (teacher.vit, config.seed);
        teacher.weights = built_in_teacher(args, &folder.join(recipe), stage_one, stop)?;
    }
    config.data.path = list;
    Ok(())
}

/// The weights of a finished stage-one run at `dir`, which is made or gone on with as need be.
fn built_in_teacher(args: &DistillArgs, dir: &Path, config: PretrainConfig, stop: &Stop) -> Result<PathBuf, Failure> {
    let Session { dir: run, config, from, notes } = Session::create_or_resume(dir, config)?;
    notes.iter().for_each(|note| say(note));
    if from.as_ref().is_none_or(|from| from.state.step < config.optim.steps) {
        say(&format!("stage one: {} for {} steps", dir.display(), config.optim.steps));
        let gpu = args.gpu.open()?;
        train::report("pretrain", stop, |bar| pretrain::train(&gpu, &Ranks::alone(), &config, &run, from, bar))?;
    }
    Ok(run.weights(Which::Newest)?)
}
