//! Evaluation: multi-view tests of classifiers, probes of frozen features, pictures of what was learned.

pub mod look;
pub mod probe;
pub mod reconstruct;

use std::sync::Arc;

use crossbeam_channel::bounded;
use rayon::prelude::*;

use crate::data::{ClipConfig, Cutter, Index, Item, Items, View};
use crate::gpu::{Arena, Engine, EngineOptions, Gpu, Phase, Plan, Recorder, StepValues};
use crate::model::classifier::{ClassifierArch, Forward};
use crate::model::load::load;
use crate::model::opened::Opened;
use crate::weights::{self, Spec, TensorSource, Tensors};
use crate::{data, gpu};

/// Why an evaluation ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data.
    #[error(transparent)]
    Data(#[from] data::Error),
    /// The GPU.
    #[error(transparent)]
    Gpu(#[from] gpu::Error),
    /// The model.
    #[error(transparent)]
    Weights(#[from] weights::Error),
    /// Scores are NaN or infinite.
    #[error("the scores of {videos} videos are not finite")]
    NotFinite {
        /// How many videos' are.
        videos: usize,
    },
    /// Whoever heard of the progress ended it.
    #[error("stopped before all videos were scored")]
    Stopped,
    /// The system gives no threads.
    #[error("cannot start decoding threads: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
}

/// Which clips and crops of a video a test looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Views {
    /// Frames of a clip.
    pub frames: usize,
    /// Frames of the video from one of the clip's to the next.
    pub stride: usize,
    /// Height and width of a crop.
    pub size: usize,
    /// Clips by segments of the whole video.
    pub segments: bool,
    /// Clips in time.
    pub clips: usize,
    /// Crops of each.
    pub crops: usize,
}

/// A classifier ready to score clips.
pub struct Evaluator {
    engine: Engine,
    forward: Forward,
    batch: usize,
    classes: usize,
    dim: usize,
}

/// What one video scored: softmax shares over classes and pooled features, averaged over its views.
#[derive(Debug, Clone, PartialEq)]
pub struct VideoScore {
    /// (K) shares; they sum to 1.
    pub shares: Vec<f64>,
    /// (C) mean over tokens, before norm and head.
    pub features: Vec<f64>,
}

/// A set's result.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// Percent of videos whose label has the largest share.
    pub top1: f64,
    /// Percent of videos whose label is among the five largest.
    pub top5: f64,
    /// `[label][prediction]` counts.
    pub confusion: Vec<Vec<usize>>,
    /// Videos that could not be read; counted in neither.
    pub unread: usize,
    /// Videos whose scores are NaN or infinite; counted as wrong.
    pub not_finite: usize,
}

fn softmax(logits: &[f32]) -> Vec<f64> {
    let most = logits.iter().fold(f64::NEG_INFINITY, |m, v| m.max(f64::from(*v)));
    let shares: Vec<f64> = logits.iter().map(|v| (f64::from(*v) - most).exp()).collect();
    let sum: f64 = shares.iter().sum();
    shares.iter().map(|s| s / sum).collect()
}

/// Classes by falling share.
pub fn ranking(shares: &[f64]) -> Vec<usize> {
    let mut classes: Vec<usize> = (0..shares.len()).collect();
    classes.sort_by(|a, b| shares[*b].total_cmp(&shares[*a]));
    classes
}

impl Score {
    /// The result of labelled videos.
    pub fn of(items: &Items, scores: &[Option<VideoScore>]) -> Score {
        let classes = scores.iter().flatten().map(|s| s.shares.len()).max().unwrap_or(0);
        let mut confusion = vec![vec![0; classes]; classes];
        let (mut first, mut five, mut count, mut not_finite) = (0, 0, 0, 0);
        for (item, score) in items.iter().zip(scores) {
            let (Some(label), Some(score)) = (item.label, score) else { continue };
            count += 1;
            if score.shares.iter().any(|share| !share.is_finite()) {
                not_finite += 1;
                continue;
            }
            let ranking = ranking(&score.shares);
            let place = ranking.iter().position(|c| *c == label as usize);
            first += usize::from(place == Some(0));
            five += usize::from(place.is_some_and(|p| p < 5));
            if let Some(row) = confusion.get_mut(label as usize) {
                row[ranking[0]] += 1;
            }
        }
        let percent = |n: usize| 100.0 * n as f64 / count.max(1) as f64;
        let unread = scores.iter().filter(|s| s.is_none()).count();
        Score { top1: percent(first), top5: percent(five), confusion, unread, not_finite }
    }
}

impl Evaluator {
    /// Builds the forward pass.
    ///
    /// # Errors
    /// What the model cannot be built for.
    pub fn new(gpu: &Arc<Gpu>, arch: &ClassifierArch) -> Result<Evaluator, Error> {
        let mut rec = Recorder::new(gpu.caps().clone());
        let forward = arch.record_forward(&mut rec)?;
        let engine = Engine::new(gpu, Plan::new(rec), &EngineOptions::default())?;
        Ok(Evaluator { engine, forward, batch: arch.batch, classes: arch.classes, dim: arch.encoder.dim })
    }

