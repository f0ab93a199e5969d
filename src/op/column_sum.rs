//! Column sums: the gradient of a bias. `total[c] += sum_R x[r, c]`.

use std::ops::Range;

use super::row_chunks;
use crate::gpu::{Recorder, Tensor};

/// Adds x's column sums to `total`; x (matrices, R, C), total (matrices, C). Columns in `skip` are left alone: the key third of a qkv bias
/// is no parameter, and its true gradient of zero must not become rounding noise that AdamW would scale up.
pub fn accumulate(rec: &mut Recorder, x: Tensor, total: Tensor, matrices: usize, skip: Range<usize>) {
    let (rows, columns) = (rec.rows(x) / matrices, rec.width(x));
    let (chunk, chunks) = row_chunks(rows);
    let partial = rec.transient("column sums", &[matrices, chunks, columns]);
    let skipped = skip.clone();
    let (shader, read) = if rec.suits_image(x) && columns.is_multiple_of(4) {
        ("column_sum_image", rec.image(x))
    } else {
        ("column_sum", x)
    };
    rec.node("column_sum", &[x], &[total], (matrices * rows * columns) as f64, move |h| {
        for (i, v) in h.inputs[0].iter().enumerate().filter(|(i, _)| !skipped.contains(&(i % columns))) {
            h.outputs[0][i / (rows * columns) * columns + i % columns] += v;
        }
    });
    let groups = columns.div_ceil(64) as u32;
    for (shader, entry, y) in [(shader, "chunks", chunks as u32), ("column_sum", "add_chunks", 1)] {
        let dispatch = rec.dispatch(shader, entry).bind("partial", partial);
        let dispatch = if entry == "chunks" { dispatch.bind("x", read) } else { dispatch.bind("total", total) };
        dispatch
            .u32("rows", rows)
            .u32("columns", columns)
            .u32("chunk", chunk)
            .u32("skip", skip.start)
            .u32("skip_end", skip.end)
            .groups([groups, y, matrices as u32]);
    }
}
