//! What videos and sets score.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::data::{Items, stamp};

/// What one video scored: softmax shares over classes and pooled features, averaged over its views.
#[derive(Debug, Clone, PartialEq)]
pub struct VideoScore {
    /// (K) shares; they sum to 1.
    pub shares: Vec<f64>,
    /// (C) mean over tokens, before norm and head.
    pub features: Vec<f64>,
}

/// A video by its place in the set, and its score; none if it could not be read.
pub type Scored = (usize, Option<VideoScore>);

/// What a test keeps of a labelled video.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Its place in the set.
    pub video: usize,
    /// Its label.
    pub label: u32,
    /// How many classes have a larger share than the label's; none where scores are NaN or infinite.
    pub rank: Option<usize>,
    /// The classes of the largest shares, five at most, and their shares.
    pub top: Vec<(usize, f64)>,
    /// Size and time of modification of its file when it was scored; none of a folder of frames.
    #[serde(flatten)]
    pub stamp: Stamp,
}

/// What tells a file from another of the same name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Nanoseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<u64>,
}

impl Stamp {
    /// That of a file.
    pub fn of(path: &Path) -> Stamp {
        let Some((bytes, seconds, nanoseconds)) = stamp(path) else { return Stamp::default() };
        let modified = seconds.saturating_mul(1_000_000_000).saturating_add(u64::from(nanoseconds));
        Stamp { bytes: Some(bytes), modified: Some(modified) }
    }
}

impl Outcome {
    /// What is kept of the score of a video with a label.
    pub fn of(video: usize, label: u32, score: &VideoScore, stamp: Stamp) -> Outcome {
        if score.shares.iter().any(|share| !share.is_finite()) {
            return Outcome { video, label, rank: None, top: Vec::new(), stamp };
        }
        let ranking = ranking(&score.shares);
        let rank = ranking.iter().position(|class| *class == label as usize);
        let top = ranking.into_iter().take(5).map(|class| (class, score.shares[class])).collect();
        Outcome { video, label, rank, top, stamp }
    }
}

/// A set's result.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// Videos that were scored.
    pub count: usize,
    /// Those whose label has the largest share, and those whose label is among the five largest.
    places: [usize; 2],
    /// `[label][prediction]` counts.
    pub confusion: Vec<Vec<usize>>,
    /// Videos that could not be read; counted in nothing else.
    pub unread: usize,
    /// Videos whose scores are NaN or infinite; counted as wrong.
    pub not_finite: usize,
}

