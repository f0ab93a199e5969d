//! Where a run goes on in its data and in its schedules, also when its set or its batch is not what it was.

use super::checkpoint::State;
use super::error::Error;
use super::feed::Feed;
use super::schedule::Length;
use crate::config::OptimConfig;
use crate::data::Position;

/// Where a run goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// In its data.
    pub position: Position,
    /// What is added to a step to find it in the schedules: other than 0 once steps have become larger or smaller.
    pub shift: i64,
    /// The step after which the run ends.
    pub end: usize,
    /// What was converted, for people.
    pub note: Option<String>,
}

/// Where a run of this state goes on when fed so. Another batch takes up the pass at the same video and the schedules at
/// the same share of the passes; so does another set, if `state.any_set` allows it.
///
/// # Errors
/// The set is another; the run is longer already.
pub(super) fn place(state: &State, now: &Feed, optim: &OptimConfig) -> Result<Place, Error> {
    let length = Length::of(optim, now.videos);
    let by_passes = optim.steps == 0;
    let (mut position, mut shift, mut note) = (state.position, if by_passes { state.shift } else { 0 }, None);
    if let Some(old) = state.feed.as_ref().filter(|old| *old != now) {
        let same_set = (old.videos, &old.digest) == (now.videos, &now.digest);
        if !same_set && !state.any_set {
            return Err(Error::ChangedSet { before: old.clone(), now: now.clone() });
        }
        let mut done = state.position.batch * old.batch;
        if !same_set {
            done = (done as u128 * now.videos as u128 / old.videos.max(1) as u128) as usize;
        }
        let (batch, batches) = (done / now.batch.max(1), (now.videos / now.batch.max(1)).max(1));
        let epoch = state.position.epoch;
        position = if batch < batches { Position { epoch, batch } } else { Position { epoch: epoch + 1, batch: 0 } };
        if by_passes {
            let passes = (state.step as i64 + state.shift) as f64 / old.pass() as f64;
            shift = (passes * length.pass as f64).round() as i64 - state.step as i64;
        }
        note = Some(format!(
            "the checkpoint is of {old}, now it is {now}: goes on in pass {} after {} videos of it",
            position.epoch + 1,
            position.batch * now.batch
        ));
    }
    let end = length.total as i64 - shift;
    if end < state.step as i64 {
        return Err(Error::Longer { step: state.step, end: end.max(0) as usize });
    }
    Ok(Place { position, shift, end: end as usize, note })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipes;

    fn feed(videos: usize, batch: usize, accumulate: usize) -> Feed {
        let digest = format!("of {videos}");
        Feed { videos, digest, batch, accumulate, clips: batch * accumulate }
    }

    fn optim(feed: &Feed, epochs: usize, steps: usize) -> OptimConfig {
        let Feed { batch, accumulate, .. } = *feed;
        OptimConfig { batch, accumulate, epochs, steps, ..recipes::distill("mvd-tiny").unwrap().optim }
    }

    fn state(step: usize, epoch: usize, batch: usize, feed: &Feed) -> State {
        State { step, position: Position { epoch, batch }, feed: Some(feed.clone()), ..State::default() }
    }

    #[test]
    fn nothing_changes_where_nothing_has_changed() {
        let feed = feed(100, 4, 2);
        // 25 micro-batches a pass, 12 whole steps: step 13 is one micro-batch into the second pass.
        let place = place(&state(13, 1, 1, &feed), &feed, &optim(&feed, 10, 0)).unwrap();
        assert_eq!(place, Place { position: Position { epoch: 1, batch: 1 }, shift: 0, end: 120, note: None });
    }

    #[test]
    fn another_batch_goes_on_at_the_same_video_and_share() {
        let old = feed(96, 4, 2);
        let go_on = |new: Feed, steps| place(&state(18, 1, 12, &old), &new, &optim(&new, 10, steps)).unwrap();
        // Micro-batches alone: the same steps.
        let Place { position, shift, end, .. } = go_on(feed(96, 2, 4), 0);
        assert_eq!((position, shift, end), (Position { epoch: 1, batch: 24 }, 0, 120));
        // Steps twice as large: after one and a half passes there are 8.5 left of 10, of 6 steps each.
        let place = go_on(feed(96, 8, 2), 0);
        assert_eq!((place.position, place.shift, place.end), (Position { epoch: 1, batch: 6 }, -9, 18 + 51));
        assert!(place.note.unwrap().contains("goes on in pass 2 after 48 videos of it"));
        // Half as large: never back into a warm-up that is over.
        let Place { shift, end, .. } = go_on(feed(96, 4, 1), 0);
        assert_eq!((shift, end), (18, 18 + 204));
        // Back to the first batch: to the first schedule as well.
        let large = State { shift: -9, ..state(18, 1, 6, &feed(96, 8, 2)) };
        let Place { position, shift, end, .. } = super::place(&large, &old, &optim(&old, 10, 0)).unwrap();
        assert_eq!((position, shift, end), (Position { epoch: 1, batch: 12 }, 0, 120));
        // Steps are steps.
        let Place { position, shift, end, .. } = go_on(feed(96, 8, 2), 50);
        assert_eq!((position, shift, end), (Position { epoch: 1, batch: 6 }, 0, 50));
    }

    #[test]
    fn another_set_is_refused_or_taken_by_its_share() {
        let old = feed(96, 4, 2);
        let before = state(18, 1, 12, &old);
        let less = feed(40, 4, 2);
        let error = place(&before, &less, &optim(&less, 10, 0)).unwrap_err().to_string();
        assert!(
            error.contains("96 videos") && error.contains("there are 40") && error.contains("--changed-data"),
            "{error}"
        );
        let any = State { any_set: true, ..before };
        let Place { position, shift, end, .. } = place(&any, &less, &optim(&less, 10, 0)).unwrap();
        // Half of the second pass: 20 of 40 videos, 7.5 of 5 steps a pass.
        assert_eq!((position, shift, end), (Position { epoch: 1, batch: 5 }, -10, 60));
        // What is left of a pass may be less than a batch.
        let last = State { position: Position { epoch: 1, batch: 23 }, ..any };
        let large = feed(96, 90, 1);
        assert_eq!(place(&last, &large, &optim(&large, 10, 0)).unwrap().position, Position { epoch: 2, batch: 0 });
    }

    #[test]
    fn a_length_that_is_over_is_refused() {
        let feed = feed(96, 4, 2);
        let error = place(&state(18, 1, 12, &feed), &feed, &optim(&feed, 1, 0)).unwrap_err().to_string();
        assert!(error.contains("18 steps are done") && error.contains("12"), "{error}");
        assert_eq!(place(&state(18, 1, 12, &feed), &feed, &optim(&feed, 10, 18)).unwrap().end, 18, "just over");
    }
}
