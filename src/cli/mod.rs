//! The command line: flags into configs, errors into exit codes.

mod args;
mod autotune;
mod bench;
mod bench_data;
mod bench_scaling;
mod check_data;
mod claims;
mod cost;
mod demo;
mod distill;
#[cfg(test)]
mod docs_tests;
mod eval;
mod eval_report;
mod finetune;
mod init;
mod inspect;
mod model;
mod plot;
mod predict;
mod prepare;
mod pretrain;
mod probe;
mod ranks;
mod recipes;
mod report;
mod selftest;
mod shell;
mod show;
mod stop;
mod synth;
mod teachers;
mod train;
mod weights;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use args::Given;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::gpu::{self, AdapterChoice, Caps, Gpu, Kernels, Precision, list_adapters, store};
use crate::ranks::Ranks;
use crate::study::Error as StudyError;
use crate::train::Error as RunError;

/// Masked video distillation on any GPU.
#[derive(Parser)]
#[command(name = "mvd", version, propagate_version = true, args_override_self = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show the whole method in minutes, on clips made on the spot: a page of tables, curves and pictures.
    Demo(demo::DemoArgs),
    /// Test the paper's claims over several seeds, with standard errors and a verdict each: a page and its numbers.
    Claims(claims::ClaimsArgs),
    /// Train a student from frozen teachers; without flags, on a small set made on the spot.
    Distill(Box<distill::DistillArgs>),
    /// Train a teacher from pixels: MAE on single frames, VideoMAE on clips.
    Pretrain(Box<pretrain::PretrainArgs>),
    /// Train a classifier from a student's encoder, or from scratch.
    Finetune(Box<finetune::FinetuneArgs>),
    /// Test a classifier on labelled videos: top-1, top-5, per class.
    Eval(eval::EvalArgs),
    /// Print the likeliest classes of videos, by any classifier.
    Predict(predict::PredictArgs),
    /// Draw the training curves of runs.
    Plot(plot::PlotArgs),
    /// Draw what a model makes of a video: reconstruction, similarity of frames, attention.
    #[command(subcommand)]
    Show(show::ShowArgs),
    /// Test frozen features: a linear classifier and nearest neighbours.
    Probe(probe::ProbeArgs),
    /// Write pooled features of videos as safetensors.
    Features(probe::FeaturesArgs),
    /// Look at every video of a set: what it is, and whether it can be read.
    CheckData(check_data::CheckDataArgs),
    /// Re-encode a set for fast sampling: small, with many key frames.
    Prepare(prepare::PrepareArgs),
    /// List the recipes, or print one as a config.
    Recipes(recipes::RecipesArgs),
    /// Say what a weight file is and what it can be used for.
    Inspect(inspect::InspectArgs),
    /// Rewrite a weight file under other names, for other programs.
    Convert(weights::ConvertArgs),
    /// Write seeded random weights of a teacher.
    Init(init::InitArgs),
    /// Write a labelled set of synthetic clips as mp4 files.
    Synth(synth::SynthArgs),
    /// Measure the GPU: its limits, operations and whole steps against them; or, `bench data`, a data set's loading.
    Bench(bench::BenchArgs),
    /// Time the GPU's kernels at the sizes of `mvd bench`'s steps, and keep the choices; training does so by itself at its own sizes.
    Autotune(autotune::AutotuneArgs),
    /// Check the GPU and its driver against CPU references.
    Selftest(selftest::SelftestArgs),
    /// List the adapters there are, in order of preference.
    Adapters(AdapterArgs),
    /// Print a shell's completions: bash, zsh, fish, elvish, powershell.
    Completions(shell::CompletionsArgs),
    /// Write manual pages.
    Man(shell::ManArgs),
}

/// Which GPU to run on.
#[derive(Args, Clone)]
struct AdapterArgs {
    /// Index or part of a name, see `mvd adapters`; by default discrete before integrated before software. Under mpirun a list such as
    /// 0,1 has one for each process of a host; by default they take those of the best kind in turn.
    #[arg(long, env = "MVD_ADAPTER")]
    adapter: Option<String>,
    /// vulkan, metal, dx12 or gl.
    #[arg(long, env = "MVD_BACKEND")]
    backend: Option<String>,
    /// Kernels that may run.
    #[arg(long, value_enum, default_value_t, env = "MVD_KERNELS")]
    kernels: Kernels,
    /// What matrix products multiply: f16 rounds their operands, where the adapter has cooperative matrices.
    #[arg(long, value_enum, default_value_t, env = "MVD_PRECISION")]
    precision: Precision,
    /// Choose kernels by what is known beforehand, and not by timing them on this adapter.
    #[arg(long, env = "MVD_NO_AUTOTUNE", value_parser = clap::builder::BoolishValueParser::new())]
    no_autotune: bool,
    /// Folder of choices of kernels and of built pipelines [default: mvd in the system's cache folder].
    #[arg(long, env = "MVD_CACHE", value_name = "DIR")]
    cache: Option<PathBuf>,
}