pub(super) fn softmax(logits: &[f32]) -> Vec<f64> {
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

fn percent(part: usize, all: usize) -> f64 {
    100.0 * part as f64 / all.max(1) as f64
}

impl Score {
    /// Of no video yet.
    pub fn new(classes: usize) -> Score {
        Score { count: 0, places: [0; 2], confusion: vec![vec![0; classes]; classes], unread: 0, not_finite: 0 }
    }

    /// The result of labelled videos.
    pub fn of(classes: usize, items: &Items, scores: &[Option<VideoScore>]) -> Score {
        let mut all = Score::new(classes);
        for (video, score) in scores.iter().enumerate() {
            match (items.label(video), score) {
                (Some(label), Some(score)) => all.add(&Outcome::of(video, label, score, Stamp::default())),
                (_, None) => all.unread += 1,
                (None, Some(_)) => {}
            }
        }
        all
    }

    /// Counts a video.
    pub fn add(&mut self, outcome: &Outcome) {
        self.count += 1;
        let Some((rank, (first, _))) = outcome.rank.zip(outcome.top.first()) else {
            self.not_finite += 1;
            return;
        };
        self.places[0] += usize::from(rank == 0);
        self.places[1] += usize::from(rank < 5);
        self.confusion[outcome.label as usize][*first] += 1;
    }

    /// Percent of videos whose label has the largest share.
    pub fn top1(&self) -> f64 {
        percent(self.places[0], self.count)
    }

    /// Percent of videos whose label is among the five largest.
    pub fn top5(&self) -> f64 {
        percent(self.places[1], self.count)
    }

    /// Videos of a class and how many of them were given it.
    pub fn class(&self, label: usize) -> (usize, usize) {
        (self.confusion[label].iter().sum(), self.confusion[label][label])
    }

    /// The mean over classes of the percent of their videos that were given them, and how many classes have videos.
    pub fn mean_class(&self) -> (f64, usize) {
        let classes = (0..self.confusion.len()).map(|label| self.class(label)).filter(|(all, _)| *all > 0);
        let (sum, present) = classes.fold((0.0, 0), |(sum, n), (all, right)| (sum + percent(right, all), n + 1));
        (sum / present.max(1) as f64, present)
    }
}

/// The mean over the views of one video after the other.
#[derive(Default)]
pub(super) struct Sum {
    score: Option<VideoScore>,
    views: usize,
}

impl Sum {
    /// Adds a view, of `all`, of a video whose views come one behind the other; the video with its last one. A video one of
    /// whose views cannot be read has no score.
    pub fn add(&mut self, video: usize, view: Option<VideoScore>, all: usize) -> Option<Scored> {
        let weighted = |values: &mut Vec<f64>| values.iter_mut().for_each(|value| *value *= 1.0 / all as f64);
        let view = view.map(|mut view| {
            weighted(&mut view.shares);
            weighted(&mut view.features);
            view
        });
        match (&mut self.score, view) {
            (_, view) if self.views == 0 => self.score = view,
            (Some(sum), Some(view)) => {
                sum.shares.iter_mut().zip(view.shares).for_each(|(s, v)| *s += v);
                sum.features.iter_mut().zip(view.features).for_each(|(s, v)| *s += v);
            }
            _ => self.score = None,
        }
        self.views = (self.views + 1) % all;
        (self.views == 0).then(|| (video, self.score.take()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Item;

    #[test]
    fn scores_count_labels_and_places() {
        let item = |label| Item { label: Some(label), ..Item::of("x") };
        let score = |shares: &[f64]| Some(VideoScore { shares: shares.to_vec(), features: vec![] });
        let items: Items = [0, 1, 2, 1].map(item).into_iter().collect();
        let scores = [score(&[0.9, 0.1, 0.0]), score(&[0.9, 0.1, 0.0]), score(&[0.1, 0.2, 0.7]), None];
        let got = Score::of(4, &items, &scores);
        assert!((got.top1() - 200.0 / 3.0).abs() < 1e-9 && got.top5() == 100.0, "{got:?}");
        assert_eq!((got.count, got.unread), (3, 1));
        assert_eq!(got.confusion, [[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0; 4]]);
        // Over the classes that have videos.
        assert!((got.mean_class().0 - 200.0 / 3.0).abs() < 1e-9 && got.mean_class().1 == 3);
        assert!((softmax(&[1000.0, 1000.0])[0] - 0.5).abs() < 1e-12);
        // NaN is no class, not even class 0.
        let scores = [score(&[f64::NAN; 3]), score(&[0.1, 0.9, 0.0]), None, None];
        let got = Score::of(3, &items, &scores);
        assert_eq!((got.top1(), got.top5(), got.not_finite, got.unread), (50.0, 50.0, 1, 2));
        assert_eq!(got.confusion, [[0, 0, 0], [0, 1, 0], [0, 0, 0]]);
    }

    #[test]
    fn a_video_is_done_with_its_last_view_and_unread_with_any() {
        let view = |share: f64| Some(VideoScore { shares: vec![share, 1.0 - share], features: vec![4.0 * share] });
        let mut sum = Sum::default();
        assert_eq!(sum.add(3, view(0.5), 2), None);
        let mean = VideoScore { shares: vec![0.375, 0.625], features: vec![1.5] };
        assert_eq!(sum.add(3, view(0.25), 2), Some((3, Some(mean))));
        for views in [[None, view(0.5)], [view(0.5), None]] {
            let [first, second] = views;
            assert_eq!(sum.add(4, first, 2), None);
            assert_eq!(sum.add(4, second, 2), Some((4, None)));
        }
        assert_eq!(sum.add(5, view(1.0), 1).unwrap().1, view(1.0));
    }
}
