//! RandAugment and colour jitter of fine-tuning: one draw a clip, the same operations on all of its frames.

mod pixel;
mod warp;

use std::fmt;
use std::str::FromStr;

use rand::seq::SliceRandom;
use rand::{Rng, RngExt};
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};

/// Upper end of timm's scale of magnitudes.
const LARGEST: f64 = 10.0;

/// RandAugment over timm's 15 operations that grow with magnitude, written as there: `rand-m7-n4-mstd0.5-inc1`, or
/// `none`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RandAugment {
    /// Mean magnitude, 0 to 10.
    pub magnitude: f64,
    /// Operations drawn for a clip, with replacement; 0: none.
    pub layers: usize,
    /// Standard deviation of the magnitude, drawn anew for every operation.
    pub std: f64,
    /// Share of the drawn operations that are applied.
    pub share: f64,
}

impl RandAugment {
    /// Nothing.
    pub const NONE: RandAugment = RandAugment { magnitude: 0.0, layers: 0, std: 0.0, share: SHARE };
    /// What the published classifiers were trained with.
    pub const PUBLISHED: RandAugment = RandAugment { magnitude: 7.0, layers: 4, std: 0.5, share: SHARE };
}

/// timm's share of the drawn operations that are applied, unless `p` says another.
const SHARE: f64 = 0.5;

impl fmt::Display for RandAugment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.layers == 0 {
            return f.write_str("none");
        }
        write!(f, "rand-m{}-n{}-mstd{}-inc1", self.magnitude, self.layers, self.std)?;
        if self.share == SHARE { Ok(()) } else { write!(f, "-p{}", self.share) }
    }
}

/// A text that is no RandAugment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected `none`, or `rand-m7-n4-mstd0.5-inc1` with m from 0 to 10 and, if need be, `-p` from 0 to 1, got `{0}`"
)]
pub struct NotRandAugment(String);

impl FromStr for RandAugment {
    type Err = NotRandAugment;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" {
            return Ok(RandAugment::NONE);
        }
        let parsed = text.strip_prefix("rand-").and_then(|fields| {
            // timm's defaults, but for the kind of operations, of which only one is here.
            let mut out = RandAugment { magnitude: LARGEST, layers: 2, std: 0.0, share: SHARE };
            let mut increasing = false;
            for field in fields.split('-') {
                let (key, value) = field.split_at(field.find(|c: char| c.is_ascii_digit())?);
                match key {
                    "m" => out.magnitude = value.parse().ok().filter(|m| (0.0..=LARGEST).contains(m))?,
                    "n" => out.layers = value.parse().ok().filter(|n| *n > 0)?,
                    "mstd" => out.std = value.parse().ok().filter(|s: &f64| s.is_finite())?,
                    "p" => out.share = value.parse().ok().filter(|p| (0.0..=1.0).contains(p))?,
                    "inc" => increasing = value == "1",
                    _ => return None,
                }
            }
            increasing.then_some(out)
        });
        parsed.ok_or_else(|| NotRandAugment(text.to_owned()))
    }
}

impl TryFrom<String> for RandAugment {
    type Error = NotRandAugment;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<RandAugment> for String {
    fn from(augment: RandAugment) -> String {
        augment.to_string()
    }
}

/// An operation ready to be applied to every frame of a clip.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Op {
    /// Each channel stretched to the whole range.
    AutoContrast,
    /// Each channel's histogram flattened.
    Equalize,
    /// Negative.
    Invert,
    /// Degrees, counterclockwise around the centre.
    Rotate(f64),
    /// High bits kept of each value.
    Posterize(u32),
    /// Values from this one on are inverted.
    Solarize(u32),
    /// Added to values in the lower half.
    SolarizeAdd(u32),
    /// Factor of the distance from grey of the same brightness.
    Color(f64),
    /// Factor of the distance from the frame's mean grey.
    Contrast(f64),
    /// Factor of every value.
    Brightness(f64),
    /// Factor of the distance from the smoothed frame.
    Sharpness(f64),
    /// Pixels a row moves against the one above.
    ShearX(f64),
    /// Pixels a column moves against the one to its left.
    ShearY(f64),
    /// Share of the width to the left.
    TranslateX(f64),
    /// Share of the height upwards.
    TranslateY(f64),
}