    /// The parameters it wants.
    pub fn specs(&self) -> &[Spec] {
        &self.forward.params.specs
    }

    /// Builds the forward pass of any clip model with its weights, for as many clips at once as `batch` says and the
    /// adapter's limits allow. Of one without a classifier, or where `head` is false, the head is not looked at.
    ///
    /// # Errors
    /// What is not known of the model, tensors that are missing or of another size, a clip that is too large alone.
    pub fn open(gpu: &Arc<Gpu>, opened: &Opened, batch: usize, head: bool) -> Result<Evaluator, Error> {
        let arch = opened.classifier(batch)?;
        let mut evaluator = Evaluator::fitting(gpu, &arch)?;
        if head {
            evaluator.set_weights::<_, Error>(&opened.adopt(evaluator.specs(), "", &[])?)?;
            return Ok(evaluator);
        }
        let outside = |spec: &&Spec| ["head.", "fc_norm.", "norm."].iter().any(|start| spec.name.starts_with(start));
        let (rest, encoder): (Vec<&Spec>, Vec<&Spec>) = evaluator.specs().iter().partition(outside);
        let mut all = weights::drawn(&rest.into_iter().cloned().collect::<Vec<_>>(), 0);
        all.extend(opened.adopt(&encoder.into_iter().cloned().collect::<Vec<_>>(), "", &[])?);
        evaluator.set_weights::<_, Error>(&all)?;
        Ok(evaluator)
    }

    /// Builds the forward pass for the largest batch, halved from the one given, that the adapter takes.
    ///
    /// # Errors
    /// One clip is too large; what else the model cannot be built for.
    pub fn fitting(gpu: &Arc<Gpu>, arch: &ClassifierArch) -> Result<Evaluator, Error> {
        let mut arch = arch.clone();
        loop {
            match Evaluator::new(gpu, &arch) {
                Err(Error::Gpu(gpu::Error::Limit { .. } | gpu::Error::OutOfMemory { .. })) if arch.batch > 1 => {
                    arch.batch = arch.batch.div_ceil(2);
                    log::info!("batches of {} clips: more do not fit", arch.batch);
                }
                built => return built,
            }
        }
    }

    /// Clips of a batch.
    pub fn batch_size(&self) -> usize {
        self.batch
    }

    /// Takes a model's weights, all of them.
    ///
    /// # Errors
    /// A tensor is missing, of another size or cannot be read.
    pub fn set_weights<T: TensorSource, E>(&mut self, tensors: &Tensors<T>) -> Result<(), E>
    where
        E: From<gpu::Error> + From<T::Error>,
    {
        load(&self.engine, self.forward.params.set, Arena::Weight, tensors, "")
    }

    /// Scores videos, of which `index` may know something; none for one that cannot be read, which is logged as a warning
    /// with its name. `progress` hears of clips as they are scored, and ends it by `false`.
    ///
    /// # Errors
    /// The GPU; [`Error::Stopped`].
    pub fn scores(
        &mut self,
        items: &Items,
        index: &Index,
        views: &Views,
        threads: usize,
        progress: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Vec<Option<VideoScore>>, Error> {
        let per_video = views.clips * views.crops;
        let mut sums: Vec<Option<VideoScore>> =
            vec![Some(VideoScore { shares: vec![0.0; self.classes], features: vec![0.0; self.dim] }); items.len()];
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.max(1)).build()?;
        let batch = self.batch;
        std::thread::scope(|scope| {
            // Two batches decoded ahead of the GPU.
            let (sender, receiver) = bounded(2);
            scope.spawn(move || {
                let mut pending = Vec::new();
                // As many videos at once as there are threads, each decoded once for all of its views.
                for first in (0..items.len()).step_by(threads.max(1)) {
                    let videos = first..(first + threads.max(1)).min(items.len());
                    let one = |video| clips(&items.at(video), index, views).into_iter().map(move |clip| (video, clip));
                    let decoded: Vec<_> = pool.install(|| videos.into_par_iter().map(one).collect());
                    pending.extend(decoded.into_iter().flatten());
                    let last = first + threads.max(1) >= items.len();
                    while pending.len() >= batch || (last && !pending.is_empty()) {
                        let rest = pending.split_off(batch.min(pending.len()));
                        if sender.send(std::mem::replace(&mut pending, rest)).is_err() {
                            return;
                        }
                    }
                }
            });
            for clips in receiver {
                let (videos, clips): (Vec<usize>, Vec<_>) = clips.into_iter().unzip();
                let scored = self.batch(&clips, views)?;
                for (video, score) in videos.iter().zip(scored) {
                    match (score, &mut sums[*video]) {
                        (Some(score), Some(sum)) => {
                            let share = 1.0 / per_video as f64;
                            sum.shares.iter_mut().zip(score.shares).for_each(|(s, v)| *s += v * share);
                            sum.features.iter_mut().zip(score.features).for_each(|(s, v)| *s += v * share);
                        }
                        (None, slot) => *slot = None,
                        (Some(_), None) => {}
                    }
                }
                if !progress(videos.len()) {
                    return Err(Error::Stopped);
                }
            }
            Ok(sums)
        })
    }

