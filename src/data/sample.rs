//! From a video to one training clip.

use std::collections::BTreeSet;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use fast_image_resize::Resizer;
use rand::{Rng, RngExt};

use super::augment::RandAugment;
use super::crop::Filter;
use super::error::{Error, Result};
use super::index::Index;
use super::items::Item;
use super::video::{self, Frames, Video};
use super::{augment, crop, mix};

/// How a classifier's clips are drawn: whole frames are changed by `augment` and `jitter`, then cropped and resized, mirrored
/// if `flip`, and in a share `erasing` of the clips a random region is filled with noise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Training {
    /// A random frame of each segment of the whole video; else a random start.
    pub segments: bool,
    /// Smallest share of the frame's area that is kept.
    pub crop_min: f64,
    /// Operations on whole frames, the same for all of a clip.
    pub augment: RandAugment,
    /// Largest change of brightness, contrast and saturation; 0: none.
    pub jitter: f64,
    /// Mirror half of the clips.
    pub flip: bool,
    /// Share of clips with an erased region.
    pub erasing: f64,
}

impl Training {
    /// A random start, and crops that keep at least a share of the frame's area; nothing else is changed.
    pub fn crops(crop_min: f64) -> Training {
        Training { segments: false, crop_min, augment: RandAugment::NONE, jitter: 0.0, flip: false, erasing: 0.0 }
    }
}

/// Which frames make a clip, and which part of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum View {
    /// A random start; MVD's multi-scale crop.
    Pretraining {
        /// Smallest share of the short side that is kept.
        crop_min: f64,
    },
    /// A random start; a random resized crop, mirrored by chance: MAE's and ST-MAE's.
    Resized {
        /// Smallest share of the frame's area that is kept.
        crop_min: f64,
        /// Mirror half of the clips.
        flip: bool,
        /// Bicubic with antialiasing, as MAE's; else bilinear between four neighbours, as ST-MAE's.
        bicubic: bool,
    },
    /// A random start or a frame of each segment; a random resized crop; augmented.
    Training(Training),
    /// Clip `clip` of `clips` spread over the video, crop `crop` of `crops` along the long side.
    Test {
        /// By segments of the whole video.
        segments: bool,
        /// Which clip.
        clip: usize,
        /// Of how many.
        clips: usize,
        /// Which crop.
        crop: usize,
        /// Of how many.
        crops: usize,
    },
}

/// How clips are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClipConfig {
    /// Frames T of a clip.
    pub frames: usize,
    /// Frames of the video from one of the clip's to the next.
    pub stride: usize,
    /// Height and width of the clip in pixels.
    pub size: usize,
    /// Which frames, which region.
    pub view: View,
    /// Size of a second crop of the same region, of every `teacher_step`-th frame, for a teacher of another size.
    pub teacher_size: Option<usize>,
    /// Frames of the clip from one of that crop's to the next.
    pub teacher_step: usize,
    /// Clips that the loader draws from a video each time it is decoded, all of the same frames.
    pub repeats: usize,
}

impl ClipConfig {
    /// One clip of each video, without a second crop.
    pub fn new(frames: usize, stride: usize, size: usize, view: View) -> Self {
        ClipConfig { frames, stride, size, view, teacher_size: None, teacher_step: 1, repeats: 1 }
    }
}

/// One clip.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Clip {
    /// (T, size, size, 3) RGB.
    pub frames: Vec<u8>,
    /// (T / teacher_step, teacher_size, teacher_size, 3) RGB; empty without a second size.
    pub teacher_frames: Vec<u8>,
}

/// What one thread needs to cut clips, and keeps from one to the next.
#[derive(Default)]
pub(crate) struct Cutter {
    resizer: Resizer,
    /// The frame that is being augmented.
    changed: Vec<u8>,
    /// Clips that are no longer wanted: their buffers serve the next ones.
    pub spent: Vec<Clip>,
}

/// Ranks of a pre-training clip, as the official `VideoDistillation` draws them: a random start with room for `frames`
/// strides behind it, every `stride`-th frame; a video that is too short repeats the last one that has another behind it.
pub fn frame_ranks(len: usize, config: &ClipConfig, rng: &mut impl Rng) -> Vec<usize> {
    let ClipConfig { frames, stride, .. } = *config;
    let start = rng.random_range(0..=len.saturating_sub(frames * stride));
    let last = len.saturating_sub(2).saturating_sub(start) / stride;
    (0..frames).map(|i| start + i.min(last) * stride).collect()
}

