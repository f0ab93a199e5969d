//! YCbCr to RGB by the stream's matrix and range; chroma is repeated over its pixels, as ffmpeg's default does.

use std::borrow::Cow;

/// What a stream or a container says of its colours (H.264 table E-5); 2 is unspecified, taken as BT.601 as ffmpeg does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Colour {
    pub matrix: u8,
    pub full_range: bool,
}

impl Default for Colour {
    fn default() -> Self {
        Colour { matrix: 2, full_range: false }
    }
}

impl Colour {
    /// These colours, or the container's where the stream says nothing.
    pub fn or(self, container: Option<Colour>) -> Colour {
        container.filter(|_| self == Colour::default()).unwrap_or(self)
    }

    /// Weights of red and blue in luma.
    fn weights(self) -> (f32, f32) {
        match self.matrix {
            1 => (0.2126, 0.0722),
            4 => (0.30, 0.11),
            7 => (0.212, 0.087),
            9 | 10 => (0.2627, 0.0593),
            _ => (0.299, 0.114),
        }
    }
}

/// A decoded frame: planes of luma and two of chroma, rows without gaps, samples of over 8 bits as little-endian pairs.
/// Two pixels of a row share one chroma sample.
pub(super) struct Planes<'a> {
    pub width: usize,
    pub height: usize,
    pub chroma_width: usize,
    pub chroma_height: usize,
    /// Two rows share one of chroma.
    pub half_height: bool,
    /// Bits a sample.
    pub depth: u8,
    pub planes: [&'a [u8]; 3],
}

/// 16.16 fixed point.
fn fixed(x: f32) -> i32 {
    (x * 65536.0).round() as i32
}

/// A plane in 8 bits a sample.
fn eight_bits(plane: &[u8], depth: u8) -> Cow<'_, [u8]> {
    if depth == 8 {
        return Cow::Borrowed(plane);
    }
    let sample = |pair: &[u8]| (u16::from_le_bytes([pair[0], pair[1]]) >> (depth - 8)) as u8;
    Cow::Owned(plane.chunks_exact(2).map(sample).collect())
}

/// Pixels (height, width, 3) of a decoded frame.
pub(super) fn to_rgb(frame: &Planes<'_>, colour: Colour) -> Vec<u8> {
    let (kr, kb) = colour.weights();
    let kg = 1.0 - kr - kb;
    let (luma, chroma, black) = if colour.full_range { (1.0, 1.0, 0) } else { (255.0 / 219.0, 255.0 / 224.0, 16) };
    let scale = fixed(luma);
    let (rv, bu) = (fixed(chroma * 2.0 * (1.0 - kr)), fixed(chroma * 2.0 * (1.0 - kb)));
    let (gu, gv) = (fixed(chroma * 2.0 * (1.0 - kb) * kb / kg), fixed(chroma * 2.0 * (1.0 - kr) * kr / kg));
    let Planes { width, height, chroma_width, chroma_height, half_height, depth, planes } = *frame;
    let [ys, us, vs] = planes.map(|plane| eight_bits(plane, depth));
    let shift_y = u32::from(half_height);
    let mut rgb = vec![0u8; width * height * 3];
    for (y, (row, lumas)) in rgb.chunks_exact_mut(width * 3).zip(ys.chunks_exact(width)).enumerate() {
        let at = (y >> shift_y).min(chroma_height.saturating_sub(1)) * chroma_width;
        let chromas = us[at..][..chroma_width].iter().zip(&vs[at..][..chroma_width]);
        // Two pixels share one chroma sample.
        for ((pixels, pair), (&u, &v)) in row.chunks_mut(6).zip(lumas.chunks(2)).zip(chromas) {
            let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
            let (red, green, blue) = (rv * v, -gu * u - gv * v, bu * u);
            for (pixel, &l) in pixels.chunks_exact_mut(3).zip(pair) {
                let l = (i32::from(l) - black) * scale + 32768;
                pixel[0] = ((l + red) >> 16).clamp(0, 255) as u8;
                pixel[1] = ((l + green) >> 16).clamp(0, 255) as u8;
                pixel[2] = ((l + blue) >> 16).clamp(0, 255) as u8;
            }
        }
    }
    rgb
}

