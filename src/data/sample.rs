//! From a video to one training clip.

use std::collections::BTreeSet;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use fast_image_resize::Resizer;
use rand::{Rng, RngExt};

use super::augment::RandAugment;
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
    /// Clips that the loader draws from a video each time it is decoded.
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

/// Ranks of a clip's frames: a random start, every `stride`-th frame; a video that is too short repeats the last
/// frame that the stride reaches.
pub fn frame_ranks(len: usize, config: &ClipConfig, rng: &mut impl Rng) -> Vec<usize> {
    let span = (config.frames - 1) * config.stride + 1;
    let start = if len > span { rng.random_range(0..=len - span) } else { 0 };
    let last = (len.saturating_sub(1).saturating_sub(start)) / config.stride;
    (0..config.frames).map(|i| start + i.min(last) * config.stride).collect()
}

/// Ranks of one frame of each of `config.frames` equal segments: at random, or `clip` of `clips` places of each.
fn segment_ranks(len: usize, config: &ClipConfig, mut place: impl FnMut() -> f64) -> Vec<usize> {
    let width = len as f64 / config.frames as f64;
    let rank = |i: usize, place: f64| ((i as f64 + place) * width) as usize;
    (0..config.frames).map(|i| rank(i, place()).min(len.saturating_sub(1))).collect()
}

/// Ranks of a clip's frames as `config.view` has them.
fn ranks(len: usize, config: &ClipConfig, rng: &mut impl Rng) -> Vec<usize> {
    match config.view {
        View::Training(Training { segments: true, .. }) => segment_ranks(len, config, || rng.random()),
        View::Pretraining { .. } | View::Training(_) => frame_ranks(len, config, rng),
        View::Test { segments: true, clip, clips, .. } => {
            segment_ranks(len, config, || (clip as f64 + 0.5) / clips as f64)
        }
        View::Test { clip, clips, .. } => {
            let slack = len.saturating_sub((config.frames - 1) * config.stride + 1);
            let start = if clips > 1 { slack * clip / (clips - 1) } else { slack / 2 };
            let last = (len.saturating_sub(1).saturating_sub(start)) / config.stride;
            (0..config.frames).map(|i| start + i.min(last) * config.stride).collect()
        }
    }
}

/// Draws a clip of the whole of one video.
///
/// # Errors
/// A video that cannot be read, naming the file.
pub(crate) fn draw(path: &Path, config: &ClipConfig, rng: &mut impl Rng) -> Result<Vec<Clip>> {
    draw_all(&Item::of(path), &[*config], &Index::default(), &mut Cutter::default(), rng)
}

/// Draws a clip of a video for each of `configs`, all of one decoding. A panic of the decoder is an error of the file.
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
    let drawn = catch_unwind(AssertUnwindSafe(|| {
        let mut source = video::open_known(item, index)?;
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
    }));
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
        let mut source = video::open_known(item, index)?;
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
    let region = match config.view {
        View::Pretraining { crop_min } => crop::multi_scale(width, height, config.size, crop_min, rng),
        View::Training(Training { crop_min, .. }) => crop::random_resized(width, height, crop_min, rng),
        View::Test { crop, crops, .. } => crop::square(width, height, crop, crops),
    };
    let ops = match config.view {
        View::Training(Training { augment, jitter, .. }) => {
            [augment::draw(&augment, rng), augment::jitter(jitter, rng)].concat()
        }
        View::Pretraining { .. } | View::Test { .. } => Vec::new(),
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
                    crop::resize(resizer, (rgb, width, height), region, (size, size), &mut out[at..at + bytes])
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
    if let View::Training(Training { flip, erasing, .. }) = config.view {
        if flip && rng.random_bool(0.5) {
            clip.frames.chunks_exact_mut(3 * config.size * config.size).for_each(|f| crop::mirror(f, config.size));
        }
        if erasing > 0.0 && rng.random_bool(erasing) {
            mix::erase(&mut clip.frames, config.size, rng);
        }
    }
    Ok(clip)
}

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

    #[test]
    fn test_clips_span_the_video() {
        let mut rng = rng(0, 0, 0, 0);
        let test = |segments, clip, clips| View::Test { segments, clip, clips, crop: 0, crops: 1 };
        let mut at = |view| ranks(20, &ClipConfig { view, ..CONFIG }, &mut rng);
        assert_eq!(at(test(false, 0, 3)), [0, 3, 6, 9]);
        assert_eq!(at(test(false, 2, 3)), [10, 13, 16, 19]);
        assert_eq!(at(test(false, 0, 1)), [5, 8, 11, 14]);
        assert_eq!(at(test(true, 0, 1)), [2, 7, 12, 17]);
        let drawn = at(View::Training(Training { segments: true, ..Training::crops(1.0) }));
        assert!(drawn.iter().enumerate().all(|(i, r)| (5 * i..5 * i + 5).contains(r)), "{drawn:?}");
    }

    #[test]
    fn long_videos_give_every_start() {
        let mut rng = rng(0, 0, 0, 0);
        let starts: std::collections::BTreeSet<usize> =
            (0..500).map(|_| frame_ranks(13, &CONFIG, &mut rng)[0]).collect();
        assert_eq!(starts.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert_eq!(frame_ranks(10, &CONFIG, &mut rng), [0, 3, 6, 9]);
    }

    #[test]
    fn short_videos_repeat_the_last_reachable_frame() {
        let mut rng = rng(0, 0, 0, 0);
        assert_eq!(frame_ranks(6, &CONFIG, &mut rng), [0, 3, 3, 3]);
        assert_eq!(frame_ranks(1, &CONFIG, &mut rng), [0, 0, 0, 0]);
    }
}
