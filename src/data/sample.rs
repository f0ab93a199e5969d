//! From a video to one training clip.

use std::path::Path;

use fast_image_resize::Resizer;
use rand::{Rng, RngExt};

use super::crop::{self, multi_scale};
use super::error::{Error, Result};
use super::video;

/// How clips are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClipConfig {
    /// Frames T of a clip.
    pub frames: usize,
    /// Frames of the video from one of the clip's to the next.
    pub stride: usize,
    /// Height and width of the clip in pixels.
    pub size: usize,
    /// Size of a second crop of the same region, of every `teacher_step`-th frame, for a teacher of another size.
    pub teacher_size: Option<usize>,
    /// Frames of the clip from one of that crop's to the next.
    pub teacher_step: usize,
}

/// One clip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clip {
    /// (T, size, size, 3) RGB.
    pub frames: Vec<u8>,
    /// (T / teacher_step, teacher_size, teacher_size, 3) RGB; empty without a second size.
    pub teacher_frames: Vec<u8>,
}

/// Ranks of a clip's frames: a random start, every `stride`-th frame; a video that is too short repeats the last
/// frame that the stride reaches.
pub fn frame_ranks(len: usize, config: &ClipConfig, rng: &mut impl Rng) -> Vec<usize> {
    let span = (config.frames - 1) * config.stride + 1;
    let start = if len > span { rng.random_range(0..=len - span) } else { 0 };
    let last = (len.saturating_sub(1).saturating_sub(start)) / config.stride;
    (0..config.frames).map(|i| start + i.min(last) * config.stride).collect()
}

/// Draws a clip of the video at `path`.
///
/// # Errors
/// A video that cannot be read, naming the file.
pub(super) fn draw(path: &Path, config: &ClipConfig, resizer: &mut Resizer, rng: &mut impl Rng) -> Result<Clip> {
    let mut source = video::open(path)?;
    let ranks = frame_ranks(source.len(), config, rng);
    // A short video repeats its last rank: decoded and resized once.
    let mut distinct = ranks.clone();
    distinct.dedup();
    let frames = source.frames(&distinct)?;
    let (width, height) = (frames.width, frames.height);
    let region = multi_scale(width, height, config.size, rng);
    let mut resized = |size: usize, step: usize| -> Result<Vec<u8>> {
        let bytes = size * size * 3;
        let mut out = vec![0; ranks.iter().step_by(step).len() * bytes];
        let mut last: Option<(usize, usize)> = None;
        for (i, rank) in ranks.iter().step_by(step).enumerate() {
            let at = i * bytes;
            match last {
                Some((same, from)) if same == *rank => out.copy_within(from..from + bytes, at),
                _ => {
                    let rgb = &frames.rgb[distinct.partition_point(|d| d < rank)];
                    let frame = (rgb.as_slice(), width, height);
                    crop::resize(resizer, frame, region, size, &mut out[at..at + bytes])
                        .map_err(|e| Error::video(path, e))?;
                }
            }
            last = Some((*rank, at));
        }
        Ok(out)
    };
    let frames = resized(config.size, 1)?;
    let teacher = config.teacher_size.map(|size| resized(size, config.teacher_step.max(1)));
    Ok(Clip { frames, teacher_frames: teacher.transpose()?.unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::rng;

    const CONFIG: ClipConfig = ClipConfig { frames: 4, stride: 3, size: 8, teacher_size: None, teacher_step: 2 };

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
