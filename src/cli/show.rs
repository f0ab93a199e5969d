//! `mvd show`

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::{AdapterArgs, Failure, train};
use crate::config::PretrainConfig;
use crate::eval::look::{attention, attention_sheet, brightest, middle_clip, off_diagonal, similarity};
use crate::eval::reconstruct::{Shown, reconstruct};
use crate::model::encoder::Family;
use crate::model::look::LookArch;
use crate::model::{Grid, Vit};
use crate::picture::Picture;
use crate::picture::chart::{Map, draw_maps};
use crate::train::checkpoint::{RunDir, Which};
use crate::train::pretrain;
use crate::weights::{self, Kind, LazyTensor, Tensors, describe, usual_heads};

#[derive(Subcommand)]
pub(super) enum ShowArgs {
    /// What a pixel model saw of a video's frames and what it made of them.
    Reconstruction(ReconstructionArgs),
    /// How alike a video's features are from frame to frame, for teachers and students.
    Similarity(SimilarityArgs),
    /// Where a token of a video looks in the last block.
    Attention(AttentionArgs),
}

#[derive(Args)]
pub(super) struct ReconstructionArgs {
    /// Run directory of `mvd pretrain`.
    run: PathBuf,
    /// A video.
    video: PathBuf,
    /// PNG to write.
    #[arg(long, default_value = "reconstruction.png")]
    out: PathBuf,
    /// Frames to show, of a model of images.
    #[arg(long, default_value_t = 8)]
    images: usize,
    /// Frames of the video from one to the next [default: the run's].
    #[arg(long)]
    stride: Option<usize>,
    /// Seed of the mask.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    gpu: AdapterArgs,
}

/// How the clip that is looked at is taken.
#[derive(Args)]
struct ClipArgs {
    /// Frames of the clip [default: the run's, 16 of a weight file].
    #[arg(long)]
    frames: Option<usize>,
    /// Frames of the video from one of the clip's to the next [default: the run's, 4 of a weight file].
    #[arg(long)]
    stride: Option<usize>,
    /// Height and width of the frames [default: the run's, 224 of a weight file].
    #[arg(long)]
    input_size: Option<usize>,
    /// Attention heads [default: the run's, the published model's of a weight file].
    #[arg(long)]
    heads: Option<usize>,
    #[command(flatten)]
    gpu: AdapterArgs,
}

#[derive(Args)]
pub(super) struct SimilarityArgs {
    /// Run directories, or weight files.
    #[arg(required = true)]
    models: Vec<PathBuf>,
    /// A video; several are averaged over.
    #[arg(long, required = true)]
    video: Vec<PathBuf>,
    /// PNG to write.
    #[arg(long, default_value = "similarity.png")]
    out: PathBuf,
    #[command(flatten)]
    clip: ClipArgs,
}

#[derive(Args)]
pub(super) struct AttentionArgs {
    /// Run directory, or weight file.
    model: PathBuf,
    /// A video.
    video: PathBuf,
    /// Token that looks, as `time,row,column` [default: the brightest one in the middle of the clip].
    #[arg(long, value_name = "T,Y,X", value_delimiter = ',')]
    query: Vec<usize>,
    /// PNG to write.
    #[arg(long, default_value = "attention.png")]
    out: PathBuf,
    #[command(flatten)]
    clip: ClipArgs,
}

pub(super) fn run(args: &ShowArgs) -> Result<(), Failure> {
    match args {
        ShowArgs::Reconstruction(args) => show_reconstruction(args),
        ShowArgs::Similarity(args) => show_similarity(args),
        ShowArgs::Attention(args) => show_attention(args),
    }
}

fn save(picture: &Picture, path: &Path) -> Result<(), Failure> {
    Ok(picture.save(path).map_err(|e| format!("cannot write {}: {e}", path.display()))?)
}

fn show_reconstruction(args: &ReconstructionArgs) -> Result<(), Failure> {
    let (config, checkpoint): (PretrainConfig, _) = train::look(&args.run, Which::Newest)?;
    let stride = args.stride.unwrap_or(config.data.stride);
    if args.images == 0 || stride == 0 {
        return Err(format!("--images, --stride: expected at least 1, got {} and {stride}", args.images).into());
    }
    let (arch, tensors) = (pretrain::arch(&config)?, weights::open(checkpoint)?.0);
    let mask = config.mask.masks(&arch.grid)?;
    let gpu = args.gpu.open()?;
    let shown = Shown { images: args.images, stride, seed: args.seed };
    save(&reconstruct(&gpu, &arch, &mask, tensors, &args.video, shown)?, &args.out)?;
    println!("frames, what was seen, what was made of it: {}", args.out.display());
    Ok(())
}

/// A model to look by: its shapes, its weights, and the stride of its clips.
struct Model {
    arch: LookArch,
    tensors: Tensors<LazyTensor>,
    stride: usize,
}

