//! What an encoder makes of a clip: how alike its features are from frame to frame, and where a token looks.

use std::path::Path;
use std::sync::Arc;

use super::Error;
use crate::data::{self, ClipConfig, View};
use crate::gpu::{Arena, Engine, EngineOptions, Gpu, Phase, Plan, Recorder, StepValues};
use crate::model::Grid;
use crate::model::encoder::Family;
use crate::model::load::load;
use crate::model::look::{Look, LookArch};
use crate::picture::{Picture, heat};
use crate::weights::{self, Import, LazyTensor, Tensors};

/// The clip in the middle of a video, bytes (T, size, size, 3).
///
/// # Errors
/// A video that cannot be read.
pub fn middle_clip(video: &Path, grid: &Grid, stride: usize) -> Result<Vec<u8>, Error> {
    let view = View::Test { segments: false, clip: 0, clips: 1, crop: 0, crops: 1 };
    let config = ClipConfig::new(grid.frames, stride, grid.size, view);
    // Nothing is drawn at random.
    let mut rng = data::rng(0, 0, 0, 0);
    Ok(data::draw(video, &config, &mut rng)?.remove(0).frames)
}

/// An encoder ready to look at clips.
struct Eye {
    engine: Engine,
    look: Look,
}

impl Eye {
    fn new(gpu: &Arc<Gpu>, rec: Recorder, look: Look, tensors: &Tensors<LazyTensor>) -> Result<Eye, Error> {
        let engine = Engine::new(gpu, Plan::new(rec), &EngineOptions::default())?;
        let rules = Import { allow_unexpected: vec!["*".to_owned()], ..Import::exact() };
        let tensors = weights::adopt(tensors.clone(), &look.params.specs, &rules, Path::new("the weights"))?;
        load::<_, Error>(&engine, look.params.set, Arena::Weight, &tensors, "")?;
        Ok(Eye { engine, look })
    }

    fn see(&mut self, clip: &[u8]) -> Result<Vec<f32>, Error> {
        self.engine.write_bytes(self.look.frames, clip)?;
        self.engine.run(Phase::Micro, &StepValues::default())?;
        Ok(self.engine.read(self.look.seen)?)
    }
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(1e-30)
}

/// `[time][time]` mean over places of the cosine of features (times x places, width).
fn frame_similarity(features: &[f32], times: usize, width: usize) -> Vec<Vec<f64>> {
    let places = features.len() / width / times;
    let token = |t: usize, p: usize| &features[(t * places + p) * width..][..width];
    let mean = |a: usize, b: usize| (0..places).map(|p| cosine(token(a, p), token(b, p))).sum::<f64>() / places as f64;
    (0..times).map(|a| (0..times).map(|b| mean(a, b)).collect()).collect()
}

/// Shifts all clips' features together to mean 0, channel by channel: what all tokens share makes any two alike.
fn centre(clips: &mut [Vec<f32>], width: usize) {
    let count = clips.iter().map(Vec::len).sum::<usize>() / width;
    let mut mean = vec![0.0f64; width];
    for row in clips.iter().flat_map(|clip| clip.chunks_exact(width)) {
        mean.iter_mut().zip(row).for_each(|(mean, v)| *mean += f64::from(*v) / count as f64);
    }
    for row in clips.iter_mut().flat_map(|clip| clip.chunks_exact_mut(width)) {
        row.iter_mut().zip(&mean).for_each(|(v, mean)| *v -= *mean as f32);
    }
}

