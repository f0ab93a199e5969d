//! `mvd show`

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::model::ModelArgs;
use super::{AdapterArgs, Failure, train};
use crate::config::PretrainConfig;
use crate::eval::look::{attention, attention_sheet, brightest, middle_clip, off_diagonal, similarity};
use crate::eval::reconstruct::{Shown, reconstruct};
use crate::model::look::LookArch;
use crate::picture::Picture;
use crate::picture::chart::{Map, draw_maps};
use crate::train::checkpoint::Which;
use crate::train::pretrain;
use crate::weights::{self, LazyTensor, Tensors};

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

/// Which weights, and how the clip that is looked at is taken.
#[derive(Args)]
struct ClipArgs {
    /// Which of the weights.
    #[arg(long, value_enum, default_value_t)]
    weights: Which,
    #[command(flatten)]
    of_model: ModelArgs,
    #[command(flatten)]
    gpu: AdapterArgs,
}

#[derive(Args)]
pub(super) struct SimilarityArgs {
    /// Run directories, weight files, folders of Hugging Face's or hf:owner/name.
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
    /// Run directory, weight file, folder of Hugging Face's or hf:owner/name.
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
    if !args.run.join("config.toml").is_file() {
        return Err(format!(
            "{}: expected a run of `mvd pretrain`, whose config.toml says how patches are masked and predicted, got none; \
             `mvd show similarity` and `mvd show attention` take weight files and folders of Hugging Face's",
            args.run.display()
        )
        .into());
    }
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
    fn open(path: &Path, args: &ClipArgs) -> Result<Model, Failure> {
        let opened = args.of_model.open(path, args.weights)?;
        let (family, encoder, grid) = (opened.family()?, opened.vit()?, opened.grid()?);
        let (prefix, eps) = (opened.about.inner().to_owned(), opened.block_eps());
        let stride = opened.stride.value;
        Ok(Model { arch: LookArch { family, prefix, encoder, grid, eps }, tensors: opened.tensors, stride })
    }
}

fn show_similarity(args: &SimilarityArgs) -> Result<(), Failure> {
    let gpu = args.clip.gpu.open()?;
    let mut maps = Vec::new();
    for path in &args.models {
        let Model { arch, tensors, stride } = Model::open(path, &args.clip)?;
        let clips =
            args.video.iter().map(|video| middle_clip(video, &arch.grid, stride)).collect::<Result<Vec<_>, _>>()?;
        let values = similarity(&gpu, &arch, &tensors, &clips, false)?;
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
