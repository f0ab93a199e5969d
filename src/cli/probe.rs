//! `mvd features` and `mvd probe`

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;

use super::args::threads;
use super::{AdapterArgs, Failure, report};
use crate::data::{Dataset, Item};
use crate::eval::probe::{Features, linear, nearest_neighbours};
use crate::eval::{Evaluator, Views};
use crate::model::classifier::ClassifierArch;
use crate::model::encoder::Family;
use crate::model::{Grid, Vit};
use crate::weights::{self, HostTensor, Kind, Tensors, describe, usual_heads};

#[derive(Args)]
struct EncoderArgs {
    /// A student, a VideoMAE or a classifier, see `mvd inspect`.
    #[arg(long)]
    weights: PathBuf,
    /// Attention heads [default: the published model's of that width].
    #[arg(long)]
    heads: Option<usize>,
    /// Frames of a clip.
    #[arg(long, default_value_t = 16)]
    frames: usize,
    /// Frames of the video from one of the clip's to the next.
    #[arg(long, default_value_t = 4)]
    stride: usize,
    /// Height and width of the frames.
    #[arg(long, default_value_t = 224)]
    input_size: usize,
    /// What `mvd check-data --index` wrote of the videos.
    #[arg(long, value_name = "FILE")]
    index: Option<PathBuf>,
    /// Clips in time whose features are averaged.
    #[arg(long, default_value_t = 1)]
    clips: usize,
    /// Clips of a batch.
    #[arg(long, default_value_t = 8)]
    batch: usize,
    #[command(flatten)]
    gpu: AdapterArgs,
}

#[derive(Args)]
pub(super) struct FeaturesArgs {
    /// File to write: `features` (videos, C), the mean over tokens of the last block, and `labels` (videos), -1 for none.
    out: PathBuf,
    /// A list, a folder or one video.
    #[arg(long)]
    data: PathBuf,
    #[command(flatten)]
    encoder: EncoderArgs,
}

#[derive(Args)]
pub(super) struct ProbeArgs {
    /// Labelled videos to learn from.
    #[arg(long)]
    train: PathBuf,
    /// Labelled videos to test on.
    #[arg(long)]
    test: PathBuf,
    /// Neighbours that vote.
    #[arg(long, default_value_t = 20)]
    neighbours: usize,
    #[command(flatten)]
    encoder: EncoderArgs,
}

/// An encoder that pools features.
struct Encoder<'a> {
    evaluator: Evaluator,
    args: &'a EncoderArgs,
}

impl<'a> Encoder<'a> {
    fn open(args: &'a EncoderArgs) -> Result<Self, Failure> {
        let file = args.weights.display();
        let (tensors, _) = weights::open(&args.weights)?;
        let about = describe(&tensors).ok_or_else(|| format!("{file}: no model that mvd knows"))?;
        let family = match about.kind {
            Kind::Mae => {
                return Err(format!("{file}: expected a model of clips, got an MAE, which sees single frames").into());
            }
            Kind::VideoMae => Family::VideoMae,
            Kind::Student | Kind::Classifier | Kind::Encoder => Family::Mvd,
        };
        let dim = about.encoder.dim;
        let heads = args.heads.unwrap_or(usual_heads(dim));
        let grid = Grid { frames: args.frames, size: args.input_size, tubelet: about.tubelet, patch: about.patch };
        for (flag, holds, expected) in [
            ("--heads", heads > 0 && dim.is_multiple_of(heads.max(1)), format!("one that divides {dim}")),
            (
                "--frames",
                !grid.is_empty() && grid.frames.is_multiple_of(grid.tubelet),
                format!("a multiple of {}", grid.tubelet),
            ),
            ("--input-size", grid.size.is_multiple_of(grid.patch), format!("a multiple of the patch, {}", grid.patch)),
            ("--batch, --clips, --stride", args.batch > 0 && args.clips > 0 && args.stride > 0, "at least 1".into()),
        ] {
            if !holds {
                return Err(format!("{flag}: expected {expected}").into());
            }
        }
        let encoder = Vit { dim, depth: about.encoder.depth, heads, mlp_ratio: 4 };
        let arch = ClassifierArch::frozen(family, encoder, grid, args.batch);
        let gpu = args.gpu.open()?;
        let select = about.prefix.clone() + if about.kind == Kind::VideoMae { "encoder." } else { "" };
        let evaluator = Evaluator::of_encoder(&gpu, &arch, tensors, select, &args.weights)?;
        Ok(Encoder { evaluator, args })
    }

