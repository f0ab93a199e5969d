//! `mvd check-data`

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;

use super::{Failure, report};
use crate::data::check::{Depth, Found, check, write_clean};
use crate::data::video::Reader;
use crate::data::{Dataset, Index};

#[derive(Args)]
pub(super) struct CheckDataArgs {
    /// A list, a folder of videos or of image folders, or one video.
    data: PathBuf,
    /// Where a list's relative paths start.
    #[arg(long)]
    root: Option<PathBuf>,
    /// Every image of a folder is a sample of its own, as `mvd pretrain image` takes them.
    #[arg(long)]
    images: bool,
    /// Write a list of what can be read.
    #[arg(long, value_name = "OUT")]
    clean: Option<PathBuf>,
    /// Write an index, with which `--index` of other commands spares looking at files again.
    #[arg(long, value_name = "OUT")]
    index: Option<PathBuf>,
    /// How much of each video is decoded.
    #[arg(long, value_enum, default_value = "some")]
    decode: Depth,
}

/// Smallest and largest of some values.
#[derive(Clone, Copy)]
struct Span {
    least: f64,
    most: f64,
}

impl Span {
    fn of(values: impl Iterator<Item = f64> + Clone) -> Span {
        let least = values.clone().fold(f64::INFINITY, f64::min);
        Span { least, most: values.fold(f64::NEG_INFINITY, f64::max) }
    }

    fn text(self, decimals: usize) -> String {
        let Span { least, most } = self;
        if least == most { format!("{least:.decimals$}") } else { format!("{least:.decimals$} to {most:.decimals$}") }
    }
}

/// Rows of a table, columns as wide as they need.
fn print_table(rows: &[Vec<String>]) {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        println!("{}", cells.join("  ").trim_end());
    }
}

fn print(found: &[&Found]) {
    let mut kinds: BTreeMap<(&str, &str, Reader), Vec<&Found>> = BTreeMap::new();
    for one in found {
        let key = (one.facts.container.as_str(), one.facts.codec.as_str(), one.facts.reader);
        kinds.entry(key).or_default().push(one);
    }
    let titles = ["container", "codec", "read by", "videos", "sizes", "frames", "seconds", "cut short"];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    for ((container, codec, reader), of) in kinds {
        let mut sizes: Vec<(usize, usize)> = of.iter().filter_map(|f| f.size).collect();
        sizes.sort_unstable();
        sizes.dedup();
        let sizes = match sizes[..] {
            [] => "?".to_owned(),
            [(w, h)] => format!("{w}x{h}"),
            [(w, h), .., (w2, h2)] => format!("{w}x{h} to {w2}x{h2}, {} of them", sizes.len()),
        };
        rows.push(vec![
            container.to_owned(),
            codec.to_owned(),
            match reader {
                Reader::Own => "mvd".to_owned(),
                Reader::Linked => "libav".to_owned(),
                Reader::Program => "ffmpeg".to_owned(),
            },
            of.len().to_string(),
            sizes,
            Span::of(of.iter().map(|f| f.frames as f64)).text(0),
            Span::of(of.iter().map(|f| f.facts.seconds)).text(1),
            of.iter().filter(|f| f.facts.missing > 0).count().to_string(),
        ]);
    }
    print_table(&rows);
}

pub(super) fn run(args: &CheckDataArgs) -> Result<(), Failure> {
    let open = if args.images { Dataset::open_images } else { Dataset::open };
    let set = open(&args.data, args.root.as_deref())?;
    let bar = report::bar(set.items.len(), "check");
    let found = check(&set.items, args.decode, || bar.inc(1));
    bar.finish_and_clear();
    let good: Vec<&Found> = found.iter().filter_map(|f| f.as_ref().ok()).collect();
    print(&good);
    if !set.classes.is_empty() {
        let named = set.classes.iter().enumerate().filter(|(_, name)| !name.is_empty());
        let shown = named.map(|(label, name)| if set.numbered { format!("{label} {name}") } else { name.clone() });
        let shown: Vec<String> = shown.collect();
        let classes = if shown.len() == 1 { "class" } else { "classes" };
        println!("{} {classes}: {}", shown.len(), shown.join(", "));
    }
    let unlabelled = set.items.iter().filter(|item| item.label.is_none()).count();
    if unlabelled > 0 {
        println!("{unlabelled} have no label");
    }
    println!("{} of {} cannot be read", found.len() - good.len(), found.len());
    found.iter().filter_map(|f| f.as_ref().err()).for_each(|reason| println!("  {reason}"));
    if let Some(path) = &args.clean {
        let count = write_clean(path, &set.items, &set.classes, &found)?;
        println!("wrote {count} videos to {}", path.display());
    }
    if let Some(path) = &args.index {
        let index = Index::of(&set.items, &found);
        index.write(path)?;
        println!("wrote to {} what is known of {} files", path.display(), index.len());
    }
    if good.is_empty() { Err("none of the videos can be read".into()) } else { Ok(()) }
}