/// timm's increasing set: each operation from its level (0 to 1) and a sign drawn at random.
const KINDS: [fn(f64, f64) -> Op; 15] = [
    |_, _| Op::AutoContrast,
    |_, _| Op::Equalize,
    |_, _| Op::Invert,
    |level, sign| Op::Rotate(sign * 30.0 * level),
    |level, _| Op::Posterize(4 - (level * 4.0) as u32),
    |level, _| Op::Solarize(256 - (level * 256.0) as u32),
    |level, _| Op::SolarizeAdd((level * 110.0) as u32),
    |level, sign| Op::Color(1.0 + sign * 0.9 * level),
    |level, sign| Op::Contrast(1.0 + sign * 0.9 * level),
    |level, sign| Op::Brightness(1.0 + sign * 0.9 * level),
    |level, sign| Op::Sharpness(1.0 + sign * 0.9 * level),
    |level, sign| Op::ShearX(sign * 0.3 * level),
    |level, sign| Op::ShearY(sign * 0.3 * level),
    |level, sign| Op::TranslateX(sign * 0.45 * level),
    |level, sign| Op::TranslateY(sign * 0.45 * level),
];

/// Draws the operations of one clip.
pub(super) fn draw(augment: &RandAugment, rng: &mut impl Rng) -> Vec<Op> {
    let mut ops = Vec::new();
    for _ in 0..augment.layers {
        let kind = KINDS[rng.random_range(0..KINDS.len())];
        if !rng.random_bool(augment.share) {
            continue;
        }
        let noise: f64 = StandardNormal.sample(rng);
        let magnitude = (augment.magnitude + augment.std * noise).clamp(0.0, LARGEST);
        ops.push(kind(magnitude / LARGEST, if rng.random_bool(0.5) { -1.0 } else { 1.0 }));
    }
    ops
}

/// Draws a colour jitter, as torchvision's `ColorJitter` of brightness, contrast and saturation: factors from
/// `1 - strength` to `1 + strength`, in random order.
pub(super) fn jitter(strength: f64, rng: &mut impl Rng) -> Vec<Op> {
    if strength <= 0.0 {
        return Vec::new();
    }
    let mut factor = || rng.random_range((1.0 - strength).max(0.0)..=1.0 + strength);
    let mut ops = vec![Op::Brightness(factor()), Op::Contrast(factor()), Op::Color(factor())];
    ops.shuffle(rng);
    ops
}

/// Applies operations to a frame `(height, width, 3)`, as PIL does.
pub(super) fn apply(ops: &[Op], rgb: &mut Vec<u8>, width: usize, height: usize) {
    let mut made = Vec::new();
    for op in ops {
        match *op {
            Op::AutoContrast => pixel::auto_contrast(rgb),
            Op::Equalize => pixel::equalize(rgb),
            Op::Invert => pixel::map(rgb, |v| 255 - v),
            Op::Posterize(bits) => pixel::map(rgb, |v| v & (0xff00u32 >> bits)),
            Op::Solarize(from) => pixel::map(rgb, |v| if v < from { v } else { 255 - v }),
            Op::SolarizeAdd(more) => pixel::map(rgb, |v| if v < 128 { v + more } else { v }),
            Op::Color(factor) => pixel::color(rgb, factor as f32),
            Op::Contrast(factor) => pixel::contrast(rgb, factor as f32),
            Op::Brightness(factor) => pixel::map(rgb, |v| u32::from(pixel::blend(0, v as u8, factor as f32))),
            Op::Sharpness(factor) => {
                made.clone_from(rgb);
                pixel::sharpness(rgb, &made, width, factor as f32);
            }
            Op::Rotate(_) | Op::ShearX(_) | Op::ShearY(_) | Op::TranslateX(_) | Op::TranslateY(_) => {
                warp::affine(rgb, width, height, warp::matrix(*op, width, height), &mut made);
                std::mem::swap(rgb, &mut made);
            }
        }
    }
}

#[cfg(test)]
mod tests;
