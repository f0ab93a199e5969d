//! Evaluation: multi-view tests of classifiers, probes of frozen features, pictures of what was learned.

pub mod look;
pub mod partial;
pub mod probe;
pub mod reconstruct;
mod score;

use std::sync::Arc;

use crossbeam_channel::bounded;
use rayon::prelude::*;

use crate::data::{ClipConfig, Cutter, Index, Item, Items, View};
use crate::gpu::{Arena, Caps, Engine, EngineOptions, Gpu, Phase, Plan, Recorder, StepValues};
use crate::model::classifier::{ClassifierArch, Forward};
use crate::model::load::load;
use crate::model::opened::Opened;
use crate::weights::{self, Spec, TensorSource, Tensors};
use crate::{data, gpu};

use score::{Sum, softmax};

pub use score::{Outcome, Score, Scored, Stamp, VideoScore, ranking};

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
    /// A file of results.
    #[error(transparent)]
    Partial(#[from] partial::Error),
    /// Not even one clip fits.
    #[error("--memory: a test of one clip at once is planned to take {needed} bytes, {memory} are allowed; give more")]
    Memory {
        /// Bytes that it needs.
        needed: usize,
        /// Bytes allowed.
        memory: usize,
    },
    /// The system gives no threads.
    #[error("cannot start decoding threads: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
}

/// Clips at once beyond which nothing becomes faster, and more is lost by a kill.
const MOST_AT_ONCE: usize = 64;

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

/// Videos of a set that are to be scored.
#[derive(Clone, Copy)]
pub struct Videos<'a> {
    /// The set.
    pub items: &'a Items,
    /// Which of them.
    pub wanted: &'a [usize],
    /// What is known of their files beforehand.
    pub index: &'a Index,
}

/// A classifier ready to score clips.
pub struct Evaluator {
    engine: Engine,
    forward: Forward,
    batch: usize,
    classes: usize,
    dim: usize,
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

    /// As many clips at once, of `clips` in all, as are planned to take at most `memory` bytes.
    ///
    /// # Errors
    /// One takes more; what is not known of the model.
    pub fn largest_batch(caps: &Caps, opened: &Opened, clips: usize, memory: usize) -> Result<usize, Error> {
        let planned = |batch: usize| -> Result<usize, Error> {
            let mut rec = Recorder::new(caps.clone());
            opened.classifier(batch)?.record_forward(&mut rec)?;
            Ok(Plan::new(rec).summary().total_bytes())
        };
        let needed = planned(1)?;
        if needed > memory {
            return Err(Error::Memory { needed, memory });
        }
        let mut batch = 1;
        while batch < clips.min(MOST_AT_ONCE) && planned(2 * batch)? <= memory {
            batch *= 2;
        }
        Ok(batch)
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
        let mut scores = vec![None; items.len()];
        let all: Vec<usize> = (0..items.len()).collect();
        self.each(Videos { items, wanted: &all, index }, views, threads, &mut |clips, done| {
            done.into_iter().for_each(|(video, score)| scores[video] = score);
            Ok(progress(clips))
        })?;
        Ok(scores)
    }

    /// The same for large sets: videos are handed on as soon as all of their views are scored, in the order of `wanted`.
    /// After each batch `heard` gets the number of its clips and the videos that it completed, and ends the test by `false`.
    ///
    /// # Errors
    /// The GPU; what `heard` says; [`Error::Stopped`].
    pub fn each(
        &mut self,
        videos: Videos<'_>,
        views: &Views,
        threads: usize,
        heard: &mut dyn FnMut(usize, Vec<Scored>) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let per_video = views.clips * views.crops;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.max(1)).build()?;
        let batch = self.batch;
        let mut sum = Sum::default();
        std::thread::scope(|scope| {
            // Two batches decoded ahead of the GPU.
            let (sender, receiver) = bounded(2);
            scope.spawn(move || {
                let Videos { items, wanted, index } = videos;
                let mut pending = Vec::new();
                // As many videos at once as there are threads, each decoded once for all of its views.
                for (part, some) in wanted.chunks(threads.max(1)).enumerate() {
                    let one =
                        |video: usize| clips(&items.at(video), index, views).into_iter().map(move |clip| (video, clip));
                    let decoded: Vec<Vec<_>> =
                        pool.install(|| some.par_iter().map(|video| one(*video).collect()).collect());
                    pending.extend(decoded.into_iter().flatten());
                    let last = (part + 1) * threads.max(1) >= wanted.len();
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
                let done = videos.iter().zip(scored).filter_map(|(video, score)| sum.add(*video, score, per_video));
                if !heard(clips.len(), done.collect())? {
                    return Err(Error::Stopped);
                }
            }
            Ok(())
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
}
