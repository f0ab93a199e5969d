//! Real files through the real decoder, and the loader's promises.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mvd::data::synth::{self, Background, Level, SynthConfig};
use mvd::data::{
    Batch, ClipConfig, Dataset, Error, Item, Loader, LoaderConfig, MaskConfig, MaskKind, Position, Shard, Training,
    View, video,
};

fn clip(name: &str) -> PathBuf {
    Path::new("assets/clips").join(name)
}

/// Decoded frames against ffmpeg's own RGB: every frame, in order, within 3 levels.
fn same_as_ffmpeg(name: &str, ranks: &[usize]) {
    let mut source = video::open(&clip(name)).unwrap();
    assert_eq!(source.len(), 24, "{name}");
    let frames = source.frames(ranks).unwrap();
    let strip = image::open(clip(name).with_extension("png")).unwrap().to_rgb8();
    assert_eq!((frames.width, frames.height * 24), (strip.width() as usize, strip.height() as usize));
    let bytes = frames.width * frames.height * 3;
    for (got, &rank) in frames.rgb.iter().zip(ranks) {
        let expected = &strip.as_raw()[rank * bytes..][..bytes];
        let worst = got.iter().zip(expected).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(worst <= 3, "{name}, frame {rank}: off by {worst} levels");
    }
}

#[test]
fn frames_are_those_of_ffmpeg() {
    let all: Vec<usize> = (0..24).collect();
    for name in [
        "high_bframes.mp4",
        "baseline.mp4",
        "open_gop_odd.mp4",
        "bt709_full.mp4",
        "turned_90.mp4",
        "turned_270.mp4",
        "fragmented.mp4",
        "vp9.webm",
    ] {
        same_as_ffmpeg(name, &all);
        // Single frames and leaps, as clips are drawn.
        for ranks in [vec![0], vec![23], vec![5, 9, 13, 17], vec![11, 11, 2], vec![8], vec![15, 16]] {
            same_as_ffmpeg(name, &ranks);
        }
    }
}

/// Kinds that FFmpeg reads, linked in or as a program, or an error that names them and it where there is neither.
#[test]
fn other_kinds_are_read_through_ffmpeg() {
    let installed =
        |program| cfg!(feature = "ffmpeg") || std::process::Command::new(program).arg("-version").output().is_ok();
    let all: Vec<usize> = (0..24).collect();
    for (name, kind) in [("xvid.avi", "not an mp4"), ("hevc.mp4", "hvc1")] {
        if installed("ffmpeg") && installed("ffprobe") {
            for ranks in [&all[..], &[0], &[23], &[5, 9, 13, 17], &[11, 11, 2], &[15, 16]] {
                same_as_ffmpeg(name, ranks);
            }
        } else {
            let text = message(&clip(name));
            assert!(text.contains(name) && text.contains(kind) && text.contains("the ffmpeg program"), "{text}");
        }
    }
}

#[test]
fn a_folder_of_images_is_a_video() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("frames");
    std::fs::create_dir(&folder).unwrap();
    let strip = image::open(clip("baseline.png")).unwrap().to_rgb8();
    let frame = |rank: u32| image::imageops::crop_imm(&strip, 0, 64 * rank, 64, 64).to_image();
    for rank in 0..5 {
        frame(rank).save(folder.join(format!("img_{rank:05}.png"))).unwrap();
    }
    let set = Dataset::open(dir.path(), None).unwrap();
    assert_eq!(set.items.iter().map(|i| i.path).collect::<Vec<_>>(), std::slice::from_ref(&folder));
    let mut source = video::open(&folder).unwrap();
    assert_eq!(source.len(), 5);
    let frames = source.frames(&[3, 0]).unwrap();
    assert_eq!(frames.rgb, [frame(3).into_raw(), frame(0).into_raw()]);
    frame(0).save(folder.join("img_00005.png")).unwrap();
    image::RgbImage::new(32, 64).save(folder.join("img_00006.png")).unwrap();
    let error = video::open(&folder).unwrap().frames(&[5, 6]).unwrap_err().to_string();
    assert!(error.contains("img_00006.png") && error.contains("(32, 64)"), "{error}");
}