/// Cosine similarity between the features of each two moments of a clip, the mean over places and clips, as the paper
/// compares its teachers; `centred`: after the mean over all clips and tokens is taken away.
///
/// # Errors
/// Tensors that do not fit, the GPU.
pub fn similarity(
    gpu: &Arc<Gpu>,
    arch: &LookArch,
    tensors: &Tensors<LazyTensor>,
    clips: &[Vec<u8>],
    centred: bool,
) -> Result<Vec<Vec<f64>>, Error> {
    let mut rec = Recorder::new(gpu.caps().clone());
    let look = arch.record_tokens(&mut rec)?;
    let mut eye = Eye::new(gpu, rec, look, tensors)?;
    let [times, ..] = arch.grid.tokens();
    let mut mean = vec![vec![0.0; times]; times];
    let mut features = clips.iter().map(|clip| eye.see(clip)).collect::<Result<Vec<_>, _>>()?;
    if centred {
        centre(&mut features, arch.encoder.dim);
    }
    for features in &features {
        let found = frame_similarity(features, times, arch.encoder.dim);
        for (mean, found) in mean.iter_mut().flatten().zip(found.into_iter().flatten()) {
            *mean += found / clips.len() as f64;
        }
    }
    Ok(mean)
}

/// The mean of a square matrix beside its diagonal.
pub fn off_diagonal(matrix: &[Vec<f64>]) -> f64 {
    let n = matrix.len();
    let beside = (0..n).flat_map(|a| (0..n).filter(move |b| *b != a).map(move |b| matrix[a][b]));
    beside.sum::<f64>() / (n * n.saturating_sub(1)).max(1) as f64
}

/// Softmax over tokens of `query`'s scores with every key, the mean over heads, of packed qkv (tokens, 3, H, D).
fn shares(qkv: &[f32], tokens: usize, heads: usize, query: usize) -> Vec<f64> {
    let size = qkv.len() / tokens / 3 / heads;
    let row = |token: usize, part: usize, head: usize| &qkv[((token * 3 + part) * heads + head) * size..][..size];
    let mut shares = vec![0.0; tokens];
    for head in 0..heads {
        let q = row(query, 0, head);
        let score = |token: usize| {
            let dot: f64 = q.iter().zip(row(token, 1, head)).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum();
            dot / (size as f64).sqrt()
        };
        let scores: Vec<f64> = (0..tokens).map(score).collect();
        let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = scores.iter().map(|s| (s - most).exp()).sum();
        shares.iter_mut().zip(&scores).for_each(|(share, s)| *share += (s - most).exp() / sum / heads as f64);
    }
    shares
}

/// How much the last block's `query` token takes from each token of the clip (N), the mean over heads. An image model
/// looks at the query's own frame alone. What goes to a class token is left out.
///
/// # Errors
/// Tensors that do not fit, the GPU.
pub fn attention(
    gpu: &Arc<Gpu>,
    arch: &LookArch,
    tensors: &Tensors<LazyTensor>,
    clip: &[u8],
    query: usize,
) -> Result<Vec<f64>, Error> {
    let mut rec = Recorder::new(gpu.caps().clone());
    let look = arch.record_attention(&mut rec)?;
    let qkv = Eye::new(gpu, rec, look, tensors)?.see(clip)?;
    let (all, heads) = (arch.grid.len(), arch.encoder.heads);
    let class = arch.family.class_tokens();
    if arch.family != Family::Mae {
        return Ok(shares(&qkv, class + all, heads, class + query).split_off(class));
    }
    let [times, height, width] = arch.grid.tokens();
    let places = height * width;
    let (time, place) = (query / places, query % places);
    let image = &qkv[qkv.len() / times * time..][..qkv.len() / times];
    let seen = shares(image, class + places, heads, class + place);
    let mut found = vec![0.0; all];
    found[time * places..(time + 1) * places].copy_from_slice(&seen[class..]);
    Ok(found)
}

