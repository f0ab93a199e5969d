//! The paper's claims on one machine, with standard errors: the same comparisons over several seeds, decided by a rule that
//! is told before any number.
//!
//! Everything lies under one folder: `plan.toml`, `SEED/sets/`, `SEED/runs/NAME/`, `SEED/results/NAME.json`,
//! `claims.json`, `claims.html`. A cell whose result is there is not made again, and one that was begun is gone on with.
//! Several processes, also on several machines, may share the folder: each takes cells that no other holds the lock of.

mod cell;
mod plan;
mod report;
mod score;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use cell::{Bench, gflop_of_pixels, gflop_of_student, read_found, result_path};
pub use plan::{ABLATIONS, Cell, Change, Control, Costs, Experiment, Plan, Teachers, Work};
pub use score::{Claim, Comparison, Found, RULE, Results, Score, Verdict, claims};

use crate::config::PretrainKind;
use crate::eval::probe::{Features, linear};
use crate::gpu::Gpu;
use crate::lock::Locked;
use crate::ranks::Ranks;
use crate::study::configs::Configs;
use crate::study::timing::{Cost, TIMED_STEPS, time};
use crate::study::{Error, Progress, io, write_set, write_whole};
use crate::train::{self, distill, pretrain};

/// What is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Folder of everything.
    pub out: PathBuf,
    /// Budget in minutes of one process.
    pub minutes: f64,
    /// Seeds.
    pub seeds: usize,
    /// The first of them.
    pub seed: u64,
    /// Decoding threads.
    pub threads: usize,
    /// Sizes and lengths.
    pub experiment: Experiment,
}

/// How long a cell took, and where; kept apart from what it found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Took {
    adapter: String,
    /// Of the sessions that were not killed.
    seconds: f64,
}

/// How often a process without work looks whether others are done.
const LOOK: Duration = Duration::from_secs(2);

/// Runs what is missing; gives the page.
///
/// # Errors
/// Whatever ends one of the runs; the same command goes on.
pub fn run(gpu: &Arc<Gpu>, options: &Options, progress: &mut dyn Progress) -> Result<PathBuf, Error> {
    std::fs::create_dir_all(&options.out).map_err(io("create", &options.out))?;
    // Runs go on from any folder.
    let out = std::path::absolute(&options.out).map_err(io("find", &options.out))?;
    let plan = planned(gpu, options, &out, progress)?;
    told(&plan, progress);
    let cells = plan.cells();
    let all: f64 = cells.iter().map(|cell| plan.seconds(cell)).sum::<f64>().max(1e-9);
    let folder = |cell: &Cell| out.join(cell.seed.to_string());
    let done = |cell: &Cell, name: &str| result_path(&folder(cell), name).exists();
    loop {
        let mut worked = false;
        for cell in &cells {
            let ready = !done(cell, &cell.name) && cell.needs.iter().all(|name| done(cell, name));
            let Some(_lock) = (if ready { lock(&folder(cell).join("locks"), &cell.name)? } else { None }) else {
                continue;
            };
            // Another process may have ended it since.
            if done(cell, &cell.name) {
                continue;
            }
            let share = |cells: &mut dyn Iterator<Item = &Cell>| cells.map(|c| plan.seconds(c)).sum::<f64>() / all;
            let before = share(&mut cells.iter().filter(|c| done(c, &c.name)));
            let after = (before + share(&mut std::iter::once(cell))).min(1.0);
            progress.stage(&format!("seed {}: {}", cell.seed, cell.name), before.min(1.0)..after);
            let (folder, threads) = (folder(cell), options.threads);
            perform(&mut Bench { gpu, plan: &plan, cell, folder, threads, progress: &mut *progress })?;
            worked = true;
        }
        if cells.iter().all(|cell| done(cell, &cell.name)) {
            break;
        }
        if !worked {
            if let Some(signal) = progress.stop() {
                return Err(Error::Stopped { signal });
            }
            std::thread::sleep(LOOK);
        }
    }
    finish(&out, &plan)
}

/// Does a cell's work and writes what it found and how long it took.
fn perform(bench: &mut Bench<'_>) -> Result<(), Error> {
    let begun = Instant::now();
    let path = result_path(&bench.folder, &bench.cell.name);
    let times = path.with_extension("time");
    let parent = bench.folder.join("results");
    std::fs::create_dir_all(&parent).map_err(io("create", &parent))?;
    let worked = bench.work();
    let before = read::<Took>(&times).map_or(0.0, |took| took.seconds);
    let took = Took { adapter: bench.gpu.describe(), seconds: before + begun.elapsed().as_secs_f64() };
    write_json(&times, &took)?;
    write_json(&path, &worked?)
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    let text = serde_json::to_vec_pretty(value).map_err(|e| io("encode", path)(e.into()))?;
    write_whole(path, &text)
}

/// A lock by name in a folder, unless another process holds it.
fn lock(folder: &Path, name: &str) -> Result<Option<Locked>, Error> {
    std::fs::create_dir_all(folder).map_err(io("create", folder))?;
    let path = folder.join(name);
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(io("open", &path))?;
    Locked::new(file, &path).map_err(io("lock", &path))
}

