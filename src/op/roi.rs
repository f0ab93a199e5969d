//! RoIAlign as two small products a box, and the maximum over its bins.
//!
//! Bilinear samples of an axis-parallel box factor by axis, and so do the means over them: `bins = wy X wxᵀ`, with X a map (h, w)
//! of one channel, wy (7, h) and wx (7, w) made on the host by [`tables`]. Both products are one operation, along an axis K of
//! x (N, O, K, I): `y[n, o, a, i] = sum_k weights[n, a, k] x[n, o, k, i]`, whose gradient is the same with the table transposed:
//! no scatter, no atomics. The maximum keeps the bin that it took: `dx[n, k, i] = dy[n, i]` there, 0 elsewhere.

use super::check::Case;
use super::expect_shape;
use crate::gpu::{HostNode, Recorder, Tensor, grid};

/// Bins along each axis of a box.
pub const BINS: usize = 7;

/// Boxes (x1, y1, x2, y2) as an axis' tables (boxes, 7, cells), of the y axis and of the x axis; boxes are in units of the map's
/// cells times `1 / scale`. As torchvision's with `sampling_ratio` 0 and `aligned` false: a box is at least a cell wide, a bin is
/// the mean of as many samples as it is cells wide, rounded up; samples more than a cell outside the map count 0.
pub fn tables(boxes: &[[f32; 4]], scale: f64, [height, width]: [usize; 2]) -> [Vec<f32>; 2] {
    let axis = |from: usize, cells: usize| -> Vec<f32> {
        let ends = boxes.iter().map(|b| [b[from], b[from + 2]].map(|v| f64::from(v) * scale));
        ends.flat_map(|[start, end]| table(start, (end - start).max(1.0), cells)).collect()
    };
    [axis(1, height), axis(0, width)]
}

/// The table (7, cells) of one side of a box.
fn table(start: f64, side: f64, cells: usize) -> Vec<f32> {
    let (bin, samples) = (side / BINS as f64, (side / BINS as f64).ceil());
    let mut table = vec![0.0; BINS * cells];
    let last = cells - 1;
    for (p, row) in table.chunks_exact_mut(cells).enumerate() {
        for i in 0..samples as usize {
            let at = start + p as f64 * bin + (i as f64 + 0.5) * bin / samples;
            if at < -1.0 || at > cells as f64 {
                continue;
            }
            let at = at.max(0.0);
            let low = (at as usize).min(last);
            // At the last cell both neighbours are the last.
            let share = if low == last { 0.0 } else { at - low as f64 };
            row[low] += ((1.0 - share) / samples) as f32;
            row[(low + 1).min(last)] += (share / samples) as f32;
        }
    }
    table
}

#[derive(Clone, Copy)]
struct Sizes {
    matrices: usize,
    outer: usize,
    rows: usize,
    terms: usize,
    inner: usize,
}

impl Sizes {
    fn dispatch(&self, rec: &mut Recorder, entry: &str, binds: &[(&str, Tensor)], invocations: usize) {
        let mut dispatch = rec.dispatch("roi", entry);
        for (name, tensor) in binds {
            dispatch = dispatch.bind(name, *tensor);
        }
        let dispatch = dispatch.u32("matrices", self.matrices).u32("outer", self.outer).u32("rows", self.rows);
        dispatch.u32("terms", self.terms).u32("inner", self.inner).groups(grid(invocations.div_ceil(64)));
    }

    /// Elements of the result of a product.
    fn len(&self) -> usize {
        self.matrices * self.outer * self.rows * self.inner
    }

    /// The product with a table (N, rows, terms), or (N, terms, rows) where it is transposed.
    fn twin(&self, h: &mut HostNode<'_>, transposed: bool) {
        let Sizes { outer, rows, terms, inner, .. } = *self;
        for i in 0..self.len() {
            let (row, block) = (i / inner % rows, i / inner / rows);
            let weight = |k: usize| {
                let at = if transposed { k * rows + row } else { row * terms + k };
                h.inputs[1][block / outer * rows * terms + at]
            };
            let x = |k: usize| h.inputs[0][(block * terms + k) * inner + i % inner];
            h.outputs[0][i] = (0..terms).map(|k| weight(k) * x(k)).sum();
        }
    }
}

/// `y (N, O, A, I)` of x (N, O, K, I) and `weights` (N, A, K), which get no gradient.
pub fn apply(rec: &mut Recorder, x: Tensor, weights: Tensor) -> Tensor {
    let [matrices, outer, terms, inner] = *rec.shape(x) else { panic!("apply: x must be (N, O, K, I)") };
    let [_, rows, _] = *rec.shape(weights) else { panic!("apply: weights must be (N, A, K)") };
    expect_shape(rec, "apply", weights, &[matrices, rows, terms]);
    let z = Sizes { matrices, outer, rows, terms, inner };
    let y = rec.transient(format!("{} x", rec.name(weights)), &[matrices, outer, rows, inner]);
    let flops = 2.0 * (z.len() * terms) as f64;
    rec.node("roi.apply", &[x, weights], &[y], flops, move |h| z.twin(h, false));
    z.dispatch(rec, "apply", &[("x", x), ("weights", weights), ("y", y)], z.len());
    rec.tape(&[x], y, move |rec, dy| {
        let dx = rec.transient(format!("d {}", rec.name(x)), &[matrices, outer, terms, inner]);
        let back = Sizes { rows: terms, terms: rows, ..z };
        rec.node("roi.apply_backward", &[dy, weights], &[dx], flops, move |h| back.twin(h, true));
        back.dispatch(rec, "apply_transposed", &[("x", dy), ("weights", weights), ("y", dx)], back.len());
        rec.add_grad(x, dx);
    });
    y
}