/// The first frame of every tubelet, with the query's patch framed, and under it where its attention goes: from dark to
/// bright, the brightest token at full scale.
pub fn attention_sheet(clip: &[u8], grid: &Grid, shares: &[f64], query: usize) -> Picture {
    const FRAME: [u8; 3] = [255, 60, 0];
    let Grid { size, tubelet, patch, .. } = *grid;
    let [times, height, width] = grid.tokens();
    let most = shares.iter().copied().fold(1e-30, f64::max);
    let (mut seen, mut looked) = (Vec::new(), Vec::new());
    for time in 0..times {
        let frame = 3 * size * size;
        let mut shown = clip[time * tubelet * frame..][..frame].to_vec();
        let mut map = Vec::with_capacity(frame);
        for i in 0..size * size {
            let token = (time * height + i / size / patch) * width + i % size / patch;
            map.extend(heat(shares[token] / most));
            let (y, x) = (i / size % patch, i % size % patch);
            if token == query && (y == 0 || x == 0 || y + 1 == patch || x + 1 == patch) {
                shown[3 * i..3 * i + 3].copy_from_slice(&FRAME);
            }
        }
        seen.extend(shown);
        looked.extend(map);
    }
    crate::picture::sheet(&[&seen, &looked], times, size)
}

/// The token whose patch is brightest over the middle of the clip: there the synthetic set has its glyph.
pub fn brightest(clip: &[u8], grid: &Grid) -> usize {
    let Grid { size, tubelet, patch, .. } = *grid;
    let [times, height, width] = grid.tokens();
    let time = times / 2;
    let light = |token: usize| {
        let (y0, x0) = (token / width * patch, token % width * patch);
        let pixel = |i: usize| 3 * ((time * tubelet * size + y0 + i / patch) * size + x0 + i % patch);
        (0..patch * patch).map(|i| u64::from(clip[pixel(i)])).sum::<u64>()
    };
    time * height * width + (0..height * width).max_by_key(|token| light(*token)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn still_features_are_alike_and_turned_ones_are_not() {
        // Two places, width 2: the first stays, the second turns by a right angle.
        let features = [1.0, 0.0, 0.0, 2.0, 3.0, 0.0, -1.0, 0.0];
        let found = frame_similarity(&features, 2, 2);
        assert!((found[0][0] - 1.0).abs() < 1e-12 && (found[0][1] - 0.5).abs() < 1e-12, "{found:?}");
        assert_eq!(off_diagonal(&found), found[0][1]);
    }

    #[test]
    fn what_all_tokens_share_is_taken_away() {
        // Two moments of one place that point apart, and a channel that all share.
        let mut clips = vec![vec![1.0, 9.0, -1.0, 9.0]];
        assert!(frame_similarity(&clips[0], 2, 2)[0][1] > 0.9);
        centre(&mut clips, 2);
        assert_eq!(clips[0], [1.0, 0.0, -1.0, 0.0]);
        assert!((frame_similarity(&clips[0], 2, 2)[0][1] + 1.0).abs() < 1e-12);
    }

    #[test]
    fn shares_follow_the_scores_and_sum_to_one() {
        // Three tokens, one head of size 1: q = 1; k = 0, ln 2, ln 5.
        let qkv = [1.0, 0.0, 9.0, 1.0, 2f32.ln(), 9.0, 1.0, 5f32.ln(), 9.0];
        let found = shares(&qkv, 3, 1, 0);
        for (found, expected) in found.iter().zip([0.125, 0.25, 0.625]) {
            assert!((found - expected).abs() < 1e-6, "{found}");
        }
    }

    #[test]
    fn the_brightest_patch_is_asked_and_framed() {
        let grid = Grid { frames: 4, size: 8, tubelet: 2, patch: 4 };
        let mut clip = vec![10u8; 4 * 8 * 8 * 3];
        // Frame 2, row 5, column 1: token (1, 1, 0).
        clip[3 * ((2 * 8 + 5) * 8 + 1)] = 255;
        let query = brightest(&clip, &grid);
        assert_eq!(query, 6);
        let mut shares = vec![0.0; 8];
        shares[3] = 0.5;
        let sheet = attention_sheet(&clip, &grid, &shares, query);
        let pixel = |x: usize, y: usize| &sheet.rgb[3 * (y * sheet.width + x)..][..3];
        assert_eq!((sheet.width, pixel(12, 6), pixel(2, 2)), (22, &[255, 60, 0][..], &[10, 10, 10][..]));
        assert_eq!((pixel(7, 17), pixel(3, 13)), (&heat(1.0)[..], &heat(0.0)[..]));
    }
}