/// Quarter turns, clockwise, of a display matrix's rows (a, b) and (c, d), in 16.16 fixed point, whatever it scales by.
pub(super) fn quarter_turns(matrix: [i32; 4]) -> Option<u8> {
    const ONE: i32 = 1 << 16;
    // A matrix of zeros says nothing.
    match matrix.map(|v| v.clamp(-ONE, ONE)) {
        [ONE, 0, 0, ONE] | [0, 0, 0, 0] => Some(0),
        [0, ONE, c, 0] if c == -ONE => Some(1),
        [a, 0, 0, d] if a == -ONE && d == -ONE => Some(2),
        [0, b, ONE, 0] if b == -ONE => Some(3),
        _ => None,
    }
}

/// A frame `(height, width, 3)` after quarter turns clockwise, with its new width and height.
pub(super) fn turned(rgb: Vec<u8>, width: usize, height: usize, turns: u8) -> (Vec<u8>, usize, usize) {
    if turns == 0 {
        return (rgb, width, height);
    }
    let (w, h) = if turns == 2 { (width, height) } else { (height, width) };
    let mut out = Vec::with_capacity(rgb.len());
    for y in 0..h {
        for x in 0..w {
            let (sx, sy) = match turns {
                1 => (y, height - 1 - x),
                2 => (width - 1 - x, height - 1 - y),
                _ => (width - 1 - y, x),
            };
            let at = 3 * (sy * width + sx);
            out.extend(&rgb[at..at + 3]);
        }
    }
    (out, w, h)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rec. ITU-T H.273's formulas, of what each matrix makes of a colour.
    #[test]
    fn every_matrix_and_range_gives_the_colour_back() {
        let matrices = [
            (1, 0.2126, 0.0722),
            (2, 0.299, 0.114),
            (4, 0.30, 0.11),
            (5, 0.299, 0.114),
            (6, 0.299, 0.114),
            (7, 0.212, 0.087),
            (9, 0.2627, 0.0593),
            (10, 0.2627, 0.0593),
        ];
        let colours = [[230, 20, 30], [10, 240, 40], [25, 15, 250], [200, 120, 10], [255; 3], [0; 3]];
        for ((matrix, kr, kb), full_range) in matrices.into_iter().flat_map(|m| [(m, false), (m, true)]) {
            for colour in colours {
                let [r, g, b] = colour.map(|v: u8| f64::from(v) / 255.0);
                let y = kr * r + (1.0 - kr - kb) * g + kb * b;
                let (cb, cr) = ((b - y) / (2.0 * (1.0 - kb)), (r - y) / (2.0 * (1.0 - kr)));
                let (luma, chroma, black) = if full_range { (255.0, 255.0, 0.0) } else { (219.0, 224.0, 16.0) };
                let coded = [luma * y + black, chroma * cb + 128.0, chroma * cr + 128.0];
                for depth in [8u8, 10] {
                    let sample = |v: f64| match depth {
                        8 => vec![v.round().clamp(0.0, 255.0) as u8],
                        _ => ((4.0 * v).round().clamp(0.0, 1023.0) as u16).to_le_bytes().to_vec(),
                    };
                    let planes = coded.map(sample);
                    let frame = Planes {
                        width: 1,
                        height: 1,
                        chroma_width: 1,
                        chroma_height: 1,
                        half_height: false,
                        depth,
                        planes: [&planes[0], &planes[1], &planes[2]],
                    };
                    let got = to_rgb(&frame, Colour { matrix, full_range });
                    let off = got.iter().zip(colour).map(|(a, b)| a.abs_diff(b)).max().unwrap();
                    // Rounded down where bits are left out.
                    let most = if depth == 8 { 3 } else { 4 };
                    assert!(
                        off <= most,
                        "matrix {matrix}, full range {full_range}, {depth} bits: {got:?} for {colour:?}"
                    );
                }
            }
        }
    }
}
