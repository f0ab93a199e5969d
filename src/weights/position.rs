//! Fixed position tables, (N, D) row-major: computed in f64, rounded once to f32.

use super::{Error, Result};

/// One axis: (len, dim) with row = [sin | cos] of `at(row)` * 10000^(-2i/dim), i < dim/2.
fn axis(out: &mut [f64], position: usize) {
    let half = out.len() / 2;
    let (sin, cos) = out.split_at_mut(half);
    for (i, (s, c)) in sin.iter_mut().zip(cos).enumerate() {
        let omega = 10000f64.powf(-(i as f64) / half as f64);
        (*s, *c) = (position as f64 * omega).sin_cos();
    }
}

fn divisible(table: &'static str, dim: usize, divisor: usize) -> Result<()> {
    if dim == 0 || !dim.is_multiple_of(divisor) {
        return Err(Error::Dimension { table, divisor, dim });
    }
    Ok(())
}

/// The student's and its decoders' table for a grid of `[t, h, w]` tokens in (t, h, w) order.
///
/// Channels: a quarter for t, three eighths for w, three eighths for h, each [sin | cos]. Every part
/// needs an even number of channels, so `dim` must be a multiple of 16; the references' code would
/// fail on (or mis-split) any other, and all their sizes are multiples.
pub fn sincos_3d(grid: [usize; 3], dim: usize) -> Result<Vec<f32>> {
    divisible("3-D sin-cos", dim, 16)?;
    let [t, h, w] = grid;
    let (quarter, part) = (dim / 4, dim / 8 * 3);
    let mut table = Vec::with_capacity(t * h * w * dim);
    let mut row = vec![0.0; dim];
    for it in 0..t {
        axis(&mut row[..quarter], it);
        for iy in 0..h {
            axis(&mut row[quarter + part..], iy);
            for ix in 0..w {
                axis(&mut row[quarter..quarter + part], ix);
                table.extend(row.iter().map(|&x| x as f32));
            }
        }
    }
    Ok(table)
}

/// MAE's table for `h` x `w` tokens in (h, w) order, with a row of zeros before them if `class_token`.
///
/// Channels: half for w, half for h, each [sin | cos]; `dim` must be a multiple of 4.
pub fn sincos_2d(h: usize, w: usize, dim: usize, class_token: bool) -> Result<Vec<f32>> {
    divisible("2-D sin-cos", dim, 4)?;
    let mut table = vec![0.0; if class_token { dim } else { 0 }];
    let mut row = vec![0.0; dim];
    for iy in 0..h {
        axis(&mut row[dim / 2..], iy);
        for ix in 0..w {
            axis(&mut row[..dim / 2], ix);
            table.extend(row.iter().map(|&x| x as f32));
        }
    }
    Ok(table)
}

/// VideoMAE's table over the flat token index: sin at even channels, cos at odd ones, angle =
/// index / 10000^(2 floor(j/2) / dim). Any `dim` but 0; an odd one ends on a sin.
pub fn sinusoid(n: usize, dim: usize) -> Result<Vec<f32>> {
    divisible("sinusoid", dim, 1)?;
    let mut table = Vec::with_capacity(n * dim);
    for position in 0..n {
        for j in 0..dim {
            let angle = position as f64 / 10000f64.powf((2 * (j / 2)) as f64 / dim as f64);
            let value = if j % 2 == 0 { angle.sin() } else { angle.cos() };
            table.push(value as f32);
        }
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The references' `pos_embed` tables of a 2x4x4 grid, read from what their code stored.
    fn close(table: &[f32], dim: usize, row: usize, expected: &[f32]) {
        for (j, e) in expected.iter().enumerate() {
            let got = table[row * dim + j];
            assert!((got - e).abs() < 1e-6, "row {row} channel {j}: {got} {e}");
        }
    }

    include!("position_expected.rs");

    #[test]
    fn tables_equal_the_references() {
        close(&sincos_3d([2, 4, 4], 32).unwrap(), 32, 23, &SINCOS_3D_ROW_23);
        close(&sincos_2d(4, 4, 16, true).unwrap(), 16, 7, &SINCOS_2D_ROW_7);
        close(&sincos_2d(4, 4, 16, true).unwrap(), 16, 0, &[0.0; 16]);
        close(&sinusoid(32, 10).unwrap(), 10, 29, &SINUSOID_ROW_29);
    }

    #[test]
    fn shapes_and_bad_dimensions() {
        assert_eq!(sincos_3d([8, 14, 14], 768).unwrap().len(), 1568 * 768);
        assert_eq!(sincos_2d(3, 5, 8, false).unwrap().len(), 15 * 8);
        let message = sincos_3d([1, 1, 1], 40).unwrap_err().to_string();
        assert_eq!(message, "3-D sin-cos position table: expected a dimension divisible by 16, got 40");
        assert!(sincos_2d(1, 1, 6, false).is_err());
        assert!(sinusoid(1, 0).is_err());
    }
}
