//! What fine-tuning does to finished clips and their labels: mixup, cutmix, label smoothing, random erasing.

use rand::{Rng, RngExt};
use rand_distr::{Beta, Distribution, StandardNormal};

use crate::op::patch::Colours;

/// How labels become soft and clips are mixed, as timm's `Mixup` in batch mode.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MixConfig {
    /// Classes K.
    pub classes: usize,
    /// Label smoothing.
    pub smoothing: f64,
    /// Beta's parameter of mixup; 0: none.
    pub mixup: f64,
    /// Beta's parameter of cutmix; 0: none. With both, each batch takes one of them by chance.
    pub cutmix: f64,
}

impl MixConfig {
    /// Labels alone, smoothed.
    pub fn smoothed(classes: usize, smoothing: f64) -> Self {
        MixConfig { classes, smoothing, mixup: 0.0, cutmix: 0.0 }
    }

    /// Mixes each clip of `frames (B, T, size, size, 3)` with its mirror image in the batch; gives the soft labels (B, K).
    pub fn apply(&self, frames: &mut [u8], labels: &[u32], size: usize, rng: &mut impl Rng) -> Vec<f32> {
        let batch = labels.len();
        let cut = self.cutmix > 0.0 && (self.mixup <= 0.0 || rng.random_bool(0.5));
        let alpha = if cut { self.cutmix } else { self.mixup };
        // No Beta distribution of this parameter: nothing is mixed.
        let mut share = Beta::new(alpha, alpha).map_or(1.0, |beta| beta.sample(rng));
        let clip = frames.len() / batch.max(1);
        if share < 1.0 {
            // Both of a pair at once; the middle one of an odd batch is its own mirror image.
            let (first, second) = frames.split_at_mut(batch / 2 * clip);
            let pairs = first.chunks_exact_mut(clip).zip(second.chunks_exact_mut(clip).rev());
            if cut {
                let (rows, columns) = boxed(size, 1.0 - share, rng);
                share = 1.0 - (rows.len() * columns.len()) as f64 / (size * size) as f64;
                let range = 3 * columns.start..3 * columns.end;
                for (one, other) in pairs {
                    let both = one.chunks_exact_mut(3 * size).zip(other.chunks_exact_mut(3 * size));
                    for (_, (one, other)) in both.enumerate().filter(|(y, _)| rows.contains(&(y % size))) {
                        one[range.clone()].swap_with_slice(&mut other[range.clone()]);
                    }
                }
            } else {
                let mixed = |to: u8, from: u8| (f64::from(to) * share + f64::from(from) * (1.0 - share)).round() as u8;
                for (one, other) in pairs {
                    for (one, other) in one.iter_mut().zip(other) {
                        (*one, *other) = (mixed(*one, *other), mixed(*other, *one));
                    }
                }
            }
        }
        let off = (self.smoothing / self.classes as f64) as f32;
        let on = (1.0 - self.smoothing) as f32;
        let mut soft = vec![off; batch * self.classes];
        for (i, label) in labels.iter().enumerate() {
            let row = &mut soft[i * self.classes..(i + 1) * self.classes];
            row[*label as usize] += on * share as f32;
            row[labels[batch - 1 - i] as usize] += on * (1.0 - share) as f32;
        }
        soft
    }
}

/// Rows and columns of a box of a share of a square's area around a random centre, cut at the edges.
fn boxed(size: usize, area: f64, rng: &mut impl Rng) -> (std::ops::Range<usize>, std::ops::Range<usize>) {
    let side = (size as f64 * area.sqrt()) as usize;
    let mut range = || {
        let centre = rng.random_range(0..size);
        centre.saturating_sub(side / 2)..(centre + side / 2).min(size)
    };
    (range(), range())
}

