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

/// What of a frame becomes a clip's: in pixels, not always whole ones.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Window {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
    /// Cut out before it is resized: pixels beside it have no part in its edge.
    cut: bool,
}

impl From<Region> for Window {
    fn from(region: Region) -> Window {
        let [x, y, width, height] = [region.x, region.y, region.width, region.height].map(|v| v as f64);
        Window { x, y, width, height, cut: true }
    }
}

/// A test's square `index` of `count` along the long side, as the official programs cut it: they resize the frame until
/// its short side is `size`, then cut squares of `size` at whole pixels; one alone is from the middle.
pub(super) fn square(width: usize, height: usize, size: usize, (index, count): (usize, usize)) -> Window {
    let short = width.min(height).max(1);
    let long = if short == size { width.max(height) } else { size * width.max(height) / short };
    let slack = long - size;
    let at = if count > 1 { slack * index / (count - 1) } else { (slack as f64 / 2.0).round_ties_even() as usize };
    let scale = width.max(height) as f64 / long as f64;
    let (from, length) = (at as f64 * scale, size as f64 * scale);
    let (x, y, width, height) = match width > height {
        true => (from, 0.0, length, height as f64),
        false => (0.0, from, width as f64, length),
    };
    Window { x, y, width, height, cut: false }
}

/// How pixels are made from pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filter {
    /// Bilinear with antialiasing, as PIL's.
    Bilinear,
    /// Bicubic with antialiasing, as PIL's.
    Bicubic,
    /// Bilinear between four neighbours, whatever the scale: PyTorch's `interpolate`, OpenCV's `INTER_LINEAR`.
    Plain,
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

/// Resizes a region of `rgb` (rows of `width` pixels) into `out` of a width and height, bilinear with antialiasing.
pub(super) fn resize(
    resizer: &mut Resizer,
    frame: (&[u8], usize, usize),
    region: Region,
    size: (usize, usize),
    out: &mut [u8],
) -> Result<(), String> {
    resample(resizer, frame, region.into(), Filter::Bilinear, size, out)
}

