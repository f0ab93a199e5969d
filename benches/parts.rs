//! What the host does for a step: decoding, cutting and masking clips, reading checkpoints, recording and planning.
//! `cargo bench`; kernels and whole steps are measured by `mvd bench`, with the adapter's own clock.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use mvd::bench::workloads;
use mvd::data::{Batch, ClipConfig, Dataset, Loader, LoaderConfig, MaskConfig, MaskKind, Position, RandAugment, Shard};
use mvd::data::{Training, View, random_resized, video};
use mvd::gpu::{Caps, Plan, Recorder};
use mvd::weights;
use rand::SeedableRng;

fn decoding(c: &mut Criterion) {
    for name in ["high_bframes.mp4", "baseline.mp4", "vp9.webm"] {
        let path = Path::new("assets/clips").join(name);
        c.bench_function(&format!("decode 16 frames of {name}"), |b| {
            let ranks: Vec<usize> = (0..16).collect();
            b.iter(|| black_box(video::open(&path).unwrap().frames(&ranks).unwrap()));
        });
    }
}

fn drawing(c: &mut Criterion) {
    let grid = [8, 14, 14];
    for kind in [MaskKind::Tube, MaskKind::Random] {
        let mask = MaskConfig::new(kind, 0.9, grid).unwrap();
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(0);
        c.bench_function(&format!("{kind:?} mask of 1568 tokens"), |b| b.iter(|| black_box(mask.draw(&mut rng))));
    }
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(0);
    c.bench_function("place of a random resized crop", |b| {
        b.iter(|| black_box(random_resized(340, 256, 0.08, &mut rng)));
    });
    let set = Arc::new(Dataset::open(Path::new("assets/clips/high_bframes.mp4"), None).unwrap());
    let augmented = Training { augment: RandAugment::PUBLISHED, flip: true, erasing: 0.25, ..Training::crops(0.08) };
    let view = View::Training(augmented);
    let config = LoaderConfig {
        clip: ClipConfig::new(8, 2, 224, view),
        mask: None,
        batch: 1,
        seed: 0,
        threads: 1,
        max_bad: 0.0,
        start: Position::default(),
        shard: Shard::WHOLE,
    };
    let mut loader = Loader::new(set, config);
    let mut batch = Batch::default();
    c.bench_function("clip of 8 frames, decoded, cut to 224, augmented", |b| {
        b.iter(|| loader.next_batch(black_box(&mut batch)).unwrap());
    });
}

fn checkpoints(c: &mut Criterion) {
    for name in ["assets/weights/kinds.pth", "assets/reference/mvd.safetensors"] {
        let bytes = std::fs::read(name).unwrap();
        c.bench_function(&format!("read {name}"), |b| {
            b.iter(|| black_box(weights::from_bytes(Path::new(name), &bytes).unwrap()));
        });
    }
}

fn planning(c: &mut Criterion) {
    let workload = workloads().into_iter().find(|w| w.name == "small-from-base").unwrap();
    let record = || {
        let mut rec = Recorder::new(Caps::webgpu_default());
        workload.record(&mut rec).unwrap();
        rec
    };
    c.bench_function("record a step, small from base", |b| b.iter(|| black_box(record())));
    c.bench_function("plan its memory", |b| {
        b.iter_batched(record, |rec| black_box(Plan::new(rec)), BatchSize::LargeInput);
    });
}

criterion_group!(parts, decoding, drawing, checkpoints, planning);
criterion_main!(parts);
