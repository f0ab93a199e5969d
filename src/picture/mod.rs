//! Pictures in memory: sheets of frames, heat maps, charts, and their PNG files.

pub mod chart;

use std::io::Cursor;
use std::path::Path;

/// An RGB picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Pixels a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// (height, width, 3)
    pub rgb: Vec<u8>,
}

/// Pixels between the pictures of a sheet.
const GAP: usize = 2;

impl Picture {
    /// A picture of one colour.
    pub fn new(width: usize, height: usize, colour: [u8; 3]) -> Self {
        Picture { width, height, rgb: colour.repeat(width * height) }
    }

    /// Copies another picture in, its upper left corner at (x, y); what lies outside is left out.
    pub fn put(&mut self, x: usize, y: usize, other: &Picture) {
        let columns = other.width.min(self.width.saturating_sub(x));
        for row in 0..other.height.min(self.height.saturating_sub(y)) {
            let (to, from) = (3 * ((y + row) * self.width + x), 3 * row * other.width);
            self.rgb[to..to + 3 * columns].copy_from_slice(&other.rgb[from..from + 3 * columns]);
        }
    }

    /// Each pixel as a square of `times` x `times`.
    pub fn enlarged(&self, times: usize) -> Picture {
        let (width, height) = (self.width * times, self.height * times);
        let pixel = |i: usize| {
            let (x, y) = (i % width / times, i / width / times);
            let at = 3 * (y * self.width + x);
            [self.rgb[at], self.rgb[at + 1], self.rgb[at + 2]]
        };
        Picture { width, height, rgb: (0..width * height).flat_map(pixel).collect() }
    }

    /// The bytes of a PNG file.
    ///
    /// # Errors
    /// A picture without pixels, or too large a one.
    pub fn png(&self) -> image::ImageResult<Vec<u8>> {
        let mut file = Cursor::new(Vec::new());
        let (width, height) = (self.width as u32, self.height as u32);
        image::write_buffer_with_format(
            &mut file,
            &self.rgb,
            width,
            height,
            image::ColorType::Rgb8,
            image::ImageFormat::Png,
        )?;
        Ok(file.into_inner())
    }

    /// Writes a PNG file.
    ///
    /// # Errors
    /// As `png`, or a file that cannot be written.
    pub fn save(&self, path: &Path) -> image::ImageResult<()> {
        Ok(std::fs::write(path, self.png()?)?)
    }
}

/// Rows of `count` square pictures each, (count, size, size, 3), with white between them.
pub fn sheet(rows: &[&[u8]], count: usize, size: usize) -> Picture {
    let (width, height) = (count * (size + GAP) + GAP, rows.len() * (size + GAP) + GAP);
    let mut sheet = Picture::new(width, height, [255; 3]);
    for (r, row) in rows.iter().enumerate() {
        for (column, frame) in row.chunks_exact(3 * size * size).enumerate() {
            let frame = Picture { width: size, height: size, rgb: frame.to_vec() };
            sheet.put(GAP + column * (size + GAP), GAP + r * (size + GAP), &frame);
        }
    }
    sheet
}

/// Corners of the scale of heat maps, from 0 to 1: dark violet, blue, green, yellow; near matplotlib's viridis.
const SCALE: [[f64; 3]; 5] =
    [[68.0, 1.0, 84.0], [59.0, 82.0, 139.0], [33.0, 145.0, 140.0], [94.0, 201.0, 98.0], [253.0, 231.0, 37.0]];

/// The colour of a value from 0 to 1.
pub fn heat(value: f64) -> [u8; 3] {
    let place = value.clamp(0.0, 1.0) * (SCALE.len() - 1) as f64;
    let low = (place as usize).min(SCALE.len() - 2);
    let share = place - low as f64;
    std::array::from_fn(|c| (SCALE[low][c] + share * (SCALE[low + 1][c] - SCALE[low][c])).round() as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sheets_hold_their_frames_and_come_back_from_png() {
        let clip: Vec<u8> = (0..2 * 8 * 8 * 3).map(|i| (i * 37 % 251) as u8).collect();
        let sheet = sheet(&[&clip], 2, 8);
        assert_eq!((sheet.width, sheet.height), (22, 12));
        let at = 3 * (2 * 22 + 12);
        assert_eq!(sheet.rgb[at..at + 3], clip[8 * 8 * 3..8 * 8 * 3 + 3]);
        let back = image::load_from_memory(&sheet.png().unwrap()).unwrap().to_rgb8();
        assert_eq!(back.into_raw(), sheet.rgb);
        let large = sheet.enlarged(3);
        assert_eq!((large.width, large.rgb.len()), (66, 9 * sheet.rgb.len()));
        assert_eq!(large.rgb[3 * (8 * 66 + 38)..][..3], sheet.rgb[at..at + 3]);
    }

    #[test]
    fn heat_runs_from_end_to_end() {
        assert_eq!((heat(-1.0), heat(0.25), heat(2.0)), ([68, 1, 84], [59, 82, 139], [253, 231, 37]));
    }
}
