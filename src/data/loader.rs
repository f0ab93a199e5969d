//! Batches of clips, decoded by threads, the same whatever their number.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use rand::RngExt;
use rand::seq::SliceRandom;

use super::dataset::Dataset;
use super::error::{Error, Result};
use super::mask::{MaskConfig, Tokens};
use super::rng;
use super::sample::{self, Clip, ClipConfig, Cutter};

/// Files tried in place of one that cannot be read.
const REPLACEMENTS: usize = 16;

/// Where a run stands in its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Position {
    /// Passes over the set that are done.
    pub epoch: usize,
    /// Batches of this pass that are done.
    pub batch: usize,
}

impl Position {
    /// The position so many batches later, where a pass has `in_pass` of them.
    #[must_use]
    pub fn after(self, batches: usize, in_pass: usize) -> Position {
        let all = self.batch + batches;
        Position { epoch: self.epoch + all / in_pass.max(1), batch: all % in_pass.max(1) }
    }
}

/// Which batches are loaded, where several processes work through one set: of every `of` batches from the start on, `take` from
/// the one numbered `first` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Batches of others before the first.
    pub first: usize,
    /// Batches of this process.
    pub take: usize,
    /// Batches of all.
    pub of: usize,
}

impl Shard {
    /// All of them.
    pub const WHOLE: Shard = Shard { first: 0, take: 1, of: 1 };
}

/// A walk over the batches of a shard.
#[derive(Debug, Clone, Copy)]
struct Walk {
    at: Position,
    /// Number of the batch among every `shard.of`.
    turn: usize,
    shard: Shard,
    in_pass: usize,
}

impl Walk {
    fn new(at: Position, shard: Shard, in_pass: usize) -> Walk {
        Walk { at: at.after(shard.first, in_pass), turn: shard.first, shard, in_pass }
    }

    /// Goes on to the next batch of the shard.
    fn step(&mut self) {
        let Shard { first, take, of } = self.shard;
        let within = self.turn + 1 < first + take;
        let skipped = if within { 0 } else { of - take };
        self.turn = if within { self.turn + 1 } else { first };
        self.at = self.at.after(1 + skipped, self.in_pass);
    }
}

/// How a set is loaded.
#[derive(Debug, Clone)]
pub struct LoaderConfig {
    /// How clips are drawn.
    pub clip: ClipConfig,
    /// How tokens are masked, if they are.
    pub mask: Option<MaskConfig>,
    /// Videos of a batch; each gives `clip.repeats` clips.
    pub batch: usize,
    /// Seed of all draws.
    pub seed: u64,
    /// Decoding threads.
    pub threads: usize,
    /// Share of unreadable files at which the run stops.
    pub max_bad: f64,
    /// Where to start.
    pub start: Position,
    /// Which batches.
    pub shard: Shard,
}

/// One batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// (B, T, H, W, 3) RGB.
    pub frames: Vec<u8>,
    /// (B, T / step, h, w, 3) RGB for a teacher of another size; else empty.
    pub teacher_frames: Vec<u8>,
    /// (B, V) visible tokens.
    pub visible: Vec<u32>,
    /// (B, M) masked tokens.
    pub masked: Vec<u32>,
    /// (B) labels; 0 for a video without one.
    pub labels: Vec<u32>,
    /// The batch after this one in the order of all.
    pub next: Position,
}

/// Pass and place in it of a video.
type Slot = (usize, usize);

impl Batch {
    /// Empties its buffers.
    fn clear(&mut self) {
        let Batch { frames, teacher_frames, visible, masked, labels, next: _ } = self;
        [frames, teacher_frames].into_iter().for_each(Vec::clear);
        [visible, masked, labels].into_iter().for_each(Vec::clear);
    }
}

/// The clips of one video, with masks and the video's label.
type Drawn = Result<(Vec<(Clip, Option<Tokens>)>, u32)>;

struct Shared {
    set: Arc<Dataset>,
    config: LoaderConfig,
    bad: Mutex<BTreeSet<PathBuf>>,
    orders: Mutex<BTreeMap<usize, Arc<Vec<usize>>>>,
    stop: AtomicBool,
}

