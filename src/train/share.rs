//! How a step is shared out among ranks.
//!
//! A step has `accumulate` micro-batches, in `groups` groups of neighbours. A rank takes one or more groups that follow each
//! other and adds up the gradients of each on its GPU; the step's gradient is the sum of the groups' gradients in order. So the
//! result depends on the number of groups, and not on the number of ranks. Groups of one micro-batch give the sum that a single
//! rank makes without groups.

use crate::config::OptimConfig;
use crate::data::Shard;

/// A step cannot be shared out.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The flags and the config do not say how.
    #[error(
        "{videos} videos a step in {accumulate} micro-batches of {batch} cannot be shared out evenly among {ranks} ranks: give \
         --batch and --accumulate, which count for each rank, or start another number of ranks"
    )]
    Uneven {
        /// Videos of a step.
        videos: usize,
        /// Micro-batches of a step.
        accumulate: usize,
        /// Videos of one.
        batch: usize,
        /// Ranks.
        ranks: usize,
    },
    /// A run that has begun cannot go on with so many ranks and the same bits.
    #[error(
        "the run's steps have {accumulate} micro-batches in {groups} groups, which {ranks} ranks cannot share and stay the same \
         to the bit: start {} ranks, or give --batch and --accumulate for each rank, which changes the run's numbers from here on",
        listed(possible)
    )]
    Begun {
        /// Micro-batches of a step.
        accumulate: usize,
        /// Groups of them.
        groups: usize,
        /// Ranks.
        ranks: usize,
        /// Numbers of ranks that can.
        possible: Vec<usize>,
    },
}

/// `1, 2 or 4`.
fn listed(numbers: &[usize]) -> String {
    let texts: Vec<String> = numbers.iter().map(usize::to_string).collect();
    match texts.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}

/// What the flags say of a step; both count for each rank.
#[derive(Debug, Clone, Copy, Default)]
pub struct Flags {
    /// Videos of a micro-batch.
    pub batch: Option<usize>,
    /// Micro-batches of a step.
    pub accumulate: Option<usize>,
}

/// Fits the step of a config to a number of ranks. Without flags a new run keeps the videos of its step, and one that has
/// `begun` also the bits of its results.
///
/// # Errors
/// It cannot be shared out.
pub fn fit(optim: &mut OptimConfig, flags: Flags, ranks: usize, begun: bool) -> Result<(), Error> {
    let uneven = |o: &OptimConfig| {
        let OptimConfig { batch, accumulate, .. } = *o;
        Error::Uneven { videos: o.total_batch(), accumulate, batch, ranks }
    };
    if let Some(batch) = flags.batch {
        optim.batch = batch;
    }
    match flags.accumulate {
        Some(count) => optim.accumulate = count * ranks,
        None if optim.accumulate.is_multiple_of(ranks) => {}
        None if flags.batch.is_some() && optim.accumulate == 1 => optim.accumulate = ranks,
        None if flags.batch.is_none() && !begun => {
            let total = optim.total_batch();
            let least = (1..=ranks).map(|n| n * optim.accumulate).find(|count| count.is_multiple_of(ranks));
            let accumulate = least.filter(|count| total.is_multiple_of(*count)).ok_or_else(|| uneven(optim))?;
            (optim.batch, optim.accumulate) = (total / accumulate, accumulate);
        }
        None if flags.batch.is_some() => return Err(uneven(optim)),
        None => {}
    }
    regroup(optim, ranks, begun && flags.batch.is_none() && flags.accumulate.is_none())
}

/// Cuts the micro-batches of a step into groups for a number of ranks; `kept` keeps the bits of the results.
///
/// # Errors
/// It cannot be shared out.
pub fn regroup(optim: &mut OptimConfig, ranks: usize, kept: bool) -> Result<(), Error> {
    let OptimConfig { accumulate, groups, batch, .. } = *optim;
    if groups.is_multiple_of(ranks) && accumulate.is_multiple_of(groups) {
        return Ok(());
    }
    // Groups of one add up as no groups do.
    let single = groups == 1 || groups == accumulate;
    match accumulate.is_multiple_of(ranks) {
        true if kept && single => optim.groups = accumulate,
        true if !kept => optim.groups = ranks,
        _ if kept => {
            let most = if single { accumulate } else { groups };
            let possible = (1..=most).filter(|ranks| most.is_multiple_of(*ranks)).collect();
            return Err(Error::Begun { accumulate, groups, ranks, possible });
        }
        _ => return Err(Error::Uneven { videos: optim.total_batch(), accumulate, batch, ranks }),
    }
    Ok(())
}

/// One rank's part of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    /// Number of its first micro-batch in the step.
    pub first: usize,
    /// Its groups.
    pub groups: usize,
    /// Micro-batches of each.
    pub micros: usize,
    /// Whether gradients are summed on the host: those of other ranks, or of several groups.
    pub summed: bool,
    accumulate: usize,
}

