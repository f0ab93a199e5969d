//! `--accumulate auto`: the recipe's whole batch from micro-batches that fit in memory.

use crate::config::OptimConfig;

/// No micro-batch fits.
#[derive(Debug, thiserror::Error)]
#[error(
    "--accumulate auto: a micro-batch of {batch} is planned to take {needed} bytes, --memory allows {memory}; give more, \
     or try a smaller model"
)]
pub struct Error {
    /// The smallest micro-batch there is.
    pub batch: usize,
    /// Bytes that it needs.
    pub needed: usize,
    /// Bytes allowed.
    pub memory: usize,
}

/// The same optimiser and whole batch, in the largest micro-batches that divide it among `ranks` processes and are planned to
/// take at most `memory` bytes; `planned` gives the bytes of a step of one.
///
/// # Errors
/// The smallest takes more, or `planned` fails.
pub fn fit<E: From<Error>>(
    optim: &OptimConfig,
    memory: usize,
    ranks: usize,
    mut planned: impl FnMut(&OptimConfig) -> Result<usize, E>,
) -> Result<OptimConfig, E> {
    let total = optim.total_batch();
    let of = |batch: usize| OptimConfig { batch, accumulate: total / batch, ..optim.clone() };
    let mut candidates = (1..=total).filter(|batch| total.is_multiple_of(batch * ranks));
    let Some(least) = candidates.next() else { return Ok(optim.clone()) };
    let needed = planned(&of(least))?;
    if needed > memory {
        return Err(Error { batch: least, needed, memory }.into());
    }
    // One after the other: a batch far too large has tensors that cannot even be described.
    let mut best = least;
    for batch in candidates {
        if planned(&of(batch))? > memory {
            break;
        }
        best = batch;
    }
    Ok(of(best))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipes;

    #[test]
    fn the_whole_batch_stays_and_the_largest_part_that_fits_is_taken() {
        let optim = OptimConfig { batch: 384, ..recipes::finetune("mvd-small-finetune-k400").unwrap().optim };
        let parts = |memory| {
            let fitted = fit(&optim, memory, 1, |o| Ok::<_, Error>(100 + 10 * o.batch)).unwrap();
            (fitted.batch, fitted.accumulate)
        };
        assert_eq!(parts(190), (8, 48));
        assert_eq!((parts(180), parts(110)), ((8, 48), (1, 384)), "just as much as there is");
        assert_eq!(parts(169), (6, 64));
        assert_eq!(parts(1 << 20), (384, 1));
        let shared = fit(&optim, 1 << 20, 4, |_| Ok::<_, Error>(0)).unwrap();
        assert_eq!((shared.batch, shared.accumulate), (96, 4));
        let error = fit(&optim, 109, 1, |o| Ok::<_, Error>(100 + 10 * o.batch)).unwrap_err();
        assert!(error.to_string().contains("a micro-batch of 1 is planned to take 110 bytes"), "{error}");
    }
}
