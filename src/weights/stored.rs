//! Position tables that files hold: which they are, and the same for another grid.
//!
//! MVD and VideoMAE never read them: their tables are fixed, and computed anew for every grid. MAE's are fixed too, but
//! parameters to `transformers` and to MAE's own fine-tuning, which learns them and resizes them bicubically.

use std::fmt;

use super::{Error, HostTensor, Result, TensorSource, Tensors, position};

/// Largest difference from a fixed table that halved precision (bf16 near 1) explains.
const ROUNDING: f32 = 4e-3;
/// The cubic kernel's parameter, as PyTorch's `interpolate(mode="bicubic")` has it.
const KERNEL: f64 = -0.75;

/// What a stored table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// MAE's fixed 2-D table of `side` x `side` tokens.
    Sincos2d {
        /// Tokens a side.
        side: usize,
        /// After a row of zeros for the class token.
        class_token: bool,
    },
    /// MVD's fixed 3-D table of `frames` x `side` x `side` tokens.
    Sincos3d {
        /// Tokens in time.
        frames: usize,
        /// Tokens a side.
        side: usize,
    },
    /// VideoMAE's fixed table.
    Sinusoid {
        /// Tokens.
        tokens: usize,
    },
    /// None of the fixed ones.
    Learned {
        /// Tokens, with that of the class if there is one.
        tokens: usize,
    },
}

impl fmt::Display for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stored::Sincos2d { side, .. } => write!(f, "fixed (2-D sin-cos, {side} x {side})"),
            Stored::Sincos3d { frames, side } => write!(f, "fixed (3-D sin-cos, {frames} x {side} x {side})"),
            Stored::Sinusoid { tokens } => write!(f, "fixed (sinusoid, {tokens} tokens)"),
            Stored::Learned { tokens } => write!(f, "learned ({tokens} tokens)"),
        }
    }
}

/// Whether this is the name of a position table.
pub(super) fn is_table(name: &str) -> bool {
    name.rsplit('.').next().is_some_and(|last| last.starts_with("pos_embed") || last == "decoder_pos_embed")
}

/// The position tables of a file, by name.
///
/// # Errors
/// Values that cannot be read.
pub fn tables<T: TensorSource<Error = Error>>(tensors: &Tensors<T>) -> Result<Vec<(&str, Stored)>> {
    let mut tables = Vec::new();
    for (name, table) in tensors.iter().filter(|(name, _)| is_table(name)) {
        tables.extend(recognise(&table.host()?).map(|which| (name, which)));
    }
    Ok(tables)
}

/// Tokens a side of a square; none of another number.
fn root(tokens: usize) -> Option<usize> {
    let side = tokens.isqrt();
    (side > 0 && side * side == tokens).then_some(side)
}

/// Which table it is, (1, N, C) or (N, C); none of another shape.
pub fn recognise(table: &HostTensor) -> Option<Stored> {
    let (tokens, dim) = match *table.shape.as_slice() {
        [1, tokens, dim] | [tokens, dim] if tokens > 0 && dim > 0 => (tokens, dim),
        _ => return None,
    };
    let equals = |fixed: Result<Vec<f32>>| {
        let close = |fixed: Vec<f32>| fixed.iter().zip(&table.data).all(|(a, b)| (a - b).abs() <= ROUNDING);
        fixed.is_ok_and(close)
    };
    let flat = |class_token: bool| {
        let side = root(tokens - usize::from(class_token))?;
        equals(position::sincos_2d(side, side, dim, class_token)).then_some(Stored::Sincos2d { side, class_token })
    };
    let deep = || {
        (1..=tokens).filter(|frames| tokens.is_multiple_of(*frames)).find_map(|frames| {
            let side = root(tokens / frames)?;
            equals(position::sincos_3d([frames, side, side], dim)).then_some(Stored::Sincos3d { frames, side })
        })
    };
    let waves = || equals(position::sinusoid(tokens, dim)).then_some(Stored::Sinusoid { tokens });
    flat(true).or_else(|| flat(false)).or_else(waves).or_else(deep).or(Some(Stored::Learned { tokens }))
}

/// Tokens a side of an image model's table with a class token, fixed or learned.
pub fn image_side(table: &HostTensor) -> Option<usize> {
    match recognise(table)? {
        Stored::Sincos2d { side, class_token: true } => Some(side),
        Stored::Learned { tokens } => root(tokens - 1),
        _ => None,
    }
}

/// An image model's table with a class token for `side` x `side` tokens: a fixed one is computed, a learned one
/// resized bicubically, as MAE and `transformers` do. None where it is no such table.
///
/// # Errors
/// A width that the fixed table cannot be split for.
pub fn resize(table: &HostTensor, side: usize) -> Result<Option<HostTensor>> {
    let Some(old) = image_side(table) else { return Ok(None) };
    let dim = table.shape.last().copied().unwrap_or(0);
    let data = match recognise(table) {
        _ if old == side => table.data.clone(),
        Some(Stored::Learned { .. }) => {
            let (class, grid) = table.data.split_at(dim);
            [class, &bicubic(grid, old, side, dim)].concat()
        }
        _ => position::sincos_2d(side, side, dim, true)?,
    };
    Ok(Some(HostTensor { shape: vec![1, 1 + side * side, dim], data }))
}

