//! `mvd features` and `mvd probe`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;

use super::args::threads;
use super::model::{ModelArgs, views};
use super::report::{self, say};
use super::{AdapterArgs, Failure};
use crate::data::{Dataset, Item, KnownClasses, read_names};
use crate::eval::probe::{Features, linear, nearest_neighbours};
use crate::eval::{Evaluator, Views};
use crate::train::checkpoint::Which;
use crate::weights::{self, HostTensor, Tensors};

#[derive(Args)]
struct EncoderArgs {
    /// A student, a VideoMAE or a classifier: a run, a weight file, a folder of Hugging Face's or hf:owner/name.
    #[arg(long)]
    weights: PathBuf,
    /// Which of its weights.
    #[arg(long, value_enum, default_value_t)]
    which: Which,
    #[command(flatten)]
    model: ModelArgs,
    /// What `mvd check-data --index` wrote of the videos.
    #[arg(long, value_name = "FILE")]
    index: Option<PathBuf>,
    /// Clips in time whose features are averaged.
    #[arg(long, default_value_t = 1)]
    clips: usize,
    /// Clips of a batch; fewer where the adapter's limits are lower.
    #[arg(long, default_value_t = 8)]
    batch: usize,
    #[command(flatten)]
    gpu: AdapterArgs,
}

#[derive(Args)]
pub(super) struct FeaturesArgs {
    /// File to write: `features` (videos, C), the mean over tokens of the last block, and `labels` (videos), -1 for none;
    /// in its metadata the videos' paths and, where labels have names, the names of classes.
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
    /// Names of the classes of the set whose labels are numbers alone, one a line in the order of their indices.
    #[arg(long, value_name = "FILE")]
    names: Option<PathBuf>,
    /// Neighbours that vote.
    #[arg(long, default_value_t = 20)]
    neighbours: usize,
    #[command(flatten)]
    encoder: EncoderArgs,
}

/// An encoder that pools features.
struct Encoder<'a> {
    evaluator: Evaluator,
    views: Views,
    args: &'a EncoderArgs,
}

impl<'a> Encoder<'a> {
    fn open(args: &'a EncoderArgs) -> Result<Self, Failure> {
        if args.batch == 0 || args.clips == 0 {
            return Err(format!("--batch, --clips: expected at least 1, got {} and {}", args.batch, args.clips).into());
        }
        let opened = args.model.open(&args.weights, args.which)?;
        let views = Views { segments: false, ..views(&opened, args.clips, 1)? };
        // Before a GPU is looked for.
        opened.classifier(args.batch)?;
        let evaluator = Evaluator::open(&args.gpu.open()?, &opened, args.batch, false)?;
        Ok(Encoder { evaluator, views, args })
    }

    /// Pooled features of every video; none for one that cannot be read.
    fn features(&mut self, set: &Dataset, what: &str) -> Result<Vec<Option<Vec<f64>>>, Failure> {
        let (views, clips) = (self.views, self.args.clips);
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
    let mut metadata = BTreeMap::from([("paths".to_owned(), serde_json::to_string(&paths)?)]);
    if !set.classes.is_empty() {
        metadata.insert("classes".to_owned(), serde_json::to_string(&set.classes)?);
    }
    weights::save(&args.out, &tensors, &metadata)?;
    println!("wrote features ({} x {width}) of {} videos to {}", kept.len(), set.items.len(), args.out.display());
    Ok(())
}

/// Gives names to the classes of those sets that have none.
fn give_names(path: &Path, sets: [(&PathBuf, &mut Dataset); 2]) -> Result<(), Failure> {
    let names = read_names(path)?;
    let mut given = false;
    for (of, set) in sets {
        if set.classes.is_empty() {
            set.expect_labels(of, names.len())?;
            set.classes.clone_from(&names);
            given = true;
        }
    }
    match given {
        true => Ok(()),
        false => {
            Err(format!("--names {}: the classes of both sets have names already; leave it out", path.display()).into())
        }
    }
}

pub(super) fn probe(args: &ProbeArgs) -> Result<(), Failure> {
    let mut encoder = Encoder::open(&args.encoder)?;
    let open = |path: &Path| -> Result<Dataset, Failure> {
        Ok(Dataset::open(path, None)?.with_index(args.encoder.index.as_deref())?)
    };
    let (mut train, mut test) = (open(&args.train)?, open(&args.test)?);
    if let Some(path) = &args.names {
        give_names(path, [(&args.train, &mut train), (&args.test, &mut test)])?;
    }
    // Numbers of classes are not known beforehand, names are.
    let classes = if train.classes.is_empty() { 1 << 20 } else { train.classes.len() };
    train.expect_labels(&args.train, classes)?;
    let owner = args.train.display().to_string();
    let known = KnownClasses { classes, names: &train.classes, owner: &owner };
    test.match_classes(&args.test, &known)?.iter().for_each(|note| say(note));
    let mut labelled = |set: &Dataset, what: &str| -> Result<Features, Failure> {
        let rows = encoder.features(set, what)?;
        let read = set.items.iter().zip(rows).filter_map(|(item, row)| Some((row?, item.label? as usize)));
        let (rows, labels) = read.unzip();
        Ok(Features { rows, labels })
    };
    let (train, test) = (labelled(&train, "train")?, labelled(&test, "test")?);
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
