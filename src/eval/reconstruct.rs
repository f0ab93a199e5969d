//! What a pixel model makes of masked patches, as a sheet of pictures.

use std::path::Path;
use std::sync::Arc;

use super::Error;
use crate::data::{self, ClipConfig, MaskConfig, View};
use crate::gpu::{Arena, Engine, EngineOptions, Gpu, Phase, Plan, Recorder, StepValues};
use crate::model::Grid;
use crate::model::encoder::Family;
use crate::model::load::load;
use crate::model::pixels::PixelArch;
use crate::op::patch::{Colours, Pick};
use crate::picture::{Picture, sheet};
use crate::weights::{self, Import, LazyTensor, Tensors};

/// Grey of masked patches.
const HIDDEN: u8 = 96;

/// Which frames of a video are shown, and the mask's seed.
#[derive(Debug, Clone, Copy)]
pub struct Shown {
    /// Frames, of a model of images; one of clips shows its clip.
    pub images: usize,
    /// Frames of the video from one to the next.
    pub stride: usize,
    /// Seed of the mask.
    pub seed: u64,
}

/// Frames of a video, masked and reconstructed by a pixel model (its checkpoint's tensors are in `tensors`): a column a
/// frame, rows of the frame, what the model saw, what it made of it.
///
/// # Errors
/// A video that cannot be read, tensors that do not fit, the GPU.
pub fn reconstruct(
    gpu: &Arc<Gpu>,
    arch: &PixelArch,
    mask: &MaskConfig,
    tensors: Tensors<LazyTensor>,
    video: &Path,
    shown: Shown,
) -> Result<Picture, Error> {
    let images = arch.family == Family::Mae;
    let arch = PixelArch { batch: if images { shown.images } else { 1 }, accumulate: 1, ..arch.clone() };
    let Grid { frames, size, .. } = arch.grid;
    let count = frames * arch.batch;
    let view = View::Test { segments: false, clip: 0, clips: 1, crop: 0, crops: 1 };
    let config = ClipConfig::new(count, shown.stride, size, view);
    let mut rng = data::rng(shown.seed, 0, 0, 0);
    let clip = data::draw(video, &config, &mut rng)?.remove(0).frames;

    let mut rec = Recorder::new(gpu.caps().clone());
    let forward = arch.record_forward(&mut rec)?;
    let mut engine = Engine::new(gpu, Plan::new(rec), &EngineOptions::default())?;
    let tensors = weights::adopt(tensors, &forward.params.specs, &Import::exact(), Path::new("the checkpoint"))?;
    load::<_, Error>(&engine, forward.params.set, Arena::Weight, &tensors, "")?;
    engine.write_bytes(forward.frames, &clip)?;
    let lists: Vec<data::Tokens> = (0..arch.batch).map(|_| mask.draw(&mut rng)).collect();
    let all = |of: fn(&data::Tokens) -> &[u32]| lists.iter().flat_map(|l| of(l).to_vec()).collect::<Vec<u32>>();
    forward.masking.write(&engine, &all(|l| &l.visible), &all(|l| &l.masked))?;
    engine.run(Phase::Micro, &StepValues::default())?;
    let predicted = engine.read(forward.prediction)?;

    let masked = lists.iter().enumerate().flat_map(|(b, l)| l.masked.iter().map(move |token| (b, *token as usize)));
    let mut hidden = clip.clone();
    for (sample, token) in masked.clone() {
        places(&arch.grid, arch.grid.tubelet, Pick::ALL, sample, token)
            .into_iter()
            .for_each(|place| hidden[place] = HIDDEN);
    }
    // Frames that are not predicted stay hidden.
    let mut made = hidden.clone();
    let colours = (arch.family != Family::VideoMae).then(|| arch.family.colours());
    let (len, pick) = (arch.target_len(), arch.target_pick());
    let each = len / 3 / arch.grid.patch.pow(2);
    for ((sample, token), patch) in masked.zip(predicted.chunks_exact(len)) {
        let places = places(&arch.grid, each, pick, sample, token);
        let levels = levels(&clip, &places, colours, patch);
        places.into_iter().zip(levels).for_each(|(place, level)| made[place] = level);
    }
    Ok(sheet(&[&clip, &hidden, &made], count, size))
}

