//! Operations: one file each, beside one `.wgsl` of the same name in `shaders/`.
//!
//! A file holds the formula and its derivative, `forward` (records dispatches, pushes the backward on the tape), the
//! CPU twins in f64, and its test cases. Dimension letters, here and in the shaders: B batch, T tubelet time,
//! N tokens, V visible tokens, M masked tokens, C channels, H heads, D head size, R rows (B times tokens).
//!
//! Gradients: a parameter's is accumulated (`+=`) in its arena, an activation's is a fresh tensor (`=`).

pub mod adamw;
pub mod attention;
pub mod binary_cross_entropy;
pub mod check;
pub mod column_sum;
pub mod cross_entropy;
pub mod dropout;
pub mod ema;
pub mod gelu;
pub mod grad_norm;
pub mod layer_norm;
pub mod linear;
pub mod loss;
pub mod matmul;
pub mod patch;
pub mod patch_target;
pub mod pool;
pub mod residual;
pub mod roi;
pub mod rows;
pub mod scalars;
pub mod separable;

use crate::gpu::{Recorder, Tensor};

/// Every operation's test cases.
pub fn cases() -> Vec<check::Case> {
    let all = [
        adamw::cases(),
        attention::cases(),
        binary_cross_entropy::cases(),
        column_sum::cases(),
        cross_entropy::cases(),
        dropout::cases(),
        ema::cases(),
        layer_norm::cases(),
        linear::cases(),
        loss::cases(),
        patch::cases(),
        patch_target::cases(),
        pool::cases(),
        residual::cases(),
        roi::cases(),
        rows::cases(),
        separable::cases(),
    ];
    all.into_iter().flatten().collect()
}

/// Whether rows of so many numbers are read four at a time by workgroups that wait for each other: the kernels of GPUs.
pub(crate) fn by_fours(rec: &Recorder, width: usize) -> bool {
    !rec.caps().software && width.is_multiple_of(4)
}

/// `(rows a chunk, chunks)` of a sum over rows in two passes, none of under 32 rows but the last: at most 64 chunks, or 256 where
/// the passes are those `by_fours`, whose workgroups take 32 rows a turn.
pub(crate) fn row_chunks(rows: usize, by_fours: bool) -> (usize, usize) {
    let chunk = if by_fours { rows.div_ceil(256).next_multiple_of(32) } else { rows.div_ceil(64).max(32) };
    (chunk, rows.div_ceil(chunk))
}

/// Holds a tensor's shape against what an operation expects.
///
/// # Panics
/// If they differ: configs are validated and weights checked before anything is recorded, so this is a mistake in
/// model code.
pub(crate) fn expect_shape(rec: &Recorder, op: &str, tensor: Tensor, expected: &[usize]) {
    assert_eq!(rec.shape(tensor), expected, "{op}: shape of {}", rec.name(tensor));
}

/// The same for `width` numbers of each of some stacked layers.
pub(crate) fn expect_stacked(rec: &Recorder, op: &str, tensor: Tensor, stack: usize, width: usize) {
    let expected = [stack, width];
    expect_shape(rec, op, tensor, if stack > 1 { &expected } else { &expected[1..] });
}
