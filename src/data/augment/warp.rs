//! Affine operations: bicubic, grey where there is nothing, as PIL's `transform`.

use super::Op;

/// The value of what lies outside the frame, ImageNet's rounded mean.
const FILL: u8 = 128;

/// The matrix (a, b, c, d, e, f) that takes a pixel's place to its source's: `(a x + b y + c, d x + e y + f)`.
pub(super) fn matrix(op: Op, width: usize, height: usize) -> [f64; 6] {
    match op {
        Op::Rotate(degrees) => {
            let (sin, cos) = (-degrees.to_radians()).sin_cos();
            let (x, y) = (width as f64 / 2.0, height as f64 / 2.0);
            [cos, sin, x - cos * x - sin * y, -sin, cos, y + sin * x - cos * y]
        }
        Op::ShearX(share) => [1.0, share, 0.0, 0.0, 1.0, 0.0],
        Op::ShearY(share) => [1.0, 0.0, 0.0, share, 1.0, 0.0],
        Op::TranslateX(share) => [1.0, 0.0, share * width as f64, 0.0, 1.0, 0.0],
        Op::TranslateY(share) => [1.0, 0.0, 0.0, 0.0, 1.0, share * height as f64],
        _ => [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
    }
}

/// The cubic of four neighbours at `t` from the second to the third (a = -1). Of equal ones it is exactly their value.
fn cubic(v: [f32; 4], t: f32) -> f32 {
    let slope = v[2] - v[0];
    let second = 2.0 * (v[0] - v[1]) + v[2] - v[3];
    let third = v[1] - v[0] + v[3] - v[2];
    v[1] + t * (slope + t * (second + t * third))
}

/// Four neighbours of a place along one side, cut at the edges, and how far it is from the second to the third.
fn neighbours(place: f64, len: usize) -> ([usize; 4], f32) {
    let place = place - 0.5;
    let base = place.floor();
    let at = std::array::from_fn(|i| (base + i as f64 - 1.0).clamp(0.0, (len - 1) as f64) as usize);
    (at, (place - base) as f32)
}

/// The frame `(height, width, 3)` as `matrix` shows it, into `out`.
pub(super) fn affine(rgb: &[u8], width: usize, height: usize, matrix: [f64; 6], out: &mut Vec<u8>) {
    out.clear();
    out.resize(rgb.len(), FILL);
    let [a, b, c, d, e, f] = matrix;
    for (index, pixel) in out.chunks_exact_mut(3).enumerate() {
        let (x, y) = ((index % width) as f64 + 0.5, (index / width) as f64 + 0.5);
        let (x, y) = (a * x + b * y + c, d * x + e * y + f);
        if !(0.0..width as f64).contains(&x) || !(0.0..height as f64).contains(&y) {
            continue;
        }
        let ((columns, tx), (rows, ty)) = (neighbours(x, width), neighbours(y, height));
        for (channel, value) in pixel.iter_mut().enumerate() {
            let along = |row: usize| {
                let at = |column: usize| f32::from(rgb[3 * (row * width + column) + channel]);
                if tx == 0.0 { at(columns[1]) } else { cubic(columns.map(at), tx) }
            };
            let exact = if ty == 0.0 { along(rows[1]) } else { cubic(rows.map(along), ty) };
            // A cast rounds down and cuts what is out of range.
            *value = exact as u8;
        }
    }
}