#[test]
fn frames_of_a_clip_are_those_of_decoding_everything() {
    let mut state = 3u64;
    let mut next = |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    for name in ["high_bframes.mp4", "baseline.mp4", "open_gop_odd.mp4", "fragmented.mp4", "vp9.webm"] {
        let mut source = video::open(&clip(name)).unwrap();
        let all = source.frames(&(0..24).collect::<Vec<_>>()).unwrap();
        for _ in 0..40 {
            let ranks: Vec<usize> = (0..1 + next(5)).map(|_| next(24)).collect();
            let frames = source.frames(&ranks).unwrap();
            for (rgb, &rank) in frames.rgb.iter().zip(&ranks) {
                assert!(*rgb == all.rgb[rank], "{name}: frame {rank} of {ranks:?} differs");
            }
        }
    }
}

fn message(path: &Path) -> String {
    match video::open(path) {
        Ok(_) => panic!("{} opened", path.display()),
        Err(e) => e.to_string(),
    }
}

#[test]
fn broken_files_are_named_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let whole = std::fs::read(clip("baseline.mp4")).unwrap();
    std::fs::write(path("cut.mp4"), &whole[..whole.len() / 2]).unwrap();
    std::fs::write(path("garbage.mp4"), [7u8; 999]).unwrap();
    std::fs::write(path("empty.mp4"), []).unwrap();
    for (file, expected) in [
        (path("none.mp4"), "No such file"),
        (path("cut.mp4"), "truncated mp4"),
        (path("garbage.mp4"), "not an mp4 file"),
        (path("empty.mp4"), "an empty file"),
        (clip("audio_only.mp4"), "no video track"),
    ] {
        let text = message(&file);
        assert!(text.contains(expected) && text.contains(&*file.file_name().unwrap().to_string_lossy()), "{text}");
    }
}

/// How long a damaged file of a second may take, on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

#[test]
fn damaged_bytes_never_panic_or_hang() {
    // Decoders are others' work, and their panics are caught and count as errors. Ours are faults.
    let panics: Arc<Mutex<Vec<String>>> = Arc::default();
    let (seen, before) = (Arc::clone(&panics), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |info| match info.location() {
        Some(place) if place.file().contains("src/data/") => seen.lock().unwrap().push(info.to_string()),
        Some(place) if place.file().starts_with("tests") => before(info),
        _ => {}
    }));
    let whole = std::fs::read(clip("high_bframes.mp4")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("damaged.mp4");
    let mut state = 1u64;
    for round in 0..120 {
        let mut bytes = whole.clone();
        for _ in 0..6 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = (state >> 33) as usize % bytes.len();
            bytes[at] = (state >> 25) as u8;
        }
        std::fs::write(&path, &bytes).unwrap();
        let (sender, done) = std::sync::mpsc::channel();
        let damaged = path.clone();
        std::thread::spawn(move || {
            // What is read of it matters not, and whether.
            let _ = video::open(&damaged).and_then(|mut v| v.frames(&[0, 5, 23]).map(|_| ()));
            sender.send(()).unwrap();
        });
        let ended = done.recv_timeout(DEADLINE);
        assert!(ended.is_ok(), "round {round}: {ended:?} within {DEADLINE:?}; panics: {:?}", panics.lock().unwrap());
    }
    let panics = panics.lock().unwrap();
    assert!(panics.is_empty(), "{panics:?}");
}

const CLIP: ClipConfig = ClipConfig {
    frames: 4,
    stride: 2,
    size: 32,
    view: View::Pretraining { crop_min: 0.66 },
    teacher_size: Some(28),
    teacher_step: 2,
    repeats: 1,
};

fn config(threads: usize, start: Position) -> LoaderConfig {
    let mask = MaskConfig::new(MaskKind::Tube, 0.75, [2, 4, 4]).unwrap();
    LoaderConfig { clip: CLIP, mask: Some(mask), batch: 3, seed: 5, threads, max_bad: 0.01, start, shard: Shard::WHOLE }
}

fn synth_set(folder: &Path, count: usize) -> Dataset {
    let config =
        SynthConfig { count, seed: 1, background: Background::Black, level: Level::Full, size: 64, frames: 16 };
    synth::write(folder, &config, |_| {}).unwrap();
    Dataset::open(&folder.join("list.txt"), None).unwrap()
}

fn batches(set: &Arc<Dataset>, threads: usize, start: Position, count: usize) -> Vec<Batch> {
    let mut loader = Loader::new(Arc::clone(set), config(threads, start));
    (0..count).map(|_| next(&mut loader)).collect()
}

fn next(loader: &mut Loader) -> Batch {
    let mut batch = Batch::default();
    loader.next_batch(&mut batch).unwrap();
    batch
}

