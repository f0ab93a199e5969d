//! `mvd bench scaling`

use std::path::PathBuf;

use clap::Args;

use super::{AdapterArgs, Failure};
use crate::bench::{self, Point};
use crate::picture::chart::{Panel, Series, draw_panels};

#[derive(Args)]
pub(super) struct BenchScalingArgs {
    /// Most tokens of a clip.
    #[arg(long, default_value_t = 2048, value_parser = clap::value_parser!(u32).range(64..=65536))]
    tokens: u32,
    /// Picture to write, PNG.
    #[arg(long, default_value = "scaling.png")]
    out: PathBuf,
    #[command(flatten)]
    gpu: AdapterArgs,
}

pub(super) fn run(args: &BenchScalingArgs) -> Result<(), Failure> {
    let gpu = args.gpu.open()?;
    println!("on {}", gpu.describe());
    println!("{:>8}{:>8}{:>14}{:>14}{:>10}{:>10}", "tokens", "clips", "products ms", "attention ms", "rest ms", "MiB");
    let [by_tokens, by_batch] = bench::scaling(&gpu, args.tokens as usize, |p| {
        let Point { tokens, batch, products, attention, rest, mib } = p;
        println!("{tokens:>8}{batch:>8}{products:>14.1}{attention:>14.1}{rest:>10.1}{mib:>10.1}");
    })?;
    let panels = [
        panel("milliseconds of a step, one clip", "tokens", &by_tokens, |p| p.tokens, &TIMES),
        panel("MiB of activations, one clip", "tokens", &by_tokens, |p| p.tokens, &MEMORY),
        panel("milliseconds of a step, 256 tokens", "clips", &by_batch, |p| p.batch, &TIMES),
        panel("MiB of activations, 256 tokens", "clips", &by_batch, |p| p.batch, &MEMORY),
    ];
    let picture = draw_panels(&panels, 2, 640, 420)?;
    picture.save(&args.out).map_err(|e| format!("cannot write {}: {e}", args.out.display()))?;
    println!("drawn: {}", args.out.display());
    Ok(())
}

/// A figure's name and how it is read.
type Line = (&'static str, fn(&Point) -> f64);

const TIMES: [Line; 3] = [("products", |p| p.products), ("attention", |p| p.attention), ("rest", |p| p.rest)];
const MEMORY: [Line; 1] = [("activations", |p| p.mib)];

fn panel(title: &str, x: &str, points: &[Point], along: fn(&Point) -> usize, lines: &[Line]) -> Panel {
    let series = lines.iter().map(|(name, value)| Series {
        name: (*name).to_owned(),
        points: points.iter().map(|p| (along(p) as f64, value(p))).collect(),
        ..Series::default()
    });
    Panel { title: title.to_owned(), x: x.to_owned(), log: false, series: series.collect() }
}
