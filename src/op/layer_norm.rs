//! Layer normalisation over the last dimension.
//!
//! `y = hat * weight + bias`, `hat = (x - mean) * rstd`, `rstd = 1 / sqrt(var + eps)`, biased variance.
//! With `g = dy * weight`: `dx = rstd * (g - mean(g) - hat * mean(g * hat))`, `dweight += sum_R dy * hat`,
//! `dbias += sum_R dy`. Shapes: x, y (R, C); weight, bias (C).

use super::check::Case;
use super::{expect_shape, row_chunks};
use crate::gpu::{HostNode, Recorder, Tensor, grid};

/// What every published model adds to the variance.
pub const EPS: f32 = 1e-6;

/// The parameters of a normalisation.
#[derive(Debug, Clone, Copy)]
pub struct Norm {
    /// Scale (C).
    pub weight: Tensor,
    /// Shift (C).
    pub bias: Tensor,
    /// Added to the variance.
    pub eps: f32,
}

/// `y`: x normalised, scaled and shifted.
pub fn forward(rec: &mut Recorder, x: Tensor, norm: &Norm) -> Tensor {
    let Norm { weight, bias, eps } = *norm;
    let (rows, channels) = (rec.rows(x), rec.width(x));
    expect_shape(rec, "layer_norm", weight, &[channels]);
    expect_shape(rec, "layer_norm", bias, &[channels]);
    let shape = rec.shape(x).to_vec();
    let y = rec.transient(format!("norm({})", rec.name(x)), &shape);
    let saved = rec.transient(format!("stats({})", rec.name(x)), &[rows, 2]);
    let cost = 8.0 * (rows * channels) as f64;
    rec.node("layer_norm.forward", &[x, weight, bias], &[y, saved], cost, move |h| forward_twin(h, channels, eps));
    let lanes = rec.caps().row_lanes();
    rec.dispatch("layer_norm", "forward")
        .bind("x", x)
        .bind("weight", weight)
        .bind("bias", bias)
        .bind("y", y)
        .bind("saved", saved)
        .u32("rows", rows)
        .u32("channels", channels)
        .f32("eps", eps)
        .constant("LANES", lanes)
        .groups(grid((rows * lanes as usize).div_ceil(64)));
    rec.tape(&[x, weight, bias], y, move |rec, dy| backward(rec, dy, x, weight, bias, saved));
    y
}

/// `y`: x normalised, without affine; no gradient (it is for targets).
pub fn plain(rec: &mut Recorder, x: Tensor) -> Tensor {
    let (rows, channels) = (rec.rows(x), rec.width(x));
    let shape = rec.shape(x).to_vec();
    let y = rec.transient(format!("norm({})", rec.name(x)), &shape);
    let cost = 6.0 * (rows * channels) as f64;
    rec.node("layer_norm.plain", &[x], &[y], cost, move |h| {
        let hat = h.inputs[0].chunks_exact(channels).flat_map(|row| {
            let (mean, rstd) = stats(row, EPS);
            row.iter().map(move |v| (v - mean) * rstd)
        });
        h.outputs[0] = hat.collect();
    });
    let lanes = rec.caps().row_lanes();
    rec.dispatch("layer_norm", "forward_plain")
        .bind("x", x)
        .bind("y", y)
        .u32("rows", rows)
        .u32("channels", channels)
        .f32("eps", EPS)
        .constant("LANES", lanes)
        .groups(grid((rows * lanes as usize).div_ceil(64)));
    y
}