#[test]
fn batches_do_not_depend_on_threads_and_resume_anywhere() {
    let dir = tempfile::tempdir().unwrap();
    let set = Arc::new(synth_set(dir.path(), 10));
    let one = batches(&set, 1, Position::default(), 8);
    assert_eq!(one[0].frames.len(), 3 * 4 * 32 * 32 * 3);
    assert_eq!(one[0].teacher_frames.len(), 3 * 2 * 28 * 28 * 3);
    assert_eq!((one[0].visible.len(), one[0].masked.len()), (3 * 8, 3 * 24));
    assert_eq!(one, batches(&set, 4, Position::default(), 8));
    // 10 videos make 3 batches of 3 a pass: batch 5 is in the middle of the second.
    assert_eq!(one[4].next, Position { epoch: 1, batch: 2 });
    assert_eq!(one[5..], batches(&set, 2, one[4].next, 3));
    assert_ne!(one[0].frames, one[3].frames);
    let mut other = Loader::new(Arc::clone(&set), LoaderConfig { seed: 6, ..config(1, Position::default()) });
    assert_ne!(one[0].frames, next(&mut other).frames, "another seed");
}

#[test]
fn shards_draw_the_batches_of_one_process_between_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut set = synth_set(dir.path(), 12);
    let numbered = |(index, item): (usize, Item)| Item { label: Some(index as u32), ..item };
    set.items = set.items.iter().enumerate().map(numbered).collect();
    let set = Arc::new(set);
    // Batches of 5 videos: two a pass, so that steps of 3 batches lie across passes.
    let start = Position { epoch: 1, batch: 1 };
    let drawn = |shard: Shard, count: usize| -> Vec<Batch> {
        let mut loader = Loader::new(Arc::clone(&set), LoaderConfig { batch: 5, shard, ..config(2, start) });
        (0..count).map(|_| next(&mut loader)).collect()
    };
    let whole = drawn(Shard::WHOLE, 12);
    assert_ne!(whole[1].labels, whole[3].labels, "every pass has an order of its own");
    // Ranks of one batch of three each; two ranks of two of four; one batch of one in the middle.
    for (first, take, of) in [(0, 1, 3), (1, 1, 3), (2, 1, 3), (0, 2, 4), (2, 2, 4), (0, 3, 3)] {
        let own: Vec<Batch> =
            (0..12).filter(|i| (first..first + take).contains(&(i % of))).map(|i| whole[i].clone()).collect();
        assert!(drawn(Shard { first, take, of }, own.len()) == own, "{first}, {take} of {of}");
    }
    assert_eq!(whole[11].next, start.after(12, 2));
}

#[test]
fn a_bad_file_is_replaced_and_many_end_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let mut set = synth_set(dir.path(), 12);
    std::fs::write(set.items.at(4).path, b"garbage, no mp4").unwrap();
    let mut loader = Loader::new(Arc::new(set.clone()), config(2, Position::default()));
    for _ in 0..8 {
        next(&mut loader);
    }
    assert_eq!(loader.bad_files(), [set.items.at(4).path]);
    // None means none.
    let strict = LoaderConfig { max_bad: 0.0, ..config(2, Position::default()) };
    let mut loader = Loader::new(Arc::new(set.clone()), strict);
    let error = (0..8).find_map(|_| loader.next_batch(&mut Batch::default()).err());
    assert!(matches!(error, Some(Error::TooManyBad { bad: 1, .. })), "{error:?}");
    // Nothing is left to take its place.
    let alone = Dataset { items: [set.items.at(4)].into_iter().collect(), ..set.clone() };
    let mut loader = Loader::new(Arc::new(alone), LoaderConfig { batch: 1, ..config(1, Position::default()) });
    let error = loader.next_batch(&mut Batch::default()).err();
    assert!(matches!(error, Some(Error::TooManyBad { bad: 1, all: 1, .. })), "{error:?}");
    // A position behind the end of a set that has become smaller is the next pass's start.
    let behind = config(2, Position { epoch: 0, batch: 9 });
    set.items = set.items.iter().filter(|item| !item.path.ends_with("000004.mp4")).collect();
    let mut loader = Loader::new(Arc::new(set.clone()), behind);
    assert_eq!(next(&mut loader).next, Position { epoch: 1, batch: 1 });
    let mut set = synth_set(dir.path(), 12);
    let gone =
        |(index, item): (usize, Item)| if index < 6 { Item::of(dir.path().join(format!("{index}.mp4"))) } else { item };
    set.items = set.items.iter().enumerate().map(gone).collect();
    let mut loader = Loader::new(Arc::new(set), config(2, Position::default()));
    let error = (0..8)
        .find_map(|_| loader.next_batch(&mut Batch::default()).err())
        .expect("six bad files of twelve went unnoticed");
    assert!(matches!(error, Error::TooManyBad { .. }), "{error}");
}

