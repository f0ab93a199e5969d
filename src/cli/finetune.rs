//! `mvd finetune`

use std::path::{Path, PathBuf};

use clap::Args;

use super::args::{DataArgs, Given, OptimArgs, RunArgs, set, threads};
use super::model::{named, names_for};
use super::report::say;
use super::stop::Stop;
use super::train::Flags;
use super::{AdapterArgs, Failure, cost, ranks, train};
use crate::config::{Counted, EncoderKind, FinetuneConfig, OptimConfig, Sampling, Which, size};
use crate::data::{RandAugment, read_names};
use crate::gpu::Recorder;
use crate::model::Vit;
use crate::model::encoder::Family;
use crate::model::opened::{Given as Facts, Opened};
use crate::recipes;
use crate::train::finetune;
use crate::train::groups::{self, LayerDecay};
use crate::train::session::Session;
use crate::weights::Stack;

/// Flags left out take the values of the published small model on Kinetics-400.
#[derive(Args)]
#[command(args_override_self = true)]
pub(super) struct FinetuneArgs {
    /// Run directory to make.
    #[arg(long, default_value = "runs/finetune")]
    out: PathBuf,
    /// Whose encoder it is: a student's, VideoMAE's or ST-MAE's [default: what --init is].
    #[arg(long, value_enum)]
    model: Option<EncoderKind>,
    /// Weights to start from: a run, a weight file, a folder of Hugging Face's or hf:owner/name; without it, from scratch.
    #[arg(long, value_name = "FILE")]
    init: Option<PathBuf>,
    /// Which weights of --init.
    #[arg(long, value_enum)]
    weights: Option<Which>,
    /// Labelled videos to validate on after each pass.
    #[arg(long)]
    val: Option<PathBuf>,
    /// Classes [default: as many as the training set's labels have names, else those of --recipe or --config].
    #[arg(long)]
    classes: Option<usize>,
    /// Names of the classes, one a line in the order of their indices [default: the training set's].
    #[arg(long, value_name = "FILE")]
    names: Option<PathBuf>,
    /// Start from the head of --init too, a classifier of the same classes: its names and their order stay.
    #[arg(long, requires = "init")]
    keep_head: bool,
    /// Encoder: tiny, small, base, large, huge, or dim,depth,heads [default: what --init is].
    #[arg(long, value_parser = size)]
    size: Option<Vit>,
    /// Attention heads of --init's encoder, where nothing tells [default: the run's, config.json's, the published model's of that width].
    #[arg(long, conflicts_with = "size", value_name = "N")]
    heads: Option<usize>,
    /// Which frames make a clip.
    #[arg(long, value_enum)]
    sampling: Option<Sampling>,
    /// Clips drawn from a video each time it is decoded, each augmented anew; --batch counts videos.
    #[arg(long)]
    repeats: Option<usize>,
    /// Smallest share of a frame's area that a training crop keeps.
    #[arg(long)]
    crop_min: Option<f64>,
    /// RandAugment, such as rand-m7-n4-mstd0.5-inc1, or none.
    #[arg(long)]
    augment: Option<RandAugment>,
    /// Largest change of brightness, contrast and saturation; 0: none.
    #[arg(long)]
    color_jitter: Option<f64>,
    /// Mirror half of the clips.
    #[arg(long)]
    flip: Option<bool>,
    /// Share of clips with a region erased.
    #[arg(long)]
    erasing: Option<f64>,
    /// Beta's parameter of mixup; 0: none.
    #[arg(long)]
    mixup: Option<f64>,
    /// Beta's parameter of cutmix; 0: none.
    #[arg(long)]
    cutmix: Option<f64>,
    /// Label smoothing.
    #[arg(long)]
    smoothing: Option<f64>,
    /// Factor of the learning rate from one layer to the one below.
    #[arg(long)]
    layer_decay: Option<f64>,
    /// Stochastic depth of the last block.
    #[arg(long)]
    drop_path: Option<f64>,
    /// Dropout before the head.
    #[arg(long)]
    head_dropout: Option<f64>,
    /// Decay of an average of the weights over steps, validated and saved beside them; 0: none.
    #[arg(long)]
    ema: Option<f64>,
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    optim: OptimArgs,
    #[command(flatten)]
    gpu: AdapterArgs,
}