/// The folder's plan, made by whoever comes first.
fn planned(gpu: &Arc<Gpu>, options: &Options, out: &Path, progress: &mut dyn Progress) -> Result<Plan, Error> {
    let file = out.join("plan.toml");
    let _lock = loop {
        match lock(out, ".plan-lock")? {
            Some(lock) => break lock,
            None => std::thread::sleep(LOOK),
        }
    };
    let Options { minutes, seeds, seed, ref experiment, .. } = *options;
    if file.exists() {
        let text = std::fs::read_to_string(&file).map_err(io("read", &file))?;
        let malformed = |e: toml::de::Error| Error::Malformed { path: file.clone(), reason: e.to_string() };
        let plan: Plan = toml::from_str(&text).map_err(malformed)?;
        if (plan.minutes, plan.asked, plan.seed, &plan.experiment) != (minutes, seeds, seed, experiment) {
            let Plan { minutes, asked, seed, .. } = plan;
            let begun = format!("--minutes {minutes} --seeds {asked} --seed {seed}, or another --experiment");
            return Err(Error::Other { path: options.out.clone(), begun });
        }
        return Ok(plan);
    }
    let (costs, pixel_ratio) = measure(gpu, options, &out.join("timing"), progress)?;
    let plan = Plan::new(minutes, seeds, seed, experiment.clone(), costs, pixel_ratio);
    write_whole(&file, toml::to_string(&plan).map_err(train::Error::from)?.as_bytes())?;
    Ok(plan)
}

/// What each kind of work costs here, from a few steps of each on a small set, and how many steps on pixels have the FLOPs
/// of one of the student of both.
fn measure(
    gpu: &Arc<Gpu>,
    options: &Options,
    folder: &Path,
    progress: &mut dyn Progress,
) -> Result<(Costs, f64), Error> {
    let clear = || match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io("remove", folder)(error)),
        _ => Ok(()),
    };
    // What a kill left of an earlier measurement.
    clear()?;
    progress.stage("measuring this adapter's speed", 0.0..0.0);
    let of = &options.experiment;
    let configs =
        Configs { sets: folder.join("sets"), shapes: of.shapes, seed: options.seed, threads: options.threads };
    let clips = (TIMED_STEPS * of.shapes.batch).min(of.train);
    write_set(&configs.sets.join("train"), &of.clips(clips, options.seed), &[])?;
    let at = |name: &str| folder.join(name);
    let teacher = |kind, name| {
        let config = configs.pretrain(kind, TIMED_STEPS)?;
        time(&at(name), &config, |dir, watch| pretrain::train(gpu, &Ranks::alone(), &config, dir, None, watch))
    };
    let (image, image_weights) = teacher(PretrainKind::Image, "image")?;
    let (video, video_weights) = teacher(PretrainKind::Video, "video")?;
    let one = configs.distill(None, Some(&video_weights), TIMED_STEPS)?;
    let (one, _) = time(&at("one"), &one, |dir, watch| distill::train(gpu, &Ranks::alone(), &one, dir, None, watch))?;
    let config = configs.distill(Some(&image_weights), Some(&video_weights), TIMED_STEPS)?;
    let (both, _) =
        time(&at("both"), &config, |dir, watch| distill::train(gpu, &Ranks::alone(), &config, dir, None, watch))?;
    let pixels = gflop_of_pixels(gpu, &configs.pretrain(PretrainKind::Video, TIMED_STEPS)?)?;
    let ratio = gflop_of_student(gpu, &config)? / pixels;
    let probe = probe_cost(of, video);
    clear()?;
    Ok((Costs { probe, image, video, one, both }, ratio))
}

/// Seconds of all probes of an encoder: its forward passes, a third of a step each, and one classifier that is timed.
fn probe_cost(of: &Experiment, video: Cost) -> f64 {
    let (dim, classes) = (of.shapes.encoder.dim, 8);
    let row = |i: usize| (0..dim).map(|c| ((i * 37 + c * 101) % 97) as f64).collect();
    let rows =
        Features { rows: (0..of.labelled).map(row).collect(), labels: (0..of.labelled).map(|i| i % classes).collect() };
    let begun = Instant::now();
    linear(&rows, &rows);
    let passes = (of.labelled + of.test) as f64 / of.shapes.batch as f64;
    passes * video.step / 3.0 + 2.0 * begun.elapsed().as_secs_f64()
}

/// Says what a full run needs here, and what is done of it.
fn told(plan: &Plan, progress: &mut dyn Progress) {
    let Plan { minutes, asked, seeds, topics, scale, full_minutes, expected_minutes, .. } = plan;
    progress.announce(&format!(
        "a full run of {asked} seeds and all ablations takes {full_minutes:.0} minutes on this adapter; --minutes is {minutes}"
    ));
    let dropped: Vec<&str> = ABLATIONS[*topics..].iter().map(|(topic, _)| *topic).collect();
    let dropped = if dropped.is_empty() { String::new() } else { format!("; left out: {}", dropped.join(", ")) };
    let scaled =
        if *scale < 1.0 { format!("; all runs have {:.0} % of their steps", 100.0 * scale) } else { String::new() };
    progress.announce(&format!("{seeds} seeds, {expected_minutes:.0} minutes{dropped}{scaled}"));
}

/// Writes `claims.json` and `claims.html`; gives the latter.
fn finish(out: &Path, plan: &Plan) -> Result<PathBuf, Error> {
    let (mut results, mut times) = (Results::new(), BTreeMap::new());
    for cell in plan.cells() {
        let folder = out.join(cell.seed.to_string());
        let found = read_found(&folder, &cell.name)?;
        let took = read::<Took>(&result_path(&folder, &cell.name).with_extension("time"));
        times.insert((cell.seed, cell.name.clone()), took);
        results.entry(cell.seed).or_default().insert(cell.name, found);
    }
    let report = report::Report::new(plan, &results);
    write_json(&out.join("claims.json"), &report)?;
    let page = out.join("claims.html");
    write_whole(&page, report::render(plan, &report, &times)?.as_bytes())?;
    Ok(page)
}
