//! YCbCr to RGB by the stream's matrix and range; chroma is repeated over its pixels, as ffmpeg's default does.

use rust_h264::decoder::{ChromaFormat, Frame};

/// What the stream says of its colours (H.264 table E-5); 2 is unspecified, taken as BT.601 as ffmpeg does.
#[derive(Debug, Clone, Copy)]
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

/// 16.16 fixed point.
fn fixed(x: f32) -> i32 {
    (x * 65536.0).round() as i32
}

/// Pixels (height, width, 3) of a decoded frame.
pub(super) fn to_rgb(frame: &Frame, colour: Colour) -> Vec<u8> {
    let (kr, kb) = colour.weights();
    let kg = 1.0 - kr - kb;
    let (luma, chroma, black) = if colour.full_range { (1.0, 1.0, 0) } else { (255.0 / 219.0, 255.0 / 224.0, 16) };
    let scale = fixed(luma);
    let (rv, bu) = (fixed(chroma * 2.0 * (1.0 - kr)), fixed(chroma * 2.0 * (1.0 - kb)));
    let (gu, gv) = (fixed(chroma * 2.0 * (1.0 - kb) * kb / kg), fixed(chroma * 2.0 * (1.0 - kr) * kr / kg));
    let (width, height) = (frame.width as usize, frame.height as usize);
    let (chroma_width, chroma_height) = (frame.chroma_width() as usize, frame.chroma_height() as usize);
    let shift_y = u32::from(frame.chroma_format == ChromaFormat::Yuv420);
    let depth = frame.bit_depth - 8;
    let at = |plane: &[u8], i: usize| i32::from(frame.sample(plane, i) >> depth);
    let mut rgb = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        let row = (y >> shift_y).min(chroma_height.saturating_sub(1)) * chroma_width;
        for x in 0..width {
            let c = row + (x / 2).min(chroma_width.saturating_sub(1));
            let l = (at(&frame.y, y * width + x) - black) * scale + 32768;
            let (u, v) = (at(&frame.u, c) - 128, at(&frame.v, c) - 128);
            let pixel = [l + rv * v, l - gu * u - gv * v, l + bu * u];
            rgb.extend(pixel.map(|p| (p >> 16).clamp(0, 255) as u8));
        }
    }
    rgb
}