/// Bytes of a patch in the clip's frames that are picked, `each` of them a token, in the order (t, y, x, colour).
fn places(grid: &Grid, each: usize, pick: Pick, sample: usize, token: usize) -> Vec<usize> {
    let Grid { frames, size, patch, .. } = *grid;
    let side = size / patch;
    let (t, h, w) = (token / (side * side), token / side % side, token % side);
    let pixel = |i: usize| {
        let (dt, dy, dx) = (i / (patch * patch), i / patch % patch, i % patch);
        let frame = sample * frames + pick.frame(t * each + dt);
        (frame * size + h * patch + dy) * size + w * patch + dx
    };
    (0..each * patch * patch).flat_map(|i| (0..3).map(move |c| 3 * pixel(i) + c)).collect()
}

/// A predicted patch as bytes: it was learned in units of the true patch's mean and deviation, over the whole patch where
/// `colours` says what its pixels were normalised by, else a colour for itself.
fn levels(clip: &[u8], places: &[usize], colours: Option<Colours>, patch: &[f32]) -> Vec<u8> {
    let whole = colours.is_some();
    let Colours { mean: means, deviation: deviations } =
        colours.unwrap_or(Colours { mean: [0.0; 3], deviation: [1.0; 3] });
    let value = |i: usize| (f64::from(clip[places[i]]) / 255.0 - means[i % 3]) / deviations[i % 3];
    let moments = |group: Vec<usize>| {
        let n = group.len() as f64;
        let mean = group.iter().map(|i| value(*i)).sum::<f64>() / n;
        (mean, (group.iter().map(|i| (value(*i) - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt())
    };
    let groups: Vec<(f64, f64)> =
        (0..3).map(|c| moments((0..places.len()).filter(|i| whole || i % 3 == c).collect())).collect();
    let level = |(i, p): (usize, &f32)| {
        let (mean, deviation) = groups[i % 3];
        let value = f64::from(*p) * deviation + mean;
        ((value * deviations[i % 3] + means[i % 3]) * 255.0).round().clamp(0.0, 255.0) as u8
    };
    patch.iter().enumerate().map(level).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::patch_target;

    /// A target turned back into bytes is the picture itself.
    #[test]
    fn targets_come_back_as_pixels() {
        let clip: Vec<u8> = (0..2 * 8 * 8 * 3).map(|i| (i * 37 % 251) as u8).collect();
        for (colours, tubelet) in [(None, 2), (Some(Colours::IMAGENET), 1), (Some(Colours::KINETICS), 2)] {
            let grid = Grid { frames: 2, size: 8, tubelet, patch: 4 };
            let places = places(&grid, tubelet, Pick::ALL, 0, 3);
            let Colours { mean, deviation } = colours.unwrap_or(Colours::IMAGENET);
            let pixels = places.len() / 3;
            // Channel first and normalised, as patches are cut.
            let cut: Vec<f64> = (0..3)
                .flat_map(|c| (0..pixels).map(move |k| (c, k)))
                .map(|(c, k)| (f64::from(clip[places[3 * k + c]]) / 255.0 - mean[c]) / deviation[c])
                .collect();
            let whole = colours.is_some();
            let normalise = if whole { patch_target::Normalise::Whole } else { patch_target::Normalise::PerColour };
            let target: Vec<f32> = patch_target::of(&cut, pixels, normalise).iter().map(|v| *v as f32).collect();
            let back = levels(&clip, &places, colours, &target);
            assert_eq!(back, places.iter().map(|p| clip[*p]).collect::<Vec<_>>(), "{whole}");
        }
    }
}