    /// Pooled features of every video; none for one that cannot be read.
    fn features(&mut self, set: &Dataset, what: &str) -> Result<Vec<Option<Vec<f64>>>, Failure> {
        let EncoderArgs { frames, stride, input_size: size, clips, .. } = *self.args;
        let views = Views { frames, stride, size, segments: false, clips, crops: 1 };
        let bar = report::bar(set.items.len() * clips, what);
        let scores = self.evaluator.scores(&set.items, &set.index, &views, threads(), &mut |n| {
            bar.inc(n as u64);
            true
        })?;
        bar.finish_and_clear();
        Ok(scores.into_iter().map(|score| score.map(|s| s.features)).collect())
    }
}

pub(super) fn features(args: &FeaturesArgs) -> Result<(), Failure> {
    let set = Dataset::open(&args.data, None)?.with_index(args.encoder.index.as_deref())?;
    let mut encoder = Encoder::open(&args.encoder)?;
    let rows = encoder.features(&set, "features")?;
    let kept: Vec<(Item, &Vec<f64>)> =
        set.items.iter().zip(&rows).filter_map(|(i, r)| Some((i, r.as_ref()?))).collect();
    let width = kept.first().map_or(0, |(_, row)| row.len());
    let data = kept.iter().flat_map(|(_, row)| row.iter().map(|v| *v as f32)).collect();
    let labels = kept.iter().map(|(item, _)| item.label.map_or(-1.0, |l| l as f32)).collect();
    let mut tensors = Tensors::new();
    tensors.insert("features", HostTensor { shape: vec![kept.len(), width], data });
    tensors.insert("labels", HostTensor { shape: vec![kept.len()], data: labels });
    let paths: Vec<String> = kept.iter().map(|(item, _)| item.path.display().to_string()).collect();
    let metadata = BTreeMap::from([("paths".to_owned(), serde_json::to_string(&paths)?)]);
    weights::save(&args.out, &tensors, &metadata)?;
    println!("wrote features ({} x {width}) of {} videos to {}", kept.len(), set.items.len(), args.out.display());
    Ok(())
}

pub(super) fn probe(args: &ProbeArgs) -> Result<(), Failure> {
    let mut encoder = Encoder::open(&args.encoder)?;
    let mut labelled = |path: &PathBuf, what: &str| -> Result<Features, Failure> {
        let set = Dataset::open(path, None)?.with_index(args.encoder.index.as_deref())?;
        // Numbers of classes are not known beforehand, names are.
        set.expect_labels(if set.classes.is_empty() { 1 << 20 } else { set.classes.len() })?;
        let rows = encoder.features(&set, what)?;
        let read = set.items.iter().zip(rows).filter_map(|(item, row)| Some((row?, item.label? as usize)));
        let (rows, labels) = read.unzip();
        Ok(Features { rows, labels })
    };
    let (train, test) = (labelled(&args.train, "train")?, labelled(&args.test, "test")?);
    if train.rows.is_empty() || test.rows.is_empty() {
        return Err("--train, --test: none of the videos could be read".into());
    }
    let count = |label: usize| test.labels.iter().filter(|l| **l == label).count();
    let most = test.labels.iter().map(|l| count(*l)).max().unwrap_or(0);
    println!("{} to learn from, {} to test on", train.rows.len(), test.rows.len());
    println!("linear             {:>6.2} %", linear(&train, &test));
    println!("{:>3} neighbours     {:>6.2} %", args.neighbours, nearest_neighbours(&train, &test, args.neighbours));
    println!("commonest label    {:>6.2} %", 100.0 * most as f64 / test.labels.len() as f64);
    Ok(())
}
