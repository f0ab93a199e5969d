//! What the loader allocates: after the first batches no buffer of a clip's size or more, whatever is drawn.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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

/// The only test here: others beside it would be counted too.
#[test]
fn the_loader_reuses_its_buffers() {
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
                    assert_eq!(batch.frames.len(), 4 * 8 * 128 * 128 * 3);
                }
                COUNT.load(Ordering::Relaxed) - before
            };
            assert!(draw(8) > 0, "the allocator counts nothing");
            assert_eq!(draw(40), 0, "{threads} threads, {view:?}: large allocations after the first 8 batches");
        }
    }
}