/// Folders of frames of one grey each, so that a pixel tells which frame it is of.
fn grey_set(dir: &Path, videos: usize, frames: u8) -> Dataset {
    for video in 0..videos {
        let folder = dir.join(format!("v{video}"));
        std::fs::create_dir(&folder).unwrap();
        for frame in 0..frames {
            let picture = image::RgbImage::from_pixel(32, 32, image::Rgb([4 * frame; 3]));
            picture.save(folder.join(format!("{frame:02}.png"))).unwrap();
        }
    }
    Dataset::open(dir, None).unwrap()
}

/// A batch counts videos; the clips of one are of the same frames, as the official programs augment what they decoded once.
#[test]
fn repeated_clips_are_of_the_same_frames() {
    let dir = tempfile::tempdir().unwrap();
    let set = Arc::new(grey_set(dir.path(), 6, 60));
    let (view, repeats) = (View::Training(Training::crops(1.0)), 3);
    let clip = ClipConfig { view, repeats, teacher_size: None, ..CLIP };
    let config = LoaderConfig { clip, mask: None, ..config(2, Position::default()) };
    let mut loader = Loader::new(set, config);
    assert_eq!(loader.batches(), 2, "6 videos, 3 a batch");
    let mut starts = std::collections::BTreeSet::new();
    for _ in 0..4 {
        let batch = next(&mut loader);
        assert_eq!((batch.labels.len(), batch.frames.len()), (9, 9 * 4 * 32 * 32 * 3));
        let frames = batch.frames.chunks_exact(32 * 32 * 3).map(|frame| frame[0] / 4).collect::<Vec<_>>();
        for video in frames.chunks_exact(3 * 4) {
            assert!(video.chunks_exact(4).all(|clip| clip == &video[..4]), "{video:?}");
            // Four frames spread over eight.
            assert_eq!([1, 2, 3].map(|i| video[i] - video[0]), [2, 5, 7]);
            starts.insert(video[0]);
        }
    }
    assert!(starts.len() > 4, "{starts:?}");
}

/// MAE's images: any share of the area from a fifth on, and half of them mirrored.
#[test]
fn resized_images_are_mirrored_by_chance() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("v");
    std::fs::create_dir(&folder).unwrap();
    image::RgbImage::from_fn(64, 64, |x, _| image::Rgb([4 * x as u8; 3])).save(folder.join("0.png")).unwrap();
    let set = Arc::new(Dataset::open(dir.path(), None).unwrap());
    let draw = |flip| {
        let clip = ClipConfig::new(1, 1, 16, View::Resized { crop_min: 0.2, flip, bicubic: true });
        let config = LoaderConfig { clip, mask: None, batch: 1, ..config(2, Position::default()) };
        let mut loader = Loader::new(Arc::clone(&set), config);
        let rising = |frames: &[u8]| frames[15 * 3] > frames[0];
        (0..60).filter(|_| rising(&next(&mut loader).frames)).count()
    };
    assert_eq!(draw(false), 60);
    assert!((15..45).contains(&draw(true)));
}

/// Frames of one picture: whatever is drawn, all frames of a clip must come out alike, and clips differ.
#[test]
fn a_clip_is_augmented_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let picture = image::open("assets/augment/ops.png").unwrap().crop_imm(0, 0, 41, 33);
    for video in 0..6 {
        let folder = dir.path().join(format!("v{video}"));
        std::fs::create_dir(&folder).unwrap();
        (0..9).for_each(|i| picture.save(folder.join(format!("{i}.png"))).unwrap());
    }
    let set = Arc::new(Dataset::open(dir.path(), None).unwrap());
    let augment = "rand-m7-n4-mstd0.5-inc1-p1".parse().unwrap();
    let view = View::Training(Training { augment, jitter: 0.4, flip: true, ..Training::crops(0.5) });
    let draw = |threads| {
        let clip = ClipConfig { view, repeats: 2, teacher_size: None, ..CLIP };
        let start = Position::default();
        let config =
            LoaderConfig { clip, mask: None, batch: 4, seed: 5, threads, max_bad: 0.0, start, shard: Shard::WHOLE };
        let mut loader = Loader::new(Arc::clone(&set), config);
        (0..3).map(|_| next(&mut loader)).collect::<Vec<_>>()
    };
    let batches = draw(1);
    assert_eq!(batches, draw(3));
    let bytes = 32 * 32 * 3;
    let clips: Vec<&[u8]> = batches.iter().flat_map(|b| b.frames.chunks_exact(4 * bytes)).collect();
    for (i, clip) in clips.iter().enumerate() {
        assert!(clip.chunks_exact(bytes).all(|frame| frame == &clip[..bytes]), "frames of clip {i} differ");
        assert!(clips[..i].iter().all(|other| other != clip), "clip {i} was drawn before");
    }
}