impl AdapterArgs {
    fn choice(&self) -> AdapterChoice {
        AdapterChoice {
            adapter: self.adapter.clone(),
            local: None,
            backend: self.backend.clone(),
            kernels: self.kernels,
            precision: self.precision,
            cache: self.cache(),
            autotune: !self.no_autotune,
        }
    }

    fn cache(&self) -> Option<PathBuf> {
        self.cache.clone().or_else(store::default_folder)
    }

    fn open(&self) -> Result<Arc<Gpu>, Failure> {
        Ok(Arc::new(Gpu::open(&self.choice())?))
    }

    /// The adapter of this process among those that train together.
    fn open_as(&self, ranks: &Ranks) -> Result<Arc<Gpu>, Failure> {
        let local = Some(ranks.local()).filter(|_| ranks.size() > 1);
        Ok(Arc::new(Gpu::open(&AdapterChoice { local, ..self.choice() })?))
    }

    /// What to plan for, and its name: the adapter, or what every adapter can do where there is none.
    fn caps(&self) -> Result<(Caps, String), Failure> {
        match Gpu::open(&self.choice()) {
            Ok(gpu) => Ok((gpu.caps().clone(), gpu.describe())),
            Err(gpu::Error::NoAdapter { .. }) => {
                Ok((Caps::webgpu_default(), "no adapter found: planned for WebGPU's default limits".to_owned()))
            }
            Err(refused) => Err(refused.into()),
        }
    }
}

type Failure = Box<dyn std::error::Error>;

/// Runs the program on the process's arguments.
pub fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn,wgpu=error,naga=error"))
        .format_timestamp(None)
        .format_target(false)
        .init();
    let command = Cli::command();
    let matches = command.clone().get_matches();
    let given = matches.subcommand().and_then(|(name, flags)| Some(Given::of(command.find_subcommand(name)?, flags)));
    let given = given.unwrap_or_default();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    if let Err(error) = ranks::expect_training(matches.subcommand_name().unwrap_or_default()) {
        eprintln!("mvd: {error}");
        return ExitCode::FAILURE;
    }
    let done = match cli.command {
        Command::Demo(args) => demo::run(&args),
        Command::Claims(args) => claims::run(&args),
        Command::Distill(args) => distill::run(&args, &given),
        Command::Pretrain(args) => pretrain::run(&args, &given),
        Command::Finetune(args) => finetune::run(&args, &given),
        Command::Eval(args) => eval::run(&args),
        Command::Predict(args) => predict::run(&args),
        Command::Plot(args) => plot::run(&args),
        Command::Show(args) => show::run(&args),
        Command::Probe(args) => probe::probe(&args),
        Command::Features(args) => probe::features(&args),
        Command::CheckData(args) => check_data::run(&args),
        Command::Prepare(args) => prepare::run(&args),
        Command::Recipes(args) => recipes::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Convert(args) => weights::convert(&args),
        Command::Init(args) => init::run(&args),
        Command::Synth(args) => synth::run(&args),
        Command::Autotune(args) => autotune::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Selftest(args) => selftest::run(&args),
        Command::Adapters(args) => adapters(&args),
        Command::Completions(args) => shell::completions(&args, command),
        Command::Man(args) => shell::man(&args, command),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mvd: {error}");
            signal(error.as_ref()).map_or(ExitCode::FAILURE, |signal| ExitCode::from((stop::BY_SIGNAL + signal) as u8))
        }
    }
}

/// The signal that ended a run, if one did.
fn signal(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    if let Some(stop::Stopped { signal, .. }) = error.downcast_ref() {
        return Some(*signal);
    }
    match (error.downcast_ref(), error.downcast_ref()) {
        (Some(RunError::Stopped { signal, .. }), _) | (_, Some(StudyError::Stopped { signal })) => Some(*signal),
        _ => None,
    }
}

fn adapters(args: &AdapterArgs) -> Result<(), Failure> {
    let found = list_adapters(&args.choice())?;
    if found.is_empty() {
        return Err(
            "no adapter: no driver of Vulkan, Metal, DX12 or GL was found (Mesa's lavapipe needs no GPU)".into()
        );
    }
    for (index, (name, lacks)) in found.iter().enumerate() {
        println!("{index}: {name}\n   {lacks}");
    }
    Ok(())
}