fn backward(rec: &mut Recorder, dy: Tensor, x: Tensor, weight: Tensor, bias: Tensor, saved: Tensor) {
    let (rows, channels) = (rec.rows(x), rec.width(x));
    let cost = 8.0 * (rows * channels) as f64;
    if let (Some(dweight), Some(dbias)) = (rec.param_grad(weight), rec.param_grad(bias)) {
        let (chunk, chunks) = row_chunks(rows);
        let partial = rec.transient("norm partial sums", &[chunks, channels, 2]);
        rec.node("layer_norm.backward_weight", &[dy, x, saved], &[dweight, dbias], cost, move |h| {
            backward_weight_twin(h, channels);
        });
        let columns = channels.div_ceil(64) as u32;
        rec.dispatch("layer_norm", "backward_weight_partial")
            .bind("x", x)
            .bind("dy", dy)
            .bind("stats", saved)
            .bind("partial", partial)
            .u32("rows", rows)
            .u32("channels", channels)
            .u32("chunk", chunk)
            .groups([columns, chunks as u32, 1]);
        rec.dispatch("layer_norm", "backward_weight_sum")
            .bind("partial", partial)
            .bind("dweight", dweight)
            .bind("dbias", dbias)
            .u32("rows", rows)
            .u32("channels", channels)
            .u32("chunk", chunk)
            .groups([columns, 1, 1]);
    }
    if !rec.needs_grad(x) {
        return;
    }
    let prior = rec.take_grad(x);
    let shape = rec.shape(x).to_vec();
    let dx = rec.transient(format!("d {}", rec.name(x)), &shape);
    let mut inputs = vec![dy, x, weight, saved];
    inputs.extend(prior);
    rec.node("layer_norm.backward_x", &inputs, &[dx], cost, move |h| backward_x_twin(h, channels));
    let lanes = rec.caps().row_lanes();
    rec.dispatch("layer_norm", "backward_x")
        .bind("x", x)
        .bind("dy", dy)
        .bind("weight", weight)
        .bind("stats", saved)
        .bind("prior", prior.unwrap_or(dy))
        .bind("dx", dx)
        .u32("rows", rows)
        .u32("channels", channels)
        .constant("LANES", lanes)
        .constant("HAS_PRIOR", u32::from(prior.is_some()))
        .groups(grid((rows * lanes as usize).div_ceil(64)));
    rec.add_grad(x, dx);
}

fn stats(row: &[f64], eps: f32) -> (f64, f64) {
    let mean = row.iter().sum::<f64>() / row.len() as f64;
    let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / row.len() as f64;
    (mean, 1.0 / (variance + f64::from(eps)).sqrt())
}

fn forward_twin(h: &mut HostNode<'_>, channels: usize, eps: f32) {
    let (x, weight, bias) = (h.inputs[0], h.inputs[1], h.inputs[2]);
    for (r, row) in x.chunks_exact(channels).enumerate() {
        let (mean, rstd) = stats(row, eps);
        for c in 0..channels {
            h.outputs[0][r * channels + c] = (row[c] - mean) * rstd * weight[c] + bias[c];
        }
        h.outputs[1][2 * r] = mean;
        h.outputs[1][2 * r + 1] = rstd;
    }
}

fn backward_x_twin(h: &mut HostNode<'_>, channels: usize) {
    let (dy, x, weight, saved) = (h.inputs[0], h.inputs[1], h.inputs[2], h.inputs[3]);
    let n = channels as f64;
    for r in 0..x.len() / channels {
        let (mean, rstd) = (saved[2 * r], saved[2 * r + 1]);
        let at = |c: usize| r * channels + c;
        let hat = |c: usize| (x[at(c)] - mean) * rstd;
        let g = |c: usize| dy[at(c)] * weight[c];
        let mean_g = (0..channels).map(g).sum::<f64>() / n;
        let mean_gx = (0..channels).map(|c| g(c) * hat(c)).sum::<f64>() / n;
        for c in 0..channels {
            let prior = h.inputs.get(4).map_or(0.0, |p| p[at(c)]);
            h.outputs[0][at(c)] = prior + rstd * (g(c) - mean_g - hat(c) * mean_gx);
        }
    }
}

fn backward_weight_twin(h: &mut HostNode<'_>, channels: usize) {
    let (dy, x, saved) = (h.inputs[0], h.inputs[1], h.inputs[2]);
    for (i, (dy, x)) in dy.iter().zip(x).enumerate() {
        let (r, c) = (i / channels, i % channels);
        h.outputs[0][c] += dy * (x - saved[2 * r]) * saved[2 * r + 1];
        h.outputs[1][c] += dy;
    }
}

/// Test cases.
pub fn cases() -> Vec<Case> {
    let affine = |rows: usize, channels: usize, eps: f32| {
        Case::new(format!("layer_norm {rows}x{channels}, eps {eps}"), move |rig| {
            let x = rig.leaf("x", &[rows, channels]);
            let (weight, bias) = (rig.param("weight", &[channels]), rig.param("bias", &[channels]));
            forward(&mut rig.rec, x, &Norm { weight, bias, eps })
        })
    };
    let branched = Case::new("layer_norm 33x48 beside a skip", |rig| {
        let x = rig.leaf("x", &[33, 48]);
        let (weight, bias) = (rig.param("weight", &[48]), rig.param("bias", &[48]));
        let branch = forward(&mut rig.rec, x, &Norm { weight, bias, eps: EPS });
        rig.sum(x, branch)
    });
    let plain = Case::new("layer_norm without affine 7x33", |rig| {
        let x = rig.input("x", &[7, 33]);
        plain(&mut rig.rec, x)
    });
    vec![affine(1, 7, EPS), affine(7, 33, 0.1), affine(197, 48, EPS), affine(3, 384, EPS), branched, plain]
}
