//! Column sums: the gradient of a bias, of a learned row, the mean over tokens. `total[c] += scale * sum_R x[r, c]`, in two passes:
//! sums over chunks of rows, then over the chunks.

use std::ops::Range;

use super::check::Case;
use super::{by_fours, row_chunks};
use crate::gpu::{Recorder, Tensor};

/// The rows that are summed, of samples of `len` rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows {
    /// Number of samples.
    pub samples: usize,
    /// Rows of each.
    pub len: usize,
    /// Rows before the first sample's.
    pub base: usize,
    /// Of each sample, as many at its start.
    pub head: usize,
    /// First and number of those at its end.
    pub tail: (usize, usize),
}

impl Rows {
    /// All of so many.
    pub fn all(rows: usize) -> Rows {
        Rows { samples: 1, len: rows, base: 0, head: rows, tail: (rows, 0) }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.samples * (self.head + self.tail.1)
    }
}

/// What becomes of the sums of the rows of each of some matrices.
pub(crate) struct Sums {
    /// Matrices behind each other, of as many rows each.
    pub matrices: usize,
    /// Columns that are left alone.
    pub skip: Range<usize>,
    /// What a sum is multiplied by.
    pub scale: f32,
    /// Written, instead of added to what is there.
    pub store: bool,
}

/// The shader of each pass, and x as the first one reads it.
struct Passes {
    shaders: [&'static str; 2],
    x: Tensor,
}

/// Adds x's column sums to `total`; x (matrices, R, C), total (matrices, C). Columns in `skip` are left alone: the key third of a qkv bias
/// is no parameter, and its true gradient of zero must not become rounding noise that AdamW would scale up.
pub fn accumulate(rec: &mut Recorder, x: Tensor, total: Tensor, matrices: usize, skip: Range<usize>) {
    let (rows, columns) = (rec.rows(x) / matrices, rec.width(x));
    let skipped = skip.clone();
    let passes = if rec.suits_image(x) && columns.is_multiple_of(4) {
        Passes { shaders: ["column_sum_image", "column_sum"], x: rec.image(x) }
    } else {
        passes(rec, x)
    };
    rec.node("column_sum", &[x], &[total], (matrices * rows * columns) as f64, move |h| {
        for (i, v) in h.inputs[0].iter().enumerate().filter(|(i, _)| !skipped.contains(&(i % columns))) {
            h.outputs[0][i / (rows * columns) * columns + i % columns] += v;
        }
    });
    dispatch(rec, &passes, total, Rows::all(rows), &Sums { matrices, skip, scale: 1.0, store: false });
}

/// The dispatches of some rows' sums, into a node that the caller opened; `total (matrices, C)`.
pub(crate) fn record(rec: &mut Recorder, x: Tensor, total: Tensor, rows: Rows, sums: &Sums) {
    let passes = passes(rec, x);
    dispatch(rec, &passes, total, rows, sums);
}

fn passes(rec: &Recorder, x: Tensor) -> Passes {
    Passes { shaders: [if by_fours(rec, rec.width(x)) { "column_sum_wide" } else { "column_sum" }; 2], x }
}

fn dispatch(rec: &mut Recorder, passes: &Passes, total: Tensor, rows: Rows, sums: &Sums) {
    let columns = rec.width(total);
    let wide = passes.shaders[1] == "column_sum_wide";
    let (chunk, chunks) = row_chunks(rows.count(), wide);
    let partial = rec.transient("column sums", &[sums.matrices, chunks, columns]);
    // Columns of a workgroup, in each pass.
    let [first, last] = if wide { [256, 64] } else { [64, 64] };
    let dispatch = rec.dispatch(passes.shaders[0], "chunks").bind("partial", partial).bind("x", passes.x);
    let dispatch = dispatch.u32("rows", rows.count()).u32("columns", columns).u32("chunk", chunk);
    let dispatch = if passes.shaders[0] == "column_sum_image" {
        dispatch
    } else {
        let dispatch = dispatch.u32("base", rows.base).u32("len", rows.len).u32("head", rows.head);
        dispatch.u32("tail_start", rows.tail.0).u32("tail", rows.tail.1)
    };
    dispatch.groups([columns.div_ceil(first) as u32, chunks as u32, sums.matrices as u32]);
    let dispatch = rec.dispatch(passes.shaders[1], "add_chunks").bind("partial", partial).bind("total", total);
    dispatch
        .u32("rows", rows.count())
        .u32("columns", columns)
        .u32("chunk", chunk)
        .u32("skip", sums.skip.start)
        .u32("skip_end", sums.skip.end)
        .f32("scale", sums.scale)
        .constant("STORE", u32::from(sums.store))
        .groups([columns.div_ceil(last) as u32, 1, sums.matrices as u32]);
}

/// Test cases: sums of one matrix and of some, with columns left out.
pub fn cases() -> Vec<Case> {
    let case = |rows: usize, columns: usize, matrices: usize, skip: Range<usize>| {
        let name = format!("column_sum of {matrices} of {rows}x{columns} without {skip:?}");
        Case::new(name, move |rig| {
            let x = rig.input("x", &[matrices * rows, columns]);
            let total = rig.input("total", &[matrices, columns]);
            accumulate(&mut rig.rec, x, total, matrices, skip.clone());
            total
        })
    };
    vec![
        case(1, 1, 1, 0..0),
        case(33, 7, 2, 2..5),
        case(197, 260, 1, 90..177),
        case(1100, 12, 3, 4..8),
        case(9000, 4, 1, 0..0).tolerance(3e-5),
    ]
}
