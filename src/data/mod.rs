//! Data: lists and folders of videos, decoding, sampling, cropping, masks, and the loader that feeds training.
//!
//! All randomness is a function of (seed, epoch, position), so a run repeats whatever the number of threads.

mod augment;
pub mod bench;
pub mod check;
mod crop;
mod dataset;
mod error;
mod folder;
mod index;
mod items;
mod list;
mod loader;
mod mask;
pub mod mix;
mod names;
pub mod prepare;
mod sample;
pub mod synth;
pub mod video;

pub use augment::{NotRandAugment, RandAugment};
pub use crop::{LEAST_SCALE, multi_scale, random_resized};
pub use dataset::{Dataset, Labels, Source};
pub use error::{Error, Result};
pub use folder::Passed;
pub use index::Index;
pub(crate) use index::stamp;
pub use items::{Item, Items, Part};
pub(crate) use list::field as csv_field;
pub use loader::{Batch, Loader, LoaderConfig, Position, Shard};
pub use mask::{MaskConfig, MaskKind, Tokens};
pub use names::{Known as KnownClasses, read_names};
pub use sample::{Clip, ClipConfig, Training, View, frame_ranks};
pub(crate) use sample::{Cutter, draw, draw_all};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// The generator of one purpose: a stream of its own for every (seed, epoch, position, purpose).
pub(crate) fn rng(seed: u64, epoch: usize, position: usize, purpose: u64) -> ChaCha8Rng {
    let mut key = [0u8; 32];
    for (bytes, part) in key.as_chunks_mut::<8>().0.iter_mut().zip([seed, epoch as u64, position as u64, purpose]) {
        *bytes = part.to_le_bytes();
    }
    ChaCha8Rng::from_seed(key)
}

#[cfg(test)]
mod tests {
    use rand::RngExt as _;

    use super::rng;

    #[test]
    fn every_seed_place_and_purpose_has_a_stream_of_its_own() {
        let first = |[seed, epoch, position, purpose]: [u64; 4]| -> u64 {
            rng(seed, epoch as usize, position as usize, purpose).random()
        };
        let all = [[0; 4], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]].map(first);
        assert!((1..5).all(|i| !all[..i].contains(&all[i])), "{all:?}");
    }
}