/// Bins (B R, 49, C) of R boxes a sample of a map (B, h, w, C), by tables `wy` (B, R 7, h) and `wx` (B R, 7, w).
pub fn align(rec: &mut Recorder, map: Tensor, wy: Tensor, wx: Tensor) -> Tensor {
    let [samples, height, width, channels] = *rec.shape(map) else { panic!("align: map must be (B, h, w, C)") };
    let boxes = rec.shape(wx)[0];
    let x = rec.reshape(map, &[samples, 1, height, width * channels]);
    let rows = apply(rec, x, wy);
    let rows = rec.reshape(rows, &[boxes, BINS, width, channels]);
    let bins = apply(rec, rows, wx);
    rec.reshape(bins, &[boxes, BINS * BINS, channels])
}

/// `y (N, I)`: the largest of the K rows of x (N, K, I), channel by channel; of equal ones the first.
pub fn largest(rec: &mut Recorder, x: Tensor) -> Tensor {
    let [matrices, terms, inner] = *rec.shape(x) else { panic!("largest: x must be (N, K, I)") };
    let z = Sizes { matrices, outer: 1, rows: 1, terms, inner };
    let y = rec.transient(format!("largest of {}", rec.name(x)), &[matrices, inner]);
    let saved = rec.transient("rows of the largest", &[matrices, inner]);
    let len = matrices * terms * inner;
    rec.node("roi.largest", &[x], &[y, saved], len as f64, move |h| {
        for i in 0..matrices * inner {
            let value = |k: usize| h.inputs[0][(i / inner * terms + k) * inner + i % inner];
            let first = (1..terms).fold(0, |most, k| if value(k) > value(most) { k } else { most });
            h.outputs[0][i] = value(first);
            h.outputs[1][i] = first as f64;
        }
    });
    z.dispatch(rec, "largest", &[("x", x), ("y", y), ("place", saved)], matrices * inner);
    rec.tape(&[x], y, move |rec, dy| {
        let dx = rec.transient(format!("d {}", rec.name(x)), &[matrices, terms, inner]);
        rec.node("roi.largest_backward", &[dy, saved], &[dx], len as f64, move |h| {
            for i in 0..len {
                let at = i / inner / terms * inner + i % inner;
                h.outputs[0][i] = if h.inputs[1][at] as usize == i / inner % terms { h.inputs[0][at] } else { 0.0 };
            }
        });
        z.dispatch(rec, "largest_backward", &[("dy", dy), ("kept", saved), ("y", dx)], len);
        rec.add_grad(x, dx);
    });
    y
}

/// Test cases.
pub fn cases() -> Vec<Case> {
    let product = |shape: [usize; 4], rows: usize| {
        Case::new(format!("product {shape:?} along the third axis, to {rows}"), move |rig| {
            let (x, weights) = (rig.leaf("x", &shape), rig.input("weights", &[shape[0], rows, shape[2]]));
            apply(&mut rig.rec, x, weights)
        })
    };
    let most = |shape: [usize; 3]| {
        Case::new(format!("largest {shape:?}"), move |rig| {
            let x = rig.leaf("x", &shape);
            largest(&mut rig.rec, x)
        })
    };
    let aligned = Case::new("RoIAlign of 2 boxes a sample, 5x6 cells of 7 channels, largest", |rig| {
        let map = rig.leaf("map", &[2, 5, 6, 7]);
        let boxes = [[0.0, 8.0, 40.0, 70.0], [90.0, -20.0, 99.0, 33.0], [3.0, 3.0, 4.0, 4.0], [30.0, 10.0, 95.0, 79.0]];
        let [wy, wx] = tables(&boxes, 1.0 / 16.0, [5, 6]).map(|table| table.iter().map(|v| f64::from(*v)).collect());
        let (wy, wx) = (rig.input_with("wy", &[2, 14, 5], wy), rig.input_with("wx", &[4, 7, 6], wx));
        let bins = align(&mut rig.rec, map, wy, wx);
        largest(&mut rig.rec, bins)
    });
    vec![
        product([1, 1, 1, 1], 1),
        product([3, 2, 7, 5], 4),
        product([2, 7, 14, 33], 7),
        most([1, 1, 1]),
        most([3, 7, 33]),
        most([5, 49, 16]),
        aligned,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_means_of_bilinear_samples() {
        // Seven cells, a sample in the middle of each: between two cells, but at the end.
        let whole = table(0.0, 7.0, 8);
        assert_eq!(whole[..8], [0.5, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(whole[6 * 8..], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5, 0.5]);
        let at_the_end = table(0.0, 7.0, 7);
        assert_eq!(at_the_end[6 * 7..], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
        // Up to a cell outside counts as the edge, what is further outside not at all.
        let outside = table(-2.0, 7.0, 3);
        assert_eq!(outside[..3], [0.0; 3]);
        assert_eq!(outside[3..6], [1.0, 0.0, 0.0]);
        assert_eq!(outside[6 * 3..], [0.0; 3]);
        // Twice as wide a bin as a cell: the mean of two samples.
        let wide = table(0.0, 14.0, 15);
        assert_eq!(wide[..3], [0.25, 0.5, 0.25]);
    }
}
