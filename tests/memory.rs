//! What the loader takes: after the first batches it allocates no buffer of a clip's size or more, and memory stays flat.

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use mvd::data::{Batch, ClipConfig, Dataset, Loader, LoaderConfig, Position, Shard, Training, View};

/// Between the frames that decoders make (64 x 64 here) and what a clip takes.
const LARGE: usize = 48 << 10;

/// The system's allocator, counting large allocations of all threads.
struct Counting;

static COUNT: AtomicUsize = AtomicUsize::new(0);

fn count(size: usize) {
    COUNT.fetch_add(usize::from(size >= LARGE), Ordering::Relaxed);
}

// SAFETY: every call is the system allocator's, with the same arguments.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: as above.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One test at a time: another beside it would be measured too.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn the_loader_reuses_its_buffers() {
    let _alone = ALONE.lock();
    let dir = tempfile::tempdir().unwrap();
    for video in 0..7 {
        let folder = dir.path().join(format!("v{video}"));
        std::fs::create_dir(&folder).unwrap();
        for frame in 0..9u8 {
            let picture = image::RgbImage::from_pixel(64, 64, image::Rgb([frame, video, 9]));
            picture.save(folder.join(format!("{frame}.png"))).unwrap();
        }
    }
    let set = Arc::new(Dataset::open(dir.path(), None).unwrap());
    let augment = "rand-m7-n4-mstd0.5-inc1".parse().unwrap();
    let augmented = Training { augment, jitter: 0.4, flip: true, erasing: 0.5, ..Training::crops(0.5) };
    for view in [View::Pretraining { crop_min: 0.66 }, View::Training(augmented)] {
        for (threads, repeats) in [(1, 1), (3, 2)] {
            let clip = ClipConfig { repeats, teacher_size: Some(96), ..ClipConfig::new(8, 1, 128, view) };
            let config = LoaderConfig {
                clip,
                mask: None,
                batch: 4,
                seed: 1,
                threads,
                max_bad: 0.0,
                start: Position::default(),
                shard: Shard::WHOLE,
            };
            let (mut loader, mut batch) = (Loader::new(Arc::clone(&set), config), Batch::default());
            let mut draw = |batches: usize| {
                let before = COUNT.load(Ordering::Relaxed);
                for _ in 0..batches {
                    loader.next_batch(&mut batch).unwrap();
                    assert_eq!(batch.frames.len(), 4 * repeats * 8 * 128 * 128 * 3);
                }
                COUNT.load(Ordering::Relaxed) - before
            };
            assert!(draw(8) > 0, "the allocator counts nothing");
            assert_eq!(draw(40), 0, "{threads} threads, {view:?}: large allocations after the first 8 batches");
        }
    }
}

/// Memory in use, in bytes.
#[cfg(target_os = "linux")]
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// Samples of real files, one after the other: memory is as much at the end as after a tenth. `MVD_SAMPLES` draws more.
#[cfg(target_os = "linux")]
#[test]
fn memory_stays_flat() {
    let _alone = ALONE.lock();
    let samples: usize = std::env::var("MVD_SAMPLES").map_or(2000, |n| n.parse().unwrap());
    let (dir, clips) = (tempfile::tempdir().unwrap(), Path::new("assets/clips"));
    let names = ["high_bframes.mp4", "baseline.mp4", "fragmented.mp4", "vp9.webm"];
    let mut list = String::new();
    for i in 0..400 {
        let name = format!("{i}_{}", names[i % 4]);
        std::fs::hard_link(clips.join(names[i % 4]), dir.path().join(&name))
            .or_else(|_| std::fs::copy(clips.join(names[i % 4]), dir.path().join(&name)).map(drop))
            .unwrap();
        list += &format!("{name} {}\n", i % 4);
    }
    std::fs::write(dir.path().join("list.txt"), list).unwrap();
    let set = Arc::new(Dataset::open(&dir.path().join("list.txt"), None).unwrap());
    let view = View::Training(Training { flip: true, erasing: 0.25, ..Training::crops(0.08) });
    let (batch, clip) = (8, ClipConfig::new(4, 2, 32, view));
    let (start, shard) = (Position::default(), Shard::WHOLE);
    let config = LoaderConfig { clip, mask: None, batch, seed: 1, threads: 2, max_bad: 0.0, start, shard };
    let mut loader = Loader::new(set, config);
    let (steps, mut early, mut out) = (samples / batch, 0, Batch::default());
    for step in 0..steps {
        loader.next_batch(&mut out).unwrap();
        assert_eq!(out.labels.len(), batch);
        if step == steps / 10 {
            early = resident();
        }
        if samples > 20_000 && step % (steps / 20) == 0 {
            eprintln!("{} samples: {:.1} MB", step * batch, resident() as f64 / 1e6);
        }
    }
    let grown = resident().saturating_sub(early);
    assert!(grown < 8 << 20, "{samples} samples: {grown} bytes more than after a tenth");
}