impl FinetuneArgs {
    /// Takes from the file of `--init` whose encoder it is, its size and its patch, where no flag says them.
    fn adapt(&self, config: &mut FinetuneConfig) -> Result<(), Failure> {
        if config.init.as_os_str().is_empty() {
            return match self.heads {
                Some(_) => Err("--heads: expected --init, whose attention heads it says, got none; or --size".into()),
                None => Ok(()),
            };
        }
        let (file, copies) = config.init_which.of(&config.init)?;
        let family = self.model.map(EncoderKind::family);
        let mut opened = Opened::open(&file, &Facts { family, copies, ..Facts::default() })?;
        if let Some(heads) = self.heads {
            opened = opened.with_heads(heads)?;
        }
        let file = config.init.display();
        // A recipe and a config name the model, as --model does.
        let stated = self.run.recipe.is_some() || self.run.config.is_some();
        let family = match &opened.family {
            None if stated => config.model.family(),
            _ => opened.family()?,
        };
        let model = match family {
            Family::Mvd => EncoderKind::Mvd,
            Family::VideoMae => EncoderKind::Videomae,
            Family::StMae => EncoderKind::StMae,
            Family::Mae => {
                return Err(
                    format!("--init {file}: expected a model of clips, got an MAE, which sees single frames").into()
                );
            }
        };
        if model != config.model {
            say(&format!("model: {}, as {file} is", model.family().name()));
            config.model = model;
        }
        if let Some(size) = &self.size {
            opened.expect_heads(size, "--size")?;
        } else if opened.heads().is_some() || opened.about.encoder != shape(&config.encoder) {
            let encoder = opened.vit()?;
            if encoder != config.encoder {
                let Vit { dim, depth, heads, .. } = encoder;
                say(&format!("encoder: {dim},{depth},{heads}, as {file} is"));
                config.encoder = encoder;
            }
        }
        if !self.data.gives_patch() && config.data.patch != opened.about.patch {
            say(&format!("patch: {}, as {file} is", opened.about.patch));
            config.data.patch = opened.about.patch;
        }
        config.data.tubelet = opened.about.tubelet;
        if opened.about.learned.is_some() {
            // Learned position tables fit one grid.
            self.data.take_grid(&mut config.data, opened.frames.value, opened.size.value);
            opened.expect_grid(&config.data.grid())?;
        }
        Ok(())
    }

    /// Settles how many classes there are and what they are called: by --keep-head as the classifier, by --names, else as the
    /// training set.
    fn name_classes(&self, config: &mut FinetuneConfig) -> Result<(), Failure> {
        let run = &self.run;
        let mut counted = match (self.classes, &run.config, &run.recipe) {
            (Some(_), ..) => Counted::Flag,
            (_, Some(_), _) => Counted::Config,
            (.., Some(_)) => Counted::Recipe,
            _ => Counted::Nowhere,
        };
        let stated = matches!(counted, Counted::Flag | Counted::Config);
        if self.keep_head {
            let (file, copies) = config.init_which.of(&config.init)?;
            let family = Some(config.model.family());
            let opened = Opened::open(&file, &Facts { family, copies, ..Facts::default() })?;
            let (file, classes) = (config.init.display(), config.classes);
            let own =
                opened.about.classes.ok_or_else(|| format!("--keep-head: {file} is no classifier, it has no head"))?;
            if stated && own != classes {
                return Err(
                    format!("--classes {classes}: the head of {file}, which --keep-head keeps, has {own}").into()
                );
            }
            (config.keep_head, config.classes) = (true, own);
            config.names = match &self.names {
                Some(path) => names_for(path, own, opened.names.as_ref())?,
                None => opened.names.map(|known| known.value).unwrap_or_default(),
            };
            return Ok(());
        }
        if let Some(path) = &self.names {
            if !stated {
                config.classes = read_names(path)?.len();
                counted = Counted::Flag;
            }
            config.names = named(path, config.classes)?;
        }
        let path = &config.data.path;
        if !path.as_os_str().is_empty() && path.exists() {
            config.take_names(counted)?.iter().for_each(|note| say(note));
        }
        Ok(())
    }

    fn fitted(&self, config: &mut FinetuneConfig) -> Result<(), Failure> {
        let base = config.clone();
        self.optim.fit(&mut config.optim, &self.gpu, |optim, rec| record(&base, optim, rec))
    }
}

impl Flags<FinetuneConfig> for FinetuneArgs {
    const CHANGEABLE: &[&str] = &["val", "names"];

    fn run(&self) -> &RunArgs {
        &self.run
    }

    fn out(&self) -> &Path {
        &self.out
    }