/// Fills one region of all frames of a clip with noise of ImageNet's mean and deviation, as timm's `RandomErasing` in
/// `pixel` mode: a share of 2 % to a third of the area, ratio of sides 0.3 to 3.3.
pub(super) fn erase(clip: &mut [u8], size: usize, rng: &mut impl Rng) {
    for _ in 0..10 {
        let area = rng.random_range(0.02..1.0 / 3.0) * (size * size) as f64;
        let ratio = rng.random_range(0.3f64.ln()..(1.0 / 0.3f64).ln()).exp();
        let (height, width) = ((area * ratio).sqrt().round() as usize, (area / ratio).sqrt().round() as usize);
        if width == 0 || height == 0 || width >= size || height >= size {
            continue;
        }
        let (top, left) = (rng.random_range(0..=size - height), rng.random_range(0..=size - width));
        for (y, row) in clip.chunks_exact_mut(3 * size).enumerate() {
            if !(top..top + height).contains(&(y % size)) {
                continue;
            }
            for (i, value) in row[3 * left..3 * (left + width)].iter_mut().enumerate() {
                let noise: f64 = StandardNormal.sample(rng);
                *value = ((noise * Colours::IMAGENET.deviation[i % 3] + Colours::IMAGENET.mean[i % 3]) * 255.0)
                    .round()
                    .clamp(0.0, 255.0) as u8;
            }
        }
        return;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::rng;

    #[test]
    fn labels_are_smoothed_as_timm_does() {
        let soft = MixConfig::smoothed(4, 0.1).apply(&mut [], &[2], 8, &mut rng(0, 0, 0, 0));
        let expected = [0.025, 0.025, 0.925, 0.025];
        assert!(soft.iter().zip(expected).all(|(s, e)| (s - e).abs() < 1e-6f32), "{soft:?}");
    }

    #[test]
    fn labels_follow_the_pixels() {
        let (size, frames) = (16, 2);
        let one = frames * size * size * 3;
        for (mixup, cutmix) in [(0.8, 0.0), (0.0, 1.0)] {
            let config = MixConfig { classes: 2, smoothing: 0.0, mixup, cutmix };
            for seed in 0..20 {
                let mut clips = [vec![0u8; one], vec![200u8; one]].concat();
                let soft = config.apply(&mut clips, &[0, 1], size, &mut rng(seed, 0, 0, 0));
                let mean = |clip: &[u8]| clip.iter().map(|v| f64::from(*v)).sum::<f64>() / clip.len() as f64 / 200.0;
                assert!((mean(&clips[..one]) - f64::from(soft[1])).abs() < 0.01, "{mixup} {cutmix} {soft:?}");
                assert!((mean(&clips[one..]) - f64::from(soft[3])).abs() < 0.01, "{mixup} {cutmix} {soft:?}");
                assert!((soft[0] + soft[1] - 1.0).abs() < 1e-6 && (soft[0] - soft[3]).abs() < 1e-6);
                let rounded = (200.0 * soft[1] - f32::from(clips[0])).abs() <= 0.501;
                assert!(rounded || mixup == 0.0, "{}: {soft:?}", clips[0]);
            }
        }
    }

    #[test]
    fn with_both_kinds_a_batch_takes_one_by_chance() {
        let config = MixConfig { classes: 2, smoothing: 0.1, mixup: 0.8, cutmix: 1.0 };
        let mixed = |seed: &u64| {
            let mut clips = [vec![0u8; 16 * 16 * 3], vec![200u8; 16 * 16 * 3]].concat();
            let soft = config.apply(&mut clips, &[0, 1], 16, &mut rng(*seed, 0, 0, 0));
            assert!((soft[0] + soft[1] - 1.0).abs() < 1e-6 && (soft[2] + soft[3] - 1.0).abs() < 1e-6, "{soft:?}");
            clips.iter().any(|v| !matches!(v, 0 | 200))
        };
        let mixed = (0..200).filter(mixed).count();
        assert!((60..140).contains(&mixed), "{mixed} of 200 by mixup");
    }

    #[test]
    fn one_region_of_all_frames_is_erased() {
        let size = 32;
        let mut clip = vec![7u8; 3 * size * size * 3];
        erase(&mut clip, size, &mut rng(1, 0, 0, 0));
        let changed: Vec<usize> = (0..3 * size * size).filter(|p| clip[3 * p..3 * p + 3] != [7, 7, 7]).collect();
        let frame = size * size;
        let first: Vec<usize> = changed.iter().copied().filter(|p| *p < frame).collect();
        assert!(!first.is_empty() && changed.len() == 3 * first.len());
        let area = (frame as f64 * 0.02) as usize..frame * 2 / 5;
        assert!(area.contains(&first.len()), "{}", first.len());
    }

    /// Areas as timm draws them, filled with noise that is ImageNet's once normalised.
    #[test]
    fn erased_regions_have_timms_sizes_and_noise() {
        let (size, mut shares, mut noise) = (32, Vec::new(), [const { Vec::new() }; 3]);
        for seed in 0..200 {
            let mut clip = vec![7u8; size * size * 3];
            erase(&mut clip, size, &mut rng(seed, 0, 0, 0));
            let changed: Vec<&[u8]> = clip.chunks_exact(3).filter(|pixel| *pixel != [7, 7, 7]).collect();
            shares.push(changed.len() as f64 / (size * size) as f64);
            for pixel in changed {
                noise.iter_mut().zip(pixel).for_each(|(values, v)| values.push(f64::from(*v) / 255.0));
            }
        }
        shares.sort_by(f64::total_cmp);
        assert!(shares[0] > 0.01 && shares[20] < 0.1 && shares[180] > 0.25 && shares[199] < 0.37, "{shares:?}");
        for (channel, values) in noise.iter().enumerate() {
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let deviation = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt();
            // Cut to the range of a value.
            let off = [mean - Colours::IMAGENET.mean[channel], deviation - Colours::IMAGENET.deviation[channel]];
            assert!(off.iter().all(|off| off.abs() < 0.02), "{channel}: {mean} {deviation}");
        }
    }
}