/// Ranks of a fine-tuning clip, as the official `VideoClsDataset` draws them: `frames` spread evenly over a random span of
/// `frames` strides, both ends included; of a video that is too short, a frame a stride spread over all of it, then its
/// last frame.
fn dense_ranks(len: usize, config: &ClipConfig, rng: &mut impl Rng) -> Vec<usize> {
    let ClipConfig { frames, stride, .. } = *config;
    let span = frames * stride;
    let (start, over, count) =
        if len > span { (rng.random_range(0..len - span), span, frames) } else { (0, len, len / stride) };
    let rank = |i: usize| if i < count { i * over / (count - 1).max(1) } else { over };
    (0..frames).map(|i| start + rank(i).min(over.saturating_sub(1))).collect()
}

/// Ranks of one frame of each of `config.frames` equal segments, as the official `SSVideoClsDataset` has them: `pick` takes
/// one between two, both included. A segment is cut into `parts`, of which `part` is meant.
fn segment_ranks(
    len: usize,
    config: &ClipConfig,
    (part, parts): (usize, usize),
    mut pick: impl FnMut(usize, usize) -> usize,
) -> Vec<usize> {
    let width = len.saturating_sub(1) as f64 / config.frames as f64;
    let part_width = width / parts as f64;
    let edge = |i: usize, part: usize| (width * i as f64 + part_width * part as f64).round_ties_even() as usize;
    (0..config.frames).map(|i| pick(edge(i, part), edge(i, part + 1))).collect()
}

/// Ranks of a test's clip, as the official test cuts them: of every `stride`-th frame of the video, repeating the last where
/// there are too few, `frames` in a row; clips are spread evenly, one alone is from the middle.
fn test_ranks(len: usize, config: &ClipConfig, (clip, clips): (usize, usize)) -> Vec<usize> {
    let ClipConfig { frames, stride, .. } = *config;
    let all = len.div_ceil(stride);
    let slack = all.saturating_sub(frames);
    let start = if clips > 1 { slack * clip / (clips - 1) } else { slack / 2 };
    (0..frames).map(|i| (start + i).min(all.saturating_sub(1)) * stride).collect()
}

/// Ranks of a clip's frames as `config.view` has them.
fn ranks(len: usize, config: &ClipConfig, rng: &mut impl Rng) -> Vec<usize> {
    match config.view {
        View::Training(Training { segments: true, .. }) => {
            segment_ranks(len, config, (0, 1), |first, last| rng.random_range(first..=last))
        }
        View::Training(_) => dense_ranks(len, config, rng),
        View::Pretraining { .. } | View::Resized { .. } => frame_ranks(len, config, rng),
        View::Test { segments: true, clip, clips, .. } => {
            segment_ranks(len, config, (clip, clips), |first, last| (first + last) / 2)
        }
        View::Test { clip, clips, .. } => test_ranks(len, config, (clip, clips)),
    }
}

/// Draws a clip of the whole of one video.
///
/// # Errors
/// A video that cannot be read, naming the file.
pub(crate) fn draw(path: &Path, config: &ClipConfig, rng: &mut impl Rng) -> Result<Vec<Clip>> {
    draw_all(&Item::of(path), &[*config], &Index::default(), &mut Cutter::default(), rng)
}

/// Draws a clip of a video for each of `configs`. A panic of the decoder is an error of the file.
///
/// # Errors
/// A video that cannot be read, naming the file.
pub(crate) fn draw_all(
    item: &Item,
    configs: &[ClipConfig],
    index: &Index,
    cutter: &mut Cutter,
    rng: &mut impl Rng,
) -> Result<Vec<Clip>> {
    unless_panicked(item, || {
        let mut source = video::open_known(&item.path, index.get(item)?)?;
        video::reading(&mut *source, |source| {
            let clips = all_ranks(source, item, configs, rng)?;
            let frame = source.size().map_or(0, |(width, height)| 3 * width * height);
            let mut drawn = Vec::with_capacity(configs.len());
            for group in groups(&clips, LARGEST_GROUP / frame.max(1)) {
                let taken = Taken::read(source, item, &clips[group.clone()])?;
                for (clip, config) in configs[group].iter().enumerate() {
                    drawn.push(taken.cut(clip, config, cutter, rng)?);
                }
            }
            Ok(drawn)
        })
    })
}