impl Model {
    /// Opens a run directory or a weight file; what neither flags nor a run's config say is as published.
    fn open(path: &Path, args: &ClipArgs) -> Result<Model, Failure> {
        let (file, config) = if path.join("config.toml").exists() {
            let (run, text) = RunDir::read(path)?;
            (run.weights(Which::Newest)?, text.parse::<toml::Table>()?)
        } else {
            (path.to_owned(), toml::Table::new())
        };
        let number = |table: &str, key: &str| {
            let value = config.get(table).and_then(|t| t.get(key)).and_then(toml::Value::as_integer);
            value.and_then(|v| usize::try_from(v).ok())
        };
        let (tensors, _) = weights::open(&file)?;
        let about = describe(&tensors).ok_or_else(|| format!("{}: no model that mvd knows", file.display()))?;
        let (family, inner) = match about.kind {
            Kind::Mae => (Family::Mae, ""),
            Kind::VideoMae => (Family::VideoMae, "encoder."),
            Kind::Student | Kind::Classifier | Kind::Encoder => (Family::Mvd, ""),
        };
        let dim = about.encoder.dim;
        let heads = args.heads.or(number("encoder", "heads")).or(number("student", "heads"));
        let heads = heads.unwrap_or_else(|| usual_heads(dim));
        // An image model's own config speaks of single frames: it is shown as the distillation shows it.
        let image = family == Family::Mae;
        let of_run = |key: &str| number("data", key).filter(|_| !image);
        let grid = Grid {
            frames: args.frames.or(of_run("frames")).unwrap_or(if image && !config.is_empty() { 8 } else { 16 }),
            size: args.input_size.or(number("data", "input_size")).unwrap_or(224),
            tubelet: if image { 2 } else { about.tubelet },
            patch: about.patch,
        };
        let stride = args.stride.or(of_run("stride")).unwrap_or(if image && !config.is_empty() { 2 } else { 4 });
        for (flag, holds, expected) in [
            ("--heads", heads > 0 && dim.is_multiple_of(heads.max(1)), format!("one that divides {dim}")),
            (
                "--frames",
                grid.frames > 0 && grid.frames.is_multiple_of(grid.tubelet),
                format!("a multiple of {}", grid.tubelet),
            ),
            (
                "--input-size",
                grid.size > 0 && grid.size.is_multiple_of(grid.patch),
                format!("a multiple of the patch, {}", grid.patch),
            ),
            ("--stride", stride > 0, "at least 1".into()),
        ] {
            if !holds {
                return Err(format!("{flag}: expected {expected}").into());
            }
        }
        let encoder = Vit { dim, depth: about.encoder.depth, heads, mlp_ratio: 4 };
        let arch = LookArch { family, prefix: format!("{}{inner}", about.prefix), encoder, grid };
        Ok(Model { arch, tensors, stride })
    }
}

fn show_similarity(args: &SimilarityArgs) -> Result<(), Failure> {
    let gpu = args.clip.gpu.open()?;
    let mut maps = Vec::new();
    for path in &args.models {
        let Model { arch, tensors, stride } = Model::open(path, &args.clip)?;
        let clips =
            args.video.iter().map(|video| middle_clip(video, &arch.grid, stride)).collect::<Result<Vec<_>, _>>()?;
        let values = similarity(&gpu, &arch, &tensors, &clips)?;
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        println!("{}: {:.3} between different frames", path.display(), off_diagonal(&values));
        maps.push(Map { title: name, values });
    }
    save(&draw_maps(&maps, 4, 44)?, &args.out)?;
    println!("similarity of features from frame to frame: {}", args.out.display());
    Ok(())
}

fn show_attention(args: &AttentionArgs) -> Result<(), Failure> {
    let gpu = args.clip.gpu.open()?;
    let Model { arch, tensors, stride } = Model::open(&args.model, &args.clip)?;
    let clip = middle_clip(&args.video, &arch.grid, stride)?;
    let tokens = arch.grid.tokens();
    let query = match args.query[..] {
        [] => brightest(&clip, &arch.grid),
        [t, y, x] if t < tokens[0] && y < tokens[1] && x < tokens[2] => (t * tokens[1] + y) * tokens[2] + x,
        _ => {
            let got = args.query.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
            return Err(format!("--query: expected time,row,column, each under {tokens:?}, got {got}").into());
        }
    };
    let shares = attention(&gpu, &arch, &tensors, &clip, query)?;
    let sheet = attention_sheet(&clip, &arch.grid, &shares, query);
    let times = (96 / arch.grid.size).max(1);
    save(&sheet.enlarged(times), &args.out)?;
    let (place, row) = (query % (tokens[1] * tokens[2]), tokens[2]);
    let (time, y, x) = (query / (tokens[1] * tokens[2]), place / row, place % row);
    println!("frames, and where the token at time {time}, row {y}, column {x} looks: {}", args.out.display());
    Ok(())
}