/// An endless sequence of batches over a set, reshuffled each pass.
pub struct Loader {
    shared: Arc<Shared>,
    /// What to draw, and clips whose buffers serve it.
    tasks: Option<Sender<(Slot, Vec<Clip>)>>,
    done: Receiver<(Slot, Drawn)>,
    arrived: BTreeMap<Slot, Drawn>,
    /// Clips of each video that was handed out and not yet asked for another: as many as the next videos need.
    spent: Vec<Vec<Clip>>,
    /// The batch of which videos are asked for, and how many of it were.
    asked: (Walk, usize),
    /// Videos that were asked for and not handed out.
    ahead: usize,
    next: Walk,
    threads: Vec<JoinHandle<()>>,
    waited: Duration,
}

impl Loader {
    /// Starts the decoding threads. A set smaller than a batch repeats its clips, drawn anew, to fill one.
    pub fn new(set: Arc<Dataset>, config: LoaderConfig) -> Loader {
        let threads = config.threads.max(1);
        let config = LoaderConfig { batch: config.batch.max(1), ..config };
        // Behind the end of a pass is the start of the next.
        let next = match config.start {
            Position { epoch, batch } if batch >= batches_of(&set, &config) => Position { epoch: epoch + 1, batch: 0 },
            within => within,
        };
        let (bad, orders, stop) = (Mutex::default(), Mutex::default(), AtomicBool::new(false));
        let shared = Arc::new(Shared { set, config, bad, orders, stop });
        // Two batches in flight, and enough that no thread idles; this bounds the queue's memory.
        let (tasks, todo) = bounded::<(Slot, Vec<Clip>)>((2 * shared.config.batch).max(2 * threads));
        let (sender, done) = unbounded();
        let spawn = |_| {
            let (shared, todo, sender) = (Arc::clone(&shared), todo.clone(), sender.clone());
            std::thread::spawn(move || {
                let mut cutter = Cutter::default();
                while let Ok((slot, spent)) = todo.recv() {
                    cutter.spent.extend(spent);
                    let stop = shared.stop.load(Ordering::Relaxed);
                    if stop || sender.send((slot, shared.draw(slot, &mut cutter))).is_err() {
                        break;
                    }
                }
            })
        };
        let handles = (0..threads).map(spawn).collect();
        let next = Walk::new(next, shared.config.shard, batches(&shared));
        let (tasks, arrived, spent) = (Some(tasks), BTreeMap::new(), Vec::new());
        let (asked, waited) = ((next, 0), Duration::ZERO);
        Loader { shared, tasks, done, arrived, spent, asked, ahead: 0, next, threads: handles, waited }
    }

    /// Batches of one pass over the set.
    pub fn batches(&self) -> usize {
        batches(&self.shared)
    }

    /// Time that `next_batch` waited for the decoding threads.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// The files that could not be read so far.
    pub fn bad_files(&self) -> Vec<PathBuf> {
        self.shared.bad.lock().map(|bad| bad.iter().cloned().collect()).unwrap_or_default()
    }

    fn ask(&mut self) {
        let Some(tasks) = &self.tasks else { return };
        let batch = self.shared.config.batch;
        // Never more than two batches ahead of what was taken.
        while self.ahead < 2 * batch {
            let (walk, slots) = &mut self.asked;
            let slot = (walk.at.epoch, walk.at.batch * batch + *slots);
            if let Err(refused) = tasks.try_send((slot, self.spent.pop().unwrap_or_default())) {
                self.spent.push(refused.into_inner().1);
                break;
            }
            self.ahead += 1;
            *slots += 1;
            if *slots == batch {
                walk.step();
                *slots = 0;
            }
        }
    }