    fn config(&self) -> Result<FinetuneConfig, Failure> {
        let preset = || {
            let published = recipes::finetune("mvd-small-finetune-k400")?;
            // A batch that fits one GPU: eight clips.
            let batch = if self.optim.is_auto() { published.optim.batch } else { 8 / published.repeats };
            Ok(FinetuneConfig { optim: OptimConfig { batch, ..published.optim.clone() }, ..published })
        };
        let mut config = train::base(&self.run, recipes::finetune, preset)?;
        config.data.threads = threads();
        self.data.apply(&mut config.data);
        self.optim.apply(&mut config.optim, false)?;
        self.run.apply(&mut config.save);
        set(&mut config.seed, &self.run.seed);
        set(&mut config.encoder, &self.size);
        set(&mut config.model, &self.model);
        if self.init.is_some() {
            config.init_digest.clear();
        }
        set(&mut config.init, &self.init);
        set(&mut config.init_which, &self.weights);
        if self.weights.is_some() && config.init.as_os_str().is_empty() {
            return Err("--weights: expected --init, whose weights it chooses, got none".into());
        }
        set(&mut config.val, &self.val);
        set(&mut config.classes, &self.classes);
        set(&mut config.sampling, &self.sampling);
        set(&mut config.repeats, &self.repeats);
        set(&mut config.crop_min, &self.crop_min);
        set(&mut config.augment, &self.augment);
        set(&mut config.color_jitter, &self.color_jitter);
        set(&mut config.flip, &self.flip);
        set(&mut config.erasing, &self.erasing);
        set(&mut config.mixup, &self.mixup);
        set(&mut config.cutmix, &self.cutmix);
        set(&mut config.smoothing, &self.smoothing);
        set(&mut config.layer_decay, &self.layer_decay);
        set(&mut config.drop_path, &self.drop_path);
        set(&mut config.head_dropout, &self.head_dropout);
        set(&mut config.ema, &self.ema);
        self.adapt(&mut config)?;
        self.name_classes(&mut config)?;
        self.fitted(&mut config)?;
        Ok(config)
    }

    fn complete(&self, _stop: &Stop) -> Result<FinetuneConfig, Failure> {
        let config = self.config()?;
        if config.data.path.as_os_str().is_empty() {
            return Err("--data: expected a list of `path label` lines, got none".into());
        }
        config.validate()?;
        Ok(config)
    }

    fn change(&self, config: &mut FinetuneConfig) -> Result<(), Failure> {
        self.data.apply(&mut config.data);
        self.optim.apply(&mut config.optim, true)?;
        self.run.apply(&mut config.save);
        set(&mut config.val, &self.val);
        // Runs of versions that kept no names: those of their set, which is the same, or given ones.
        if let Some(path) = &self.names {
            let names = named(path, config.classes)?;
            if ![&names, &Vec::new()].contains(&&config.names) {
                return Err(format!("--names {}: the run's classes have other names already", path.display()).into());
            }
            config.names = names;
        } else if self.data.data.is_none() && config.data.path.exists() {
            config.take_names(Counted::Flag)?;
        }
        self.fitted(config)?;
        Ok(config.validate()?)
    }
}

fn shape(vit: &Vit) -> Stack {
    Stack { dim: vit.dim, depth: vit.depth }
}

/// Records a step of this optimiser.
fn record(config: &FinetuneConfig, optim: &OptimConfig, rec: &mut Recorder) -> Result<(), Failure> {
    let config = FinetuneConfig { optim: optim.clone(), ..config.clone() };
    let layers = LayerDecay { decay: config.layer_decay, depth: config.encoder.depth };
    finetune::arch(&config)?.record(rec, groups::classifier(layers))?;
    Ok(())
}

pub(super) fn run(args: &FinetuneArgs, given: &Given) -> Result<(), Failure> {
    ranks::together(&args.run.ranks, |ranks, stop| {
        if args.run.dry_run {
            let config = train::planned_config(args, given)?;
            let (optim, repeats) = (&config.optim, config.repeats);
            return cost::dry_run(&args.gpu, &config, (optim, repeats), |optim, rec| record(&config, optim, rec));
        }
        let Session { dir, config, from, .. } = train::open(args, given, ranks, stop)?;
        let gpu = args.gpu.open_as(ranks)?;
        let outcome = train::report("fine-tune", stop, |bar| finetune::train(&gpu, ranks, &config, &dir, from, bar))?;
        say(&format!("classifier: {}", outcome.checkpoint.join("weights.safetensors").display()));
        Ok(())
    })
}