/// Resizes a window of `rgb` (rows of `width` pixels) into `out` of a width and height.
pub(super) fn resample(
    resizer: &mut Resizer,
    (rgb, width, height): (&[u8], usize, usize),
    window: Window,
    filter: Filter,
    (new_width, new_height): (usize, usize),
    out: &mut [u8],
) -> Result<(), String> {
    let source = ImageRef::new(width as u32, height as u32, rgb, PixelType::U8x3).map_err(|e| e.to_string())?;
    let target = Image::from_slice_u8(new_width as u32, new_height as u32, out, PixelType::U8x3);
    let mut target = target.map_err(|e| e.to_string())?;
    let options = ResizeOptions::new().resize_alg(match filter {
        Filter::Bilinear => ResizeAlg::Convolution(FilterType::Bilinear),
        Filter::Bicubic => ResizeAlg::Convolution(FilterType::CatmullRom),
        Filter::Plain => ResizeAlg::Interpolation(FilterType::Bilinear),
    });
    let Window { x, y, width, height, cut } = window;
    if cut {
        let source = CroppedImage::new(&source, x as u32, y as u32, width as u32, height as u32);
        resizer.resize(&source.map_err(|e| e.to_string())?, &mut target, &options).map_err(|e| e.to_string())
    } else {
        resizer.resize(&source, &mut target, &options.crop(x, y, width, height)).map_err(|e| e.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

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

    /// Of the official `GroupMultiScaleCrop`, on a frame whose quarters are no whole pixels.
    #[test]
    fn multi_scale_crops_have_the_official_sizes_and_places() {
        let mut rng = rng(5, 0, 0, 0);
        // 222 is near enough to 224 to be taken in its place.
        let cases: [(usize, f64, &[usize]); 3] = [
            (222, LEAST_SCALE, &[256, 222, 192, 168]),
            (221, LEAST_SCALE, &[256, 224, 192, 168]),
            (221, 0.75, &[256, 224, 192]),
        ];
        for (target, least, sides) in cases {
            let (mut sizes, mut places) = (BTreeSet::new(), BTreeSet::new());
            for _ in 0..2000 {
                let Region { x, y, width, height } = multi_scale(342, 256, target, least, &mut rng);
                sizes.insert((width, height));
                let (across, down) = ((342 - width) / 4, (256 - height) / 4);
                let place = (x / across, y.checked_div(down).unwrap_or(0));
                assert_eq!((x, y), (place.0 * across, place.1 * down));
                if down > 0 {
                    places.insert(place);
                }
            }
            let near = |(i, j): &(usize, usize)| i.abs_diff(*j) <= 1;
            let all = (0..sides.len()).flat_map(|i| (0..sides.len()).map(move |j| (i, j))).filter(near);
            assert_eq!(sizes, all.map(|(i, j)| (sides[i], sides[j])).collect::<BTreeSet<_>>(), "{target} {least}");
            assert_eq!(places.len(), 13, "{places:?}");
        }
    }

    #[test]
    fn resized_crops_are_spread_over_areas_and_ratios() {
        let mut rng = rng(6, 0, 0, 0);
        let crops: Vec<Region> = (0..1000).map(|_| random_resized(400, 400, 0.08, &mut rng)).collect();
        let ends = |of: fn(&Region) -> f64| {
            let values = crops.iter().map(of);
            (values.clone().fold(f64::INFINITY, f64::min), values.fold(0.0, f64::max))
        };
        let (least, most) = ends(|crop| (crop.width * crop.height) as f64 / 160_000.0);
        assert!((0.075..0.1).contains(&least) && most > 0.9, "{least} {most}");
        let (least, most) = ends(|crop| crop.width as f64 / crop.height as f64);
        assert!((0.73..0.77).contains(&least) && (1.3..1.36).contains(&most), "{least} {most}");
        // No such crop fits: the largest of a ratio that is allowed, from the middle.
        let wide = Region { x: 193, y: 0, width: 13, height: 10 };
        assert_eq!(random_resized(400, 10, 1.0, &mut rng), wide);
        let high = Region { x: 0, y: 193, width: 10, height: 13 };
        assert_eq!(random_resized(10, 400, 1.0, &mut rng), high);
    }

    /// A frame of noise.
    fn noise(width: usize, height: usize) -> Vec<u8> {
        let mut rng = rng(7, 0, 0, 0);
        (0..width * height * 3).map(|_| rng.random()).collect()
    }

    fn resized(rgb: &[u8], of: (usize, usize), window: Window, filter: Filter, to: (usize, usize)) -> Vec<u8> {
        let mut out = vec![0; to.0 * to.1 * 3];
        resample(&mut Resizer::new(), (rgb, of.0, of.1), window, filter, to, &mut out).unwrap();
        out
    }

    /// The largest difference of two pictures.
    fn apart(a: &[u8], b: &[u8]) -> u8 {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
    }

    #[test]
    fn test_crops_are_squares_of_the_resized_frame() {
        let rgb = noise(85, 64);
        let all = Window::from(Region { x: 0, y: 0, width: 85, height: 64 });
        // 56 * 85 / 64 = 74.4 columns.
        let whole = resized(&rgb, (85, 64), all, Filter::Plain, (74, 56));
        for (index, left) in [0, 9, 18].into_iter().enumerate() {
            let got = resized(&rgb, (85, 64), square(85, 64, 56, (index, 3)), Filter::Plain, (56, 56));
            let rows = whole.chunks_exact(74 * 3);
            let expected: Vec<u8> = rows.flat_map(|row| row[left * 3..(left + 56) * 3].to_vec()).collect();
            assert!(apart(&got, &expected) <= 1, "square {index}");
        }
        let Window { x, y, width, height, .. } = square(100, 300, 100, (0, 1));
        assert_eq!([x, y, width, height], [0.0, 100.0, 100.0, 100.0]);
        // Half a pixel goes to the even side, as Python rounds.
        assert_eq!([101, 103].map(|width| square(width, 100, 100, (0, 1)).x), [0.0, 2.0]);
    }

    /// Against the formula of PyTorch's `interpolate(mode="bilinear", align_corners=False)`.
    #[test]
    fn plain_bilinear_takes_four_neighbours_at_any_scale() {
        let (width, height) = (23, 17);
        let rgb = noise(width, height);
        let all = Window::from(Region { x: 0, y: 0, width, height });
        for (to_width, to_height) in [(5, 6), (40, 31)] {
            let got = resized(&rgb, (width, height), all, Filter::Plain, (to_width, to_height));
            let place = |to: usize, size: usize, of: usize| {
                let at = ((to as f64 + 0.5) * of as f64 / size as f64 - 0.5).max(0.0);
                let first = at as usize;
                (first, (first + 1).min(of - 1), at - first as f64)
            };
            let mut expected = Vec::new();
            for y in 0..to_height {
                let (top, bottom, down) = place(y, to_height, height);
                for x in 0..to_width {
                    let (left, right, across) = place(x, to_width, width);
                    for c in 0..3 {
                        let at = |y: usize, x: usize| f64::from(rgb[(y * width + x) * 3 + c]);
                        let row = |y| at(y, left) * (1.0 - across) + at(y, right) * across;
                        expected.push((row(top) * (1.0 - down) + row(bottom) * down).round() as u8);
                    }
                }
            }
            // Rounded once more between rows and columns.
            assert!(apart(&got, &expected) <= 1);
        }
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
        for filter in [Filter::Bilinear, Filter::Bicubic, Filter::Plain] {
            for size in [5, 16] {
                let out = resized(&rgb, (20, 10), region.into(), filter, (size, size));
                assert_eq!(out, [10u8, 200, 77].repeat(size * size), "{filter:?}");
            }
        }
    }
}
