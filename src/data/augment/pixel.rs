//! Operations on values and neighbours. Rounding and clamping are PIL's.

/// Maps every value; results over 255 are cut.
pub(super) fn map(rgb: &mut [u8], to: impl Fn(u32) -> u32) {
    let table: [u8; 256] = std::array::from_fn(|v| to(v as u32).min(255) as u8);
    rgb.iter_mut().for_each(|v| *v = table[usize::from(*v)]);
}

/// Maps every value by a table of its channel's histogram.
fn by_histogram(rgb: &mut [u8], table: impl Fn(&[usize; 256]) -> Option<[u8; 256]>) {
    let mut counts = [[0; 256]; 3];
    for pixel in rgb.chunks_exact(3) {
        for (count, v) in counts.iter_mut().zip(pixel) {
            count[usize::from(*v)] += 1;
        }
    }
    for (channel, count) in counts.iter().enumerate() {
        if let Some(table) = table(count) {
            rgb[channel..].iter_mut().step_by(3).for_each(|v| *v = table[usize::from(*v)]);
        }
    }
}

/// Stretches each channel to the whole range; one of a single value stays.
pub(super) fn auto_contrast(rgb: &mut [u8]) {
    by_histogram(rgb, |counts| {
        let low = counts.iter().position(|n| *n > 0)?;
        let high = counts.iter().rposition(|n| *n > 0).filter(|high| *high > low)?;
        let scale = 255.0 / (high - low) as f64;
        Some(std::array::from_fn(|v| (v as f64 * scale - low as f64 * scale) as u8))
    });
}

/// Flattens each channel's histogram; one of a single value, or of few pixels, stays.
pub(super) fn equalize(rgb: &mut [u8]) {
    by_histogram(rgb, |counts| {
        let last = counts.iter().rfind(|n| **n > 0)?;
        let step = (counts.iter().sum::<usize>() - last) / 255;
        let mut sum = step / 2;
        (step > 0).then(|| {
            std::array::from_fn(|v| {
                let level = sum / step;
                sum += counts[v];
                level.min(255) as u8
            })
        })
    });
}

/// `from + factor (to - from)`, cut to the range of a value.
pub(super) fn blend(from: u8, to: u8, factor: f32) -> u8 {
    // A cast rounds down and cuts what is out of range.
    (f32::from(from) + factor * (f32::from(to) - f32::from(from))) as u8
}

/// Brightness by BT.601's weights.
fn grey(pixel: &[u8]) -> u8 {
    let weighted = [19595, 38470, 7471].iter().zip(pixel).map(|(w, v)| w * u32::from(*v)).sum::<u32>();
    ((weighted + 0x8000) >> 16) as u8
}

/// Moves colours from or to grey.
pub(super) fn color(rgb: &mut [u8], factor: f32) {
    for pixel in rgb.chunks_exact_mut(3) {
        let grey = grey(pixel);
        pixel.iter_mut().for_each(|v| *v = blend(grey, *v, factor));
    }
}

/// Moves values from or to the mean grey.
pub(super) fn contrast(rgb: &mut [u8], factor: f32) {
    let sum: u64 = rgb.chunks_exact(3).map(|pixel| u64::from(grey(pixel))).sum();
    let mean = sum as f64 / (rgb.len() / 3).max(1) as f64;
    let mean = (mean + 0.5) as u8;
    map(rgb, |v| u32::from(blend(mean, v as u8, factor)));
}

/// Moves values from or to those of the smoothed frame: `original` holds the frame. Its border has no smoothed values
/// and stays.
pub(super) fn sharpness(rgb: &mut [u8], original: &[u8], width: usize, factor: f32) {
    let row = 3 * width;
    let height = original.len() / row.max(1);
    for y in 1..height.saturating_sub(1) {
        for at in y * row + 3..(y + 1) * row - 3 {
            let around =
                |at: usize| f32::from(original[at - 3]) + f32::from(original[at]) + f32::from(original[at + 3]);
            let sum = around(at - row) + around(at) + around(at + row) + 4.0 * f32::from(original[at]);
            rgb[at] = blend((sum / 13.0 + 0.5) as u8, original[at], factor);
        }
    }
}