/// Share of held-out clips whose label a nearest-centroid probe on `features` finds.
fn probe(features: &[Vec<f32>], labels: &[usize], classes: usize) -> f64 {
    let train = features.len() * 3 / 4;
    let width = features[0].len();
    let mut centroids = vec![vec![0f32; width]; classes];
    let mut counts = vec![0f32; classes];
    for (f, &l) in features[..train].iter().zip(labels) {
        centroids[l].iter_mut().zip(f).for_each(|(c, v)| *c += v);
        counts[l] += 1.0;
    }
    for (c, n) in centroids.iter_mut().zip(&counts) {
        c.iter_mut().for_each(|v| *v /= n.max(1.0));
    }
    let gap = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
    let right = features[train..].iter().zip(&labels[train..]).filter(|(f, l)| {
        let best = (0..classes).min_by(|&a, &b| gap(f, &centroids[a]).total_cmp(&gap(f, &centroids[b])));
        best == Some(**l)
    });
    right.count() as f64 / (features.len() - train) as f64
}

#[test]
fn synthetic_labels_need_both_space_and_time() {
    let config =
        SynthConfig { count: 0, seed: 0, background: Background::Black, level: Level::Full, size: 64, frames: 16 };
    let mut state = 9u64;
    let mut next = |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    let draws: Vec<(synth::Labels, Vec<Vec<u8>>)> = (0..1600)
        .map(|i| {
            let labels = synth::Labels { shape: next(10), direction: next(8), speed: next(3), order: next(2) };
            (labels, synth::render(&labels, &config, i))
        })
        .collect();
    let floats = |v: &[u8]| v.iter().map(|&x| f32::from(x)).collect::<Vec<f32>>();
    let single: Vec<Vec<f32>> = draws.iter().map(|d| floats(&d.1[8])).collect();
    let mean = |frames: &[Vec<u8>]| (0..64 * 64).map(|i| frames.iter().map(|f| f32::from(f[i])).sum()).collect();
    let means: Vec<Vec<f32>> = draws.iter().map(|d| mean(&d.1)).collect();
    let labels = |f: fn(&synth::Labels) -> usize| draws.iter().map(|d| f(&d.0)).collect::<Vec<_>>();
    // Chance, plus three standard deviations of 400 held-out clips.
    let chance = |n: f64| 1.0 / n + 3.0 * (1.0 / n * (1.0 - 1.0 / n) / 400.0).sqrt();
    let direction = probe(&single, &labels(|l| l.direction), 8);
    assert!(direction < chance(8.0), "one frame tells the direction: {direction}");
    let speed = probe(&single, &labels(|l| l.speed), 3);
    assert!(speed < chance(3.0), "one frame tells the speed: {speed}");
    let shape = probe(&means, &labels(|l| l.shape), 10);
    assert!(shape < chance(10.0), "the mean over time tells the shape: {shape}");
    // The probe itself works: the first frame centred on its glyph tells the shape.
    let centred: Vec<Vec<f32>> = draws.iter().map(|d| centre(&d.1[0])).collect();
    let shape = probe(&centred, &labels(|l| l.shape), 10);
    assert!(shape > 0.5, "a centred frame does not tell the shape: {shape}");
}

/// The frame rolled so that the glyph's circular mean lies in the middle.
fn centre(frame: &[u8]) -> Vec<f32> {
    let angle = |i: usize| i as f32 / 64.0 * std::f32::consts::TAU;
    let middle = |of: fn(usize) -> usize| {
        let (s, c) = frame.iter().enumerate().fold((0f32, 0f32), |(s, c), (i, &v)| {
            (s + f32::from(v) * angle(of(i)).sin(), c + f32::from(v) * angle(of(i)).cos())
        });
        (s.atan2(c) / std::f32::consts::TAU * 64.0).round().rem_euclid(64.0) as usize
    };
    let (x, y) = (middle(|i| i % 64), middle(|i| i / 64));
    (0..64 * 64).map(|i| f32::from(frame[(i / 64 + y + 32) % 64 * 64 + (i % 64 + x + 32) % 64])).collect()
}