/// Draws `config.repeats` clips of a video, each cropped and augmented anew: as the official programs do, of the same frames
/// for fine-tuning, each of its own frames for pre-training. A panic of the decoder is an error of the file.
///
/// # Errors
/// A video that cannot be read, naming the file.
pub(crate) fn draw_repeated(
    item: &Item,
    config: &ClipConfig,
    index: &Index,
    cutter: &mut Cutter,
    rng: &mut impl Rng,
) -> Result<Vec<Clip>> {
    if config.repeats > 1 && matches!(config.view, View::Pretraining { .. } | View::Resized { .. }) {
        return draw_all(item, &vec![*config; config.repeats], index, cutter, rng);
    }
    unless_panicked(item, || {
        let taken = Taken::decode(item, std::slice::from_ref(config), index, rng)?;
        (0..config.repeats.max(1)).map(|_| taken.cut(0, config, cutter, rng)).collect()
    })
}

fn unless_panicked<T>(item: &Item, draw: impl FnOnce() -> Result<T>) -> Result<T> {
    let drawn = catch_unwind(AssertUnwindSafe(draw));
    drawn.unwrap_or_else(|_| Err(Error::video(&item.path, "the decoder panicked")))
}

/// Bytes of the frames that are decoded at once for several clips of a video; those of one clip may be more.
const LARGEST_GROUP: usize = 256 << 20;

/// The ranks of each clip's frames within the item's part.
fn all_ranks(source: &dyn Video, item: &Item, configs: &[ClipConfig], rng: &mut impl Rng) -> Result<Vec<Vec<usize>>> {
    let Item { path, part, .. } = item;
    match part.len_of(source.len()) {
        0 => Err(Error::Part { path: path.clone(), frames: source.len(), start: part.start }),
        len => Ok(configs.iter().map(|config| ranks(len, config, rng)).collect()),
    }
}

/// Clips that follow each other and have at most so many frames together, those that they share counted once.
fn groups(clips: &[Vec<usize>], most: usize) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    let mut frames = BTreeSet::new();
    for (index, clip) in clips.iter().enumerate() {
        let more: BTreeSet<usize> = clip.iter().copied().filter(|rank| !frames.contains(rank)).collect();
        match groups.last_mut().filter(|_| frames.len() + more.len() <= most) {
            Some(group) => group.end = index + 1,
            None => {
                groups.push(index..index + 1);
                frames = clip.iter().copied().collect();
                continue;
            }
        }
        frames.extend(more);
    }
    groups
}

/// The frames that clips of one video take.
pub(super) struct Taken<'a> {
    path: &'a Path,
    frames: Frames,
    /// Of each clip, which of them.
    picks: Vec<Vec<usize>>,
}