    /// The next batch, in place of what `out` holds, whose buffers are kept.
    ///
    /// # Errors
    /// Too many files cannot be read, or a file and all of its replacements.
    pub fn next_batch(&mut self, out: &mut Batch) -> Result<()> {
        let Position { epoch, batch } = self.next.at;
        let size = self.shared.config.batch;
        out.clear();
        for slot in batch * size..(batch + 1) * size {
            let (clips, label) = self.take((epoch, slot))?;
            let mut spent = Vec::with_capacity(clips.len());
            for (clip, tokens) in clips {
                out.frames.extend(&clip.frames);
                out.teacher_frames.extend(&clip.teacher_frames);
                out.labels.push(label);
                if let Some(tokens) = tokens {
                    out.visible.extend(tokens.visible);
                    out.masked.extend(tokens.masked);
                }
                spent.push(clip);
            }
            self.spent.push(spent);
        }
        out.next = self.next.at.after(1, batches(&self.shared));
        self.ahead -= size;
        self.next.step();
        self.ask();
        Ok(())
    }

    fn take(&mut self, slot: Slot) -> Drawn {
        loop {
            if let Some(drawn) = self.arrived.remove(&slot) {
                return drawn;
            }
            self.ask();
            let clock = Instant::now();
            let Ok((at, drawn)) = self.done.recv() else {
                return Err(Error::Empty { path: PathBuf::new(), what: "the decoding threads are gone".into() });
            };
            self.waited += clock.elapsed();
            self.arrived.insert(at, drawn);
        }
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        // Threads finish the clip they are at, not what is queued.
        self.shared.stop.store(true, Ordering::Relaxed);
        self.tasks = None;
        for thread in self.threads.drain(..) {
            // A worker's panic was caught and reported where it happened.
            let _ = thread.join();
        }
    }
}

/// Batches of one pass.
fn batches_of(set: &Dataset, config: &LoaderConfig) -> usize {
    (set.items.len() / config.batch.max(1)).max(1)
}

fn batches(shared: &Shared) -> usize {
    batches_of(&shared.set, &shared.config)
}

impl Shared {
    /// The order of one pass.
    fn order(&self, epoch: usize) -> Arc<Vec<usize>> {
        let Ok(mut orders) = self.orders.lock() else { return Arc::default() };
        orders.retain(|&e, _| e + 1 >= epoch);
        let shuffled = || {
            let mut order: Vec<usize> = (0..self.set.items.len()).collect();
            order.shuffle(&mut rng(self.config.seed, epoch, 0, 0));
            Arc::new(order)
        };
        Arc::clone(orders.entry(epoch).or_insert_with(shuffled))
    }

    fn draw(&self, (epoch, slot): Slot, cutter: &mut Cutter) -> Drawn {
        let order = self.order(epoch);
        let mut rng = rng(self.config.seed, epoch, slot, 1);
        let mut index = order.get(slot % order.len().max(1)).copied().unwrap_or_default();
        let mut last = None;
        for _ in 0..REPLACEMENTS {
            let item = self.set.items.at(index);
            let error = match sample::draw_repeated(&item, &self.config.clip, &self.set.index, cutter, &mut rng) {
                Ok(clips) => {
                    let masked = |clip| (clip, self.config.mask.as_ref().map(|mask| mask.draw(&mut rng)));
                    return Ok((clips.into_iter().map(masked).collect(), item.label.unwrap_or_default()));
                }
                Err(error) => error,
            };
            self.report(&item.path, &error)?;
            last = Some(error);
            index = rng.random_range(0..self.set.items.len());
        }
        Err(last.unwrap_or_else(|| Error::Empty { path: PathBuf::new(), what: "no video".into() }))
    }

    /// Names a bad file once; an error once there are too many.
    fn report(&self, path: &std::path::Path, error: &Error) -> Result<()> {
        let Ok(mut bad) = self.bad.lock() else { return Ok(()) };
        if bad.insert(path.to_owned()) {
            log::warn!("skipped, another clip takes its place: {error}");
        }
        let (count, all, allowed) = (bad.len(), self.set.items.len(), self.config.max_bad);
        // One bad file alone never stops a run that has others, unless none is allowed.
        let most = if allowed > 0.0 { (allowed * all as f64).max(1.0) } else { 0.0 };
        if count as f64 > most || count == all {
            return Err(Error::TooManyBad { bad: count, all, allowed, last: error.to_string() });
        }
        Ok(())
    }
}