impl Share {
    /// The part of rank `rank` of `ranks`.
    ///
    /// # Errors
    /// It cannot be shared out.
    pub fn of(optim: &OptimConfig, rank: usize, ranks: usize) -> Result<Share, Error> {
        let OptimConfig { accumulate, groups, batch, .. } = *optim;
        if !groups.is_multiple_of(ranks) || !accumulate.is_multiple_of(groups) {
            return Err(Error::Uneven { videos: optim.total_batch(), accumulate, batch, ranks });
        }
        if ranks == 1 && (groups == 1 || groups == accumulate) {
            // The GPU adds up as the host would.
            return Ok(Share { first: 0, groups: 1, micros: accumulate, summed: false, accumulate });
        }
        let (own, micros) = (groups / ranks, accumulate / groups);
        Ok(Share { first: rank * own * micros, groups: own, micros, summed: true, accumulate })
    }

    /// What the loader loads of it.
    pub fn shard(&self) -> Shard {
        Shard { first: self.first, take: self.groups * self.micros, of: self.accumulate }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipes;

    fn optim(batch: usize, accumulate: usize, groups: usize) -> OptimConfig {
        OptimConfig { batch, accumulate, groups, ..recipes::distill("mvd-tiny").unwrap().optim }
    }

    fn fitted(mut o: OptimConfig, flags: Flags, ranks: usize, begun: bool) -> Result<[usize; 3], String> {
        fit(&mut o, flags, ranks, begun).map(|()| [o.batch, o.accumulate, o.groups]).map_err(|e| e.to_string())
    }

    const NONE: Flags = Flags { batch: None, accumulate: None };

    #[test]
    fn a_new_run_keeps_the_videos_of_its_step() {
        assert_eq!(fitted(optim(16, 1, 1), NONE, 1, false), Ok([16, 1, 1]));
        assert_eq!(fitted(optim(16, 1, 1), NONE, 4, false), Ok([4, 4, 4]));
        assert_eq!(fitted(optim(8, 4, 1), NONE, 2, false), Ok([8, 4, 2]));
        assert_eq!(fitted(optim(8, 2, 1), NONE, 4, false), Ok([4, 4, 4]));
        // A config of a run of four ranks, by one and by two: the same numbers.
        assert_eq!(fitted(optim(8, 8, 4), NONE, 1, false), Ok([8, 8, 4]));
        assert_eq!(fitted(optim(8, 8, 4), NONE, 2, false), Ok([8, 8, 4]));
        let text = fitted(optim(16, 1, 1), NONE, 3, false).unwrap_err();
        assert!(text.starts_with("16 videos a step in 1 micro-batches of 16 cannot be shared out"), "{text}");
    }

    #[test]
    fn flags_count_for_each_rank() {
        let flags = |batch, accumulate| Flags { batch, accumulate };
        assert_eq!(fitted(optim(16, 1, 1), flags(Some(4), Some(2)), 2, false), Ok([4, 4, 2]));
        assert_eq!(fitted(optim(16, 1, 1), flags(Some(4), None), 2, false), Ok([4, 2, 2]));
        assert_eq!(fitted(optim(16, 4, 1), flags(None, Some(3)), 3, false), Ok([16, 9, 3]));
        assert_eq!(fitted(optim(16, 4, 1), flags(Some(2), None), 1, false), Ok([2, 4, 1]));
        assert!(fitted(optim(16, 5, 1), flags(Some(4), None), 2, false).is_err());
        // Also for a run that has begun, whatever its groups were.
        assert_eq!(fitted(optim(4, 4, 4), flags(None, Some(1)), 3, true), Ok([4, 3, 3]));
    }

    #[test]
    fn a_run_that_has_begun_keeps_its_bits_or_says_who_can() {
        assert_eq!(fitted(optim(4, 8, 4), NONE, 2, true), Ok([4, 8, 4]));
        assert_eq!(fitted(optim(4, 8, 4), NONE, 1, true), Ok([4, 8, 4]));
        assert_eq!(fitted(optim(4, 4, 1), NONE, 2, true), Ok([4, 4, 4]), "plain accumulation");
        assert_eq!(fitted(optim(4, 6, 6), NONE, 3, true), Ok([4, 6, 6]));
        let text = fitted(optim(4, 8, 4), NONE, 8, true).unwrap_err();
        assert!(text.contains("8 micro-batches in 4 groups") && text.contains("start 1, 2 or 4 ranks"), "{text}");
        let text = fitted(optim(4, 4, 1), NONE, 3, true).unwrap_err();
        assert!(text.contains("start 1, 2 or 4 ranks"), "{text}");
    }

    #[test]
    fn shares_are_neighbours_and_cover_the_step() {
        let share = |rank, ranks, accumulate, groups| Share::of(&optim(1, accumulate, groups), rank, ranks).unwrap();
        for (ranks, accumulate, groups) in [(1, 4, 1), (2, 8, 4), (4, 4, 4), (1, 8, 2), (2, 4, 2)] {
            let shares: Vec<Share> = (0..ranks).map(|rank| share(rank, ranks, accumulate, groups)).collect();
            let micros = shares.iter().flat_map(|s| s.first..s.first + s.groups * s.micros);
            assert_eq!(micros.collect::<Vec<_>>(), (0..accumulate).collect::<Vec<_>>());
        }
        assert!(!share(0, 1, 4, 4).summed && !share(0, 1, 4, 1).summed && share(0, 1, 4, 2).summed);
        assert_eq!(share(1, 2, 8, 4).shard(), Shard { first: 4, take: 4, of: 8 });
        assert!(Share::of(&optim(1, 4, 1), 0, 2).is_err());
    }
}