impl<'a> Taken<'a> {
    /// Decodes what the clips need. A frame that they share, or that a short video repeats, is decoded once.
    pub fn decode(item: &'a Item, configs: &[ClipConfig], index: &Index, rng: &mut impl Rng) -> Result<Taken<'a>> {
        let mut source = video::open_known(&item.path, index.get(item)?)?;
        video::reading(&mut *source, |source| {
            let clips = all_ranks(source, item, configs, rng)?;
            Taken::read(source, item, &clips)
        })
    }

    fn read(source: &mut dyn Video, item: &'a Item, clips: &[Vec<usize>]) -> Result<Taken<'a>> {
        let mut distinct = clips.concat();
        distinct.sort_unstable();
        distinct.dedup();
        let in_file: Vec<usize> = distinct.iter().map(|rank| item.part.start as usize + rank).collect();
        let frames = source.frames(&in_file)?;
        let pick = |rank: &usize| distinct.partition_point(|d| d < rank);
        let picks = clips.iter().map(|ranks| ranks.iter().map(pick).collect()).collect();
        Ok(Taken { path: &item.path, frames, picks })
    }

    /// One of the clips.
    pub fn cut(&self, clip: usize, config: &ClipConfig, cutter: &mut Cutter, rng: &mut impl Rng) -> Result<Clip> {
        cut(self.path, &self.frames, &self.picks[clip], config, cutter, rng)
    }
}

/// One clip of the decoded frames at `picks`.
fn cut(
    path: &Path,
    frames: &Frames,
    picks: &[usize],
    config: &ClipConfig,
    cutter: &mut Cutter,
    rng: &mut impl Rng,
) -> Result<Clip> {
    let (width, height) = (frames.width, frames.height);
    let (window, filter) = match config.view {
        View::Pretraining { crop_min } => {
            (crop::multi_scale(width, height, config.size, crop_min, rng).into(), Filter::Bilinear)
        }
        View::Resized { crop_min, bicubic, .. } => {
            let filter = if bicubic { Filter::Bicubic } else { Filter::Plain };
            (crop::random_resized(width, height, crop_min, rng).into(), filter)
        }
        View::Training(Training { crop_min, .. }) => {
            (crop::random_resized(width, height, crop_min, rng).into(), Filter::Plain)
        }
        View::Test { crop, crops, .. } => (crop::square(width, height, config.size, (crop, crops)), Filter::Plain),
    };
    let ops = match config.view {
        View::Training(Training { augment, jitter, .. }) => {
            [augment::draw(&augment, rng), augment::jitter(jitter, rng)].concat()
        }
        View::Pretraining { .. } | View::Resized { .. } | View::Test { .. } => Vec::new(),
    };
    let Cutter { resizer, changed, spent } = cutter;
    let mut clip = spent.pop().unwrap_or_default();
    let mut resize = |size: usize, step: usize, out: &mut Vec<u8>| -> Result<()> {
        let bytes = size * size * 3;
        out.resize(picks.iter().step_by(step).len() * bytes, 0);
        let mut last: Option<(usize, usize)> = None;
        for (i, pick) in picks.iter().step_by(step).enumerate() {
            let at = i * bytes;
            match last {
                Some((same, from)) if same == *pick => out.copy_within(from..from + bytes, at),
                _ => {
                    let mut rgb = &frames.rgb[*pick];
                    if !ops.is_empty() {
                        changed.clone_from(rgb);
                        augment::apply(&ops, changed, width, height);
                        rgb = changed;
                    }
                    let frame = (rgb.as_slice(), width, height);
                    crop::resample(resizer, frame, window, filter, (size, size), &mut out[at..at + bytes])
                        .map_err(|e| Error::video(path, e))?;
                }
            }
            last = Some((*pick, at));
        }
        Ok(())
    };
    resize(config.size, 1, &mut clip.frames)?;
    match config.teacher_size {
        Some(size) => resize(size, config.teacher_step.max(1), &mut clip.teacher_frames)?,
        None => clip.teacher_frames.clear(),
    }
    let (flip, erasing) = match config.view {
        View::Training(Training { flip, erasing, .. }) => (flip, erasing),
        View::Resized { flip, .. } => (flip, 0.0),
        View::Pretraining { .. } | View::Test { .. } => (false, 0.0),
    };
    if flip && rng.random_bool(0.5) {
        for (frames, size) in
            [(&mut clip.frames, config.size), (&mut clip.teacher_frames, config.teacher_size.unwrap_or(1))]
        {
            frames.chunks_exact_mut(3 * size * size).for_each(|frame| crop::mirror(frame, size));
        }
    }
    if erasing > 0.0 && rng.random_bool(erasing) {
        mix::erase(&mut clip.frames, config.size, rng);
    }
    Ok(clip)
}

#[cfg(test)]
#[path = "cut_tests.rs"]
mod cut_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::rng;

    const CONFIG: ClipConfig = ClipConfig {
        frames: 4,
        stride: 3,
        size: 8,
        view: View::Pretraining { crop_min: crop::LEAST_SCALE },
        teacher_size: None,
        teacher_step: 2,
        repeats: 1,
    };

    #[test]
    fn clips_of_many_frames_are_decoded_in_groups() {
        let clips = [vec![0, 1, 2], vec![0, 1, 2], vec![2, 3], vec![9, 8, 7, 6, 5], vec![9], vec![1, 1, 1]];
        let all = groups(&clips, 100);
        assert!(all.len() == 1 && all[0] == (0..6), "{all:?}");
        assert_eq!(groups(&clips, 4), [0..3, 3..4, 4..6]);
        assert_eq!(groups(&clips, 0), [0..1, 1..2, 2..3, 3..4, 4..5, 5..6]);
        assert!(groups(&[], 4).is_empty());
    }

    /// What the official programs draw, of as many frames.
    #[test]
    fn clips_are_those_of_the_official_samplers() {
        let mut rng = rng(0, 0, 0, 0);
        let test = |segments, clip, clips| View::Test { segments, clip, clips, crop: 0, crops: 1 };
        let mut at = |view| ranks(20, &ClipConfig { view, ..CONFIG }, &mut rng);
        assert_eq!(at(test(false, 0, 3)), [0, 3, 6, 9]);
        assert_eq!(at(test(false, 1, 3)), [3, 6, 9, 12]);
        assert_eq!(at(test(false, 2, 3)), [9, 12, 15, 18]);
        assert_eq!(at(test(false, 0, 1)), [3, 6, 9, 12]);
        assert_eq!(at(test(true, 0, 1)), [2, 7, 12, 16]);
        assert_eq!(at(test(true, 1, 2)), [3, 8, 13, 18]);
        let segments = [0..=5, 5..=10, 10..=14, 14..=19];
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..300 {
            let drawn = at(View::Training(Training { segments: true, ..Training::crops(1.0) }));
            assert!(drawn.iter().zip(&segments).all(|(rank, segment)| segment.contains(rank)), "{drawn:?}");
            seen.insert(drawn[2]);
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [10, 11, 12, 13, 14]);
        assert_eq!(test_ranks(5, &CONFIG, (1, 2)), [0, 3, 3, 3]);
    }

    #[test]
    fn dense_clips_are_spread_over_their_span() {
        let mut rng = rng(0, 0, 0, 0);
        let mut at = |len, frames, stride| dense_ranks(len, &ClipConfig { frames, stride, ..CONFIG }, &mut rng);
        // numpy's linspace(0, 64, 16), cut off at 63.
        let spread = [0, 4, 8, 12, 17, 21, 25, 29, 34, 38, 42, 46, 51, 55, 59, 63];
        assert_eq!(at(64, 16, 4), spread);
        assert_eq!(at(65, 16, 4), spread);
        assert_eq!(at(30, 16, 4), [0, 5, 10, 15, 20, 25, 29, 29, 29, 29, 29, 29, 29, 29, 29, 29]);
        assert_eq!(at(3, 2, 4), [2, 2]);
        assert_eq!(at(1, 3, 1), [0, 0, 0]);
        let starts: std::collections::BTreeSet<usize> = (0..500).map(|_| at(16, 4, 3)[0]).collect();
        assert_eq!(starts.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3]);
    }

    #[test]
    fn long_videos_give_every_start() {
        let mut rng = rng(0, 0, 0, 0);
        let starts: std::collections::BTreeSet<usize> =
            (0..500).map(|_| frame_ranks(15, &CONFIG, &mut rng)[0]).collect();
        assert_eq!(starts.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert_eq!(frame_ranks(12, &CONFIG, &mut rng), [0, 3, 6, 9]);
    }

    #[test]
    fn short_videos_repeat_the_last_reachable_frame() {
        let mut rng = rng(0, 0, 0, 0);
        assert_eq!(frame_ranks(10, &CONFIG, &mut rng), [0, 3, 6, 6], "the last frame has none behind it");
        assert_eq!(frame_ranks(6, &CONFIG, &mut rng), [0, 3, 3, 3]);
        assert_eq!(frame_ranks(1, &CONFIG, &mut rng), [0, 0, 0, 0]);
        let one = ClipConfig { frames: 1, stride: 1, ..CONFIG };
        let seen: std::collections::BTreeSet<usize> = (0..100).map(|_| frame_ranks(3, &one, &mut rng)[0]).collect();
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [0, 1, 2]);
    }
}
