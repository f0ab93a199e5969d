//! Cropping and resizing frames.

use fast_image_resize::images::{CroppedImage, Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use rand::{Rng, RngExt};

/// A region of a frame in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// Left edge.
    pub x: usize,
    /// Top edge.
    pub y: usize,
    /// Pixels a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

/// Shares of the short side that a crop's sides may have.
const SCALES: [f64; 4] = [1.0, 0.875, 0.75, LEAST_SCALE];

/// The least of them.
pub const LEAST_SCALE: f64 = 0.66;

/// MVD's multi-scale crop: both sides among those `SCALES` of the short side that are `least` or more, at most one step
/// apart, at one of 13 places (corners, centre and between). Sides within 3 pixels of `target` are snapped to it, as
/// the reference does.
pub fn multi_scale(width: usize, height: usize, target: usize, least: f64, rng: &mut impl Rng) -> Region {
    let short = width.min(height);
    let side = |scale: f64| {
        let side = ((short as f64 * scale) as usize).max(1);
        if side.abs_diff(target) < 3 && target <= short { target } else { side }
    };
    let mut pairs = Vec::new();
    let scales = || SCALES.iter().enumerate().take_while(|(_, scale)| **scale >= least);
    for (i, &h) in scales() {
        for (j, &w) in scales() {
            if i.abs_diff(j) <= 1 {
                pairs.push((side(w), side(h)));
            }
        }
    }
    let (w, h) = pairs[rng.random_range(0..pairs.len())];
    const PLACES: [(usize, usize); 13] =
        [(0, 0), (4, 0), (0, 4), (4, 4), (2, 2), (0, 2), (4, 2), (2, 4), (2, 0), (1, 1), (3, 1), (1, 3), (3, 3)];
    let (px, py) = PLACES[rng.random_range(0..PLACES.len())];
    Region { x: (width - w) / 4 * px, y: (height - h) / 4 * py, width: w, height: h }
}

/// Ratio of sides of a random resized crop, as Inception's.
const RATIO: [f64; 2] = [3.0 / 4.0, 4.0 / 3.0];

/// Torchvision's random resized crop: ten tries at a share of the area, `least` to 1, and a ratio of sides, then the
/// largest centred one.
pub fn random_resized(width: usize, height: usize, least: f64, rng: &mut impl Rng) -> Region {
    let (w, h) = (width as f64, height as f64);
    for _ in 0..10 {
        let area = w * h * rng.random_range(least..=1.0);
        let ratio = rng.random_range(RATIO[0].ln()..=RATIO[1].ln()).exp();
        let side = |area: f64| area.sqrt().round() as usize;
        let (cw, ch) = (side(area * ratio), side(area / ratio));
        if (1..=width).contains(&cw) && (1..=height).contains(&ch) {
            let (x, y) = (rng.random_range(0..=width - cw), rng.random_range(0..=height - ch));
            return Region { x, y, width: cw, height: ch };
        }
    }
    let ratio = (w / h).clamp(RATIO[0], RATIO[1]);
    let (cw, ch) = ((h * ratio).round().min(w).max(1.0) as usize, (w / ratio).round().min(h).max(1.0) as usize);
    Region { x: (width - cw) / 2, y: (height - ch) / 2, width: cw, height: ch }
}

/// Square `index` of `count` along the long side, as wide as the short one: a test's crops.
pub fn square(width: usize, height: usize, index: usize, count: usize) -> Region {
    let side = width.min(height);
    let slack = width.max(height) - side;
    let at = if count > 1 { slack * index / (count - 1) } else { slack / 2 };
    let (x, y) = if width > height { (at, 0) } else { (0, at) };
    Region { x, y, width: side, height: side }
}

/// Mirrors a frame `(height, width, 3)` in place.
pub(super) fn mirror(rgb: &mut [u8], width: usize) {
    for row in rgb.chunks_exact_mut(3 * width) {
        for x in 0..width / 2 {
            for c in 0..3 {
                row.swap(3 * x + c, 3 * (width - 1 - x) + c);
            }
        }
    }
}

/// Resizes a region of `rgb` (rows of `width` pixels) into `out` of a width and height, bilinear with antialiasing as PIL's.
/// As there, the region is cut out first: pixels beside it have no part in its edge.
pub(super) fn resize(
    resizer: &mut Resizer,
    (rgb, width, height): (&[u8], usize, usize),
    region: Region,
    (new_width, new_height): (usize, usize),
    out: &mut [u8],
) -> Result<(), String> {
    let source = ImageRef::new(width as u32, height as u32, rgb, PixelType::U8x3).map_err(|e| e.to_string())?;
    let Region { x, y, width, height } = region;
    let source = CroppedImage::new(&source, x as u32, y as u32, width as u32, height as u32);
    let source = source.map_err(|e| e.to_string())?;
    let target = Image::from_slice_u8(new_width as u32, new_height as u32, out, PixelType::U8x3);
    let mut target = target.map_err(|e| e.to_string())?;
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    resizer.resize(&source, &mut target, &options).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::rng;

    #[test]
    fn crops_lie_within_the_frame() {
        let mut rng = rng(3, 0, 0, 0);
        for (width, height) in [(340, 256), (64, 64), (33, 97), (1, 5)] {
            for _ in 0..200 {
                for r in [
                    multi_scale(width, height, 224, LEAST_SCALE, &mut rng),
                    random_resized(width, height, 0.08, &mut rng),
                ] {
                    assert!(r.width > 0 && r.x + r.width <= width, "{r:?}");
                    assert!(r.height > 0 && r.y + r.height <= height, "{r:?}");
                }
            }
        }
    }

    #[test]
    fn test_crops_span_the_long_side() {
        let at = |i| square(340, 256, i, 3);
        assert_eq!([at(0).x, at(1).x, at(2).x], [0, 42, 84]);
        assert_eq!(square(100, 300, 0, 1), Region { x: 0, y: 100, width: 100, height: 100 });
    }

    #[test]
    fn mirrored_twice_is_the_same() {
        let rgb: Vec<u8> = (0..2 * 5 * 3).collect();
        let mut out = rgb.clone();
        mirror(&mut out, 5);
        assert_eq!(out[..6], [12, 13, 14, 9, 10, 11]);
        mirror(&mut out, 5);
        assert_eq!(out, rgb);
    }

    #[test]
    fn what_lies_beside_a_region_has_no_part_in_it() {
        let region = Region { x: 3, y: 1, width: 9, height: 7 };
        let inside = |i: usize| (3..12).contains(&(i % 20)) && (1..8).contains(&(i / 20));
        let rgb: Vec<u8> = (0..200).flat_map(|i| if inside(i) { [10, 200, 77] } else { [255, 0, 255] }).collect();
        for size in [5, 16] {
            let mut out = vec![0; size * size * 3];
            resize(&mut Resizer::new(), (&rgb, 20, 10), region, (size, size), &mut out).unwrap();
            assert_eq!(out, [10u8, 200, 77].repeat(size * size));
        }
    }
}
