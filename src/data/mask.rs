//! Which tokens the student does not see.

use rand::Rng;
use rand::seq::SliceRandom;

use super::error::{Error, Result};

/// How masked tokens are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum MaskKind {
    /// One random 2-D mask, repeated over time.
    Tube,
    /// Over all tokens, `int(ratio * tokens)` of them.
    Random,
    /// Over all tokens, of which `int((1 - ratio) * tokens)` stay: ST-MAE's, which may mask one more.
    Agnostic,
}

/// A checked masking: every sample has the same number of masked tokens.
#[derive(Debug, Clone, Copy)]
pub struct MaskConfig {
    kind: MaskKind,
    grid: [usize; 3],
    /// Masked tokens a frame (tube) or a clip (random, agnostic).
    each: usize,
}

/// The tokens of one sample, in (t, h, w) order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// Indices of visible tokens.
    pub visible: Vec<u32>,
    /// Indices of masked tokens.
    pub masked: Vec<u32>,
}

impl MaskConfig {
    /// Masks a share of each frame's (tube) or the clip's (random, agnostic) tokens; grid (t, h, w).
    ///
    /// # Errors
    /// A ratio that masks no token or all of them.
    pub fn new(kind: MaskKind, ratio: f64, grid: [usize; 3]) -> Result<Self> {
        let all = match kind {
            MaskKind::Tube => grid[1] * grid[2],
            MaskKind::Random | MaskKind::Agnostic => grid.iter().product(),
        };
        let each = match kind {
            MaskKind::Tube | MaskKind::Random => (ratio * all as f64) as usize,
            MaskKind::Agnostic => all - (((1.0 - ratio) * all as f64) as usize).min(all),
        };
        if !(ratio > 0.0 && ratio < 1.0) || each == 0 || each >= all {
            return Err(Error::Mask { ratio, masked: each.min(all), all });
        }
        Ok(MaskConfig { kind, grid, each })
    }

    /// Masked tokens M of a clip.
    pub fn masked(&self) -> usize {
        match self.kind {
            MaskKind::Tube => self.each * self.grid[0],
            MaskKind::Random | MaskKind::Agnostic => self.each,
        }
    }

    /// Draws one sample's tokens.
    pub fn draw(&self, rng: &mut impl Rng) -> Tokens {
        let [t, h, w] = self.grid;
        let (plane, repeats) = match self.kind {
            MaskKind::Tube => (h * w, t),
            MaskKind::Random | MaskKind::Agnostic => (t * h * w, 1),
        };
        let mut mask = vec![false; plane];
        mask[..self.each].fill(true);
        mask.shuffle(rng);
        let of = |wanted: bool| (0..plane * repeats).filter(|i| mask[i % plane] == wanted).map(|i| i as u32).collect();
        Tokens { visible: of(false), masked: of(true) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::rng;

    #[test]
    fn a_tube_is_the_same_in_every_frame() {
        let mask = MaskConfig::new(MaskKind::Tube, 0.9, [8, 14, 14]).unwrap();
        let tokens = mask.draw(&mut rng(1, 0, 0, 0));
        assert_eq!(tokens.masked.len(), 8 * 176);
        assert_eq!(tokens.masked.len(), mask.masked());
        assert_eq!(tokens.visible.len(), 8 * 20);
        let first: Vec<u32> = tokens.visible[..20].to_vec();
        for (t, frame) in tokens.visible.chunks(20).enumerate() {
            assert!(frame.iter().zip(&first).all(|(a, b)| *a == b + 196 * t as u32));
        }
    }

    #[test]
    fn random_masks_differ_between_samples_and_cover_all_tokens() {
        let mask = MaskConfig::new(MaskKind::Random, 0.75, [4, 4, 4]).unwrap();
        let (a, b) = (mask.draw(&mut rng(1, 0, 0, 0)), mask.draw(&mut rng(1, 0, 1, 0)));
        assert_ne!(a, b);
        let mut all: Vec<u32> = a.visible.iter().chain(&a.masked).copied().collect();
        all.sort_unstable();
        assert_eq!(all, (0..64).collect::<Vec<_>>());
    }

    #[test]
    fn the_share_is_rounded_down_as_official() {
        assert_eq!(MaskConfig::new(MaskKind::Random, 0.75, [1, 3, 3]).unwrap().masked(), 6);
        assert_eq!(MaskConfig::new(MaskKind::Tube, 0.9, [2, 3, 3]).unwrap().masked(), 16);
    }

    #[test]
    fn st_mae_counts_what_stays() {
        let masked = |kind, grid| MaskConfig::new(kind, 0.9, grid).unwrap().masked();
        assert_eq!(masked(MaskKind::Random, [8, 14, 14]), 1411);
        // int(1568 * (1 - 0.9)) is 156.
        assert_eq!(masked(MaskKind::Agnostic, [8, 14, 14]), 1412);
        assert_eq!(masked(MaskKind::Agnostic, [4, 4, 4]), 58);
        let tokens = MaskConfig::new(MaskKind::Agnostic, 0.9, [4, 4, 4]).unwrap().draw(&mut rng(1, 0, 0, 0));
        assert_eq!((tokens.visible.len(), tokens.masked.len()), (6, 58));
    }

    #[test]
    fn ratios_that_mask_nothing_or_all_are_refused() {
        for ratio in [0.0, 1.0, -0.5, 1.5, 0.01, f64::NAN] {
            let error = MaskConfig::new(MaskKind::Tube, ratio, [4, 4, 4]).unwrap_err().to_string();
            assert!(error.contains("mask ratio"), "{error}");
        }
    }
}
