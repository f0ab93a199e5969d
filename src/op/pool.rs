//! Mean over tokens: `y[b, c] = mean_n x[b, n, c]`, `dx[b, n, c] = dy[b, c] / N`; x (B, N, C), y (B, C).

use super::check::Case;
use super::column_sum::{self, Rows, Sums};
use crate::gpu::{Recorder, Tensor, grid};

/// `y (B, C)` of x (B, N, C).
pub fn forward(rec: &mut Recorder, x: Tensor) -> Tensor {
    let [samples, tokens, channels] = *rec.shape(x) else { panic!("pool: x must be (B, N, C)") };
    let y = rec.transient("pooled", &[samples, channels]);
    let len = samples * tokens * channels;
    rec.node("pool.forward", &[x], &[y], len as f64, move |h| {
        h.outputs[0].fill(0.0);
        for (i, v) in h.inputs[0].iter().enumerate() {
            h.outputs[0][i / (tokens * channels) * channels + i % channels] += v / tokens as f64;
        }
    });
    if rec.caps().software {
        let dispatch = rec.dispatch("pool", "forward").bind("x", x).bind("y", y);
        let dispatch = dispatch.u32("samples", samples).u32("tokens", tokens).u32("channels", channels);
        dispatch.groups(grid((samples * channels).div_ceil(64)));
    } else {
        let rows = Rows::all(tokens);
        let sums = Sums { matrices: samples, skip: 0..0, scale: 1.0 / tokens as f32, store: true };
        column_sum::record(rec, x, y, rows, &sums);
    }
    rec.tape(&[x], y, move |rec, dy| {
        let dx = rec.transient("d pooled", &[samples, tokens, channels]);
        rec.node("pool.backward", &[dy], &[dx], len as f64, move |h| {
            let at = |i: usize| i / (tokens * channels) * channels + i % channels;
            h.outputs[0] = (0..len).map(|i| h.inputs[0][at(i)] / tokens as f64).collect();
        });
        let wide = channels.is_multiple_of(4);
        let (entry, dy_name, dx_name, each) =
            if wide { ("backward_wide", "dy_wide", "dx_wide", 4) } else { ("backward", "dy", "dx", 1) };
        let dispatch = rec.dispatch("pool", entry).bind(dy_name, dy).bind(dx_name, dx);
        let dispatch = dispatch.u32("samples", samples).u32("tokens", tokens).u32("channels", channels / each);
        dispatch.groups(grid((len / each).div_ceil(64)));
        rec.add_grad(x, dx);
    });
    y
}

/// Test cases.
pub fn cases() -> Vec<Case> {
    let case = |shape: [usize; 3]| {
        Case::new(format!("pool {shape:?}"), move |rig| {
            let x = rig.leaf("x", &shape);
            forward(&mut rig.rec, x)
        })
    };
    vec![case([1, 1, 1]), case([3, 197, 7]), case([2, 33, 64]), case([3, 70, 260])]
}