/// The four source rows (kept within the table) and weights of each target row.
fn taps(old: usize, new: usize) -> Vec<([usize; 4], [f64; 4])> {
    let near = |x: f64| ((KERNEL + 2.0) * x - (KERNEL + 3.0)) * x * x + 1.0;
    let far = |x: f64| ((KERNEL * x - 5.0 * KERNEL) * x + 8.0 * KERNEL) * x - 4.0 * KERNEL;
    let scale = old as f64 / new as f64;
    let tap = |i: usize| {
        let at = (i as f64 + 0.5) * scale - 0.5;
        let (first, t) = (at.floor(), at - at.floor());
        let row = |k: i64| (first as i64 + k).clamp(0, old as i64 - 1) as usize;
        ([-1, 0, 1, 2].map(row), [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)])
    };
    (0..new).map(tap).collect()
}

/// (old, old, C) to (new, new, C): PyTorch's bicubic with `align_corners=False`, without antialiasing.
fn bicubic(grid: &[f32], old: usize, new: usize, dim: usize) -> Vec<f32> {
    let taps = taps(old, new);
    let mut out = Vec::with_capacity(new * new * dim);
    for (rows, row_weights) in &taps {
        for (columns, column_weights) in &taps {
            for c in 0..dim {
                let mut sum = 0.0;
                for (y, wy) in rows.iter().zip(row_weights) {
                    for (x, wx) in columns.iter().zip(column_weights) {
                        sum += wy * wx * f64::from(grid[(y * old + x) * dim + c]);
                    }
                }
                out.push(sum as f32);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(tokens: usize, data: Vec<f32>) -> HostTensor {
        HostTensor { shape: vec![1, tokens, data.len() / tokens], data }
    }

    #[test]
    fn fixed_tables_are_told_from_learned_ones() {
        let flat = |class| position::sincos_2d(4, 4, 32, class).unwrap();
        let of = |tokens: usize, data: Vec<f32>| recognise(&table(tokens, data)).unwrap();
        assert_eq!(of(17, flat(true)), Stored::Sincos2d { side: 4, class_token: true });
        assert_eq!(of(16, flat(false)), Stored::Sincos2d { side: 4, class_token: false });
        let deep = position::sincos_3d([2, 4, 4], 32).unwrap();
        assert_eq!(of(32, deep.clone()), Stored::Sincos3d { frames: 2, side: 4 });
        assert_eq!(of(32, position::sinusoid(32, 32).unwrap()), Stored::Sinusoid { tokens: 32 });
        let halved = deep.iter().map(|v| half::bf16::from_f32(*v).to_f32()).collect();
        assert_eq!(of(32, halved), Stored::Sincos3d { frames: 2, side: 4 }, "rounding is no learning");
        let mut moved = flat(true);
        moved[200] += 0.01;
        assert_eq!(of(17, moved), Stored::Learned { tokens: 17 });
        assert_eq!(recognise(&HostTensor { shape: vec![3], data: vec![0.0; 3] }), None);
        assert_eq!(recognise(&HostTensor { shape: vec![0, 4], data: vec![] }), None);
        let named = |name: &str| (name.to_owned(), table(17, flat(true)));
        let tensors = ["m.pos_embed", "decoder_pos_embed", "pos_embed_vid", "a.pos_embedding.weight"].map(named);
        let tensors: Tensors = tensors.into_iter().collect();
        assert_eq!(
            tables(&tensors).unwrap().iter().map(|t| t.0).collect::<Vec<_>>(),
            ["decoder_pos_embed", "m.pos_embed", "pos_embed_vid"]
        );
    }

    #[test]
    fn tables_of_another_grid() {
        let fixed = |side: usize| table(1 + side * side, position::sincos_2d(side, side, 8, true).unwrap());
        assert_eq!(resize(&fixed(3), 5).unwrap().unwrap(), fixed(5));
        assert_eq!(resize(&fixed(3), 3).unwrap().unwrap(), fixed(3));
        assert_eq!(resize(&table(7, vec![0.5; 28]), 2).unwrap(), None, "7 tokens are no square and a class");

        // PyTorch's interpolate(mode="bicubic", align_corners=False) of two channels.
        let first = [0.0, 1.0, -2.0, 3.0, 0.5, 4.0, 2.0, -1.0, 1.0];
        let transposed = |i: usize| first[i % 3 * 3 + i / 3] * 0.5 - 1.0;
        let grid: Vec<f32> = (0..9).flat_map(|i| [first[i], transposed(i)]).collect();
        let learned = table(10, [&[7.0, 9.0], grid.as_slice()].concat());
        let smaller = [0.817574, -0.591213, -0.193169, -0.220081, 1.559837, -1.096584, 1.202919, -0.39854];
        let larger = [
            -0.416256, -1.208128, 0.491296, -0.366544, 1.048, 0.62, -1.073696, 0.448784, -2.923904, 0.098304, 1.266913,
            -0.754352, 1.137704, -0.431148, 0.913999, -0.111, 0.664376, -0.401052, 0.508481, -0.706128, 3.24, -0.476,
            1.778, -0.543, 0.5, -0.75, 2.462001, -1.227, 4.336, -1.572, 2.897568, -1.536849, 1.197896, -0.667812,
            -0.454, 0.231, 1.192424, -0.403788, 2.888799, -1.113792, 2.196609, -2.461952, 0.587744, -0.745759, -1.144,
            1.168, -0.227583, 0.444399, 0.890177, -0.554912,
        ];
        for (side, expected) in [(2, &smaller[..]), (5, &larger[..])] {
            let got = resize(&learned, side).unwrap().unwrap();
            assert_eq!((&got.shape[..], &got.data[..2]), (&[1, 1 + side * side, 2][..], &[7.0, 9.0][..]));
            for (i, (a, b)) in got.data[2..].iter().zip(expected).enumerate() {
                assert!((a - b).abs() < 1e-5, "{side}: {i}: {a} {b}");
            }
        }
    }
}