    /// The scores of clips; none where there is no clip.
    fn batch(&mut self, clips: &[Option<Vec<u8>>], views: &Views) -> Result<Vec<Option<VideoScore>>, Error> {
        let len = views.frames * views.size * views.size * 3;
        let mut frames = vec![0; self.batch * len];
        for (to, clip) in frames.chunks_exact_mut(len).zip(clips) {
            if let Some(clip) = clip {
                to.copy_from_slice(clip);
            }
        }
        self.engine.write_bytes(self.forward.frames, &frames)?;
        self.engine.run(Phase::Micro, &StepValues::default())?;
        let logits = self.engine.read(self.forward.logits)?;
        let pooled = self.engine.read(self.forward.pooled)?;
        let rows = logits.chunks_exact(self.classes).zip(pooled.chunks_exact(self.dim));
        let scored = clips.iter().zip(rows).map(|(clip, (logits, features))| {
            let features = features.iter().map(|v| f64::from(*v)).collect();
            clip.as_ref().map(|_| VideoScore { shares: softmax(logits), features })
        });
        Ok(scored.collect())
    }
}

/// All views of a video, of one decoding; none of them if it cannot be read.
fn clips(item: &Item, index: &Index, views: &Views) -> Vec<Option<Vec<u8>>> {
    let Views { frames, stride, size, segments, clips, crops } = *views;
    let config = |view| {
        let view = View::Test { segments, clip: view / crops, clips, crop: view % crops, crops };
        ClipConfig::new(frames, stride, size, view)
    };
    let configs: Vec<ClipConfig> = (0..clips * crops).map(config).collect();
    // Tests draw nothing at random.
    let mut rng = data::rng(0, 0, 0, 0);
    match data::draw_all(item, &configs, index, &mut Cutter::default(), &mut rng) {
        Ok(clips) => clips.into_iter().map(|clip| Some(clip.frames)).collect(),
        Err(error) => {
            log::warn!("not counted: {error}");
            vec![None; configs.len()]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_of_one_decoding_are_those_of_their_own() {
        let item = Item::of("assets/clips/high_bframes.mp4");
        let views = Views { frames: 4, stride: 3, size: 32, segments: false, clips: 3, crops: 3 };
        let none = Index::default();
        let all = clips(&item, &none, &views);
        assert_eq!(all.len(), 9);
        for (index, clip) in all.iter().enumerate() {
            let view = View::Test { segments: false, clip: index / 3, clips: 3, crop: index % 3, crops: 3 };
            let config = ClipConfig::new(4, 3, 32, view);
            let alone =
                data::draw_all(&item, &[config], &none, &mut Cutter::default(), &mut data::rng(0, 0, 0, 0)).unwrap();
            assert_eq!(clip.as_ref(), Some(&alone[0].frames), "view {index}");
            assert!(all[..index].iter().all(|other| other != clip), "view {index} is another's");
        }
        assert_eq!(clips(&Item::of("assets/clips/audio_only.mp4"), &none, &views), vec![None; 9]);
    }

    #[test]
    fn scores_count_labels_and_places() {
        let item = |label| Item { label: Some(label), ..Item::of("x") };
        let score = |shares: &[f64]| Some(VideoScore { shares: shares.to_vec(), features: vec![] });
        let items: Items = [0, 1, 2, 1].map(item).into_iter().collect();
        let scores = [score(&[0.9, 0.1, 0.0]), score(&[0.9, 0.1, 0.0]), score(&[0.1, 0.2, 0.7]), None];
        let got = Score::of(&items, &scores);
        assert!((got.top1 - 200.0 / 3.0).abs() < 1e-9 && got.top5 == 100.0 && got.unread == 1, "{got:?}");
        assert_eq!(got.confusion, [[1, 0, 0], [1, 0, 0], [0, 0, 1]]);
        assert!((softmax(&[1000.0, 1000.0])[0] - 0.5).abs() < 1e-12);
        // NaN is no class, not even class 0.
        let scores = [score(&[f64::NAN; 3]), score(&[0.1, 0.9, 0.0]), None, None];
        let got = Score::of(&items, &scores);
        assert_eq!((got.top1, got.top5, got.not_finite, got.unread), (50.0, 50.0, 1, 2));
        assert_eq!(got.confusion, [[0, 0, 0], [0, 1, 0], [0, 0, 0]]);
    }
}
