//! Layer normalisation over the last dimension.
//!
//! `y = hat * weight + bias`, `hat = (x - mean) * rstd`, `rstd = 1 / sqrt(var + eps)`, biased variance.
//! With `g = dy * weight`: `dx = rstd * (g - mean(g) - hat * mean(g * hat))`, `dweight += sum_R dy * hat`,
//! `dbias += sum_R dy`. Shapes: x, y (R, C); weight, bias (C). Norms may be stacked: each takes its share of the rows, in turn.

use super::check::Case;
use super::linear::Linear;
use super::{by_fours, expect_stacked, matmul, row_chunks};
use crate::gpu::{DispatchBuilder, HostNode, Recorder, Tensor, grid};

/// What every published model adds to the variance.
pub const EPS: f32 = 1e-6;

/// The parameters of a normalisation.
#[derive(Debug, Clone, Copy)]
pub struct Norm {
    /// Scale (C), or (stack, C) of stacked norms.
    pub weight: Tensor,
    /// Shift, of the same shape.
    pub bias: Tensor,
    /// Norms behind each other.
    pub stack: usize,
    /// Added to the variance.
    pub eps: f32,
}

/// How rows are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    /// From textures, by an invocation a row, four channels at a time.
    Image,
    /// Once, by a workgroup a row that keeps it in registers, four channels a load.
    Wide,
    /// By `Caps::row_lanes` invocations a row, one channel a load, however many there are.
    Any,
}

/// Channels of a row that a workgroup of `layer_norm_wide.wgsl` keeps in registers: `256 MOST` there.
const MOST_WIDE: usize = 2048;

impl Family {
    fn of(rec: &Recorder, x: Tensor, weight: Tensor) -> Family {
        let channels = rec.width(x);
        if channels.is_multiple_of(4) && rec.suits_image(x) && rec.suits_image(weight) {
            Family::Image
        } else {
            Family::of_buffers(rec, channels)
        }
    }

    fn of_buffers(rec: &Recorder, channels: usize) -> Family {
        if by_fours(rec, channels) && channels <= MOST_WIDE { Family::Wide } else { Family::Any }
    }

    fn shader(self) -> &'static str {
        match self {
            Family::Image => "layer_norm_image",
            Family::Wide => "layer_norm_wide",
            Family::Any => "layer_norm",
        }
    }

    /// A tensor as the kernels read it.
    fn read(self, rec: &mut Recorder, tensor: Tensor) -> Tensor {
        if self == Family::Image { rec.image(tensor) } else { tensor }
    }

    /// Ends a dispatch over rows with its sizes and grid.
    fn finish(self, dispatch: DispatchBuilder<'_>, rows: usize, channels: usize) {
        let dispatch = dispatch.u32("rows", rows).u32("channels", channels);
        match self {
            Family::Image => dispatch.groups(grid(rows.div_ceil(64))),
            Family::Wide => dispatch.constant("PARTS", channels.div_ceil(256) as u32).groups(grid(rows)),
            Family::Any => {
                let lanes = dispatch.caps().row_lanes();
                dispatch.constant("LANES", lanes).groups(grid((rows * lanes as usize).div_ceil(64)));
            }
        }
    }
}

/// `y`: x normalised, scaled and shifted.
pub fn forward(rec: &mut Recorder, x: Tensor, norm: &Norm) -> Tensor {
    let shape = rec.shape(x).to_vec();
    let y = rec.transient(format!("norm({})", rec.name(x)), &shape);
    record(rec, x, norm, y)
}

/// The same before a linear layer that alone reads y: as its operand, see `matmul::operand`.
pub fn forward_operand(rec: &mut Recorder, x: Tensor, norm: &Norm, layer: &Linear) -> Tensor {
    let (name, shape) = (format!("norm({})", rec.name(x)), rec.shape(x).to_vec());
    let y = if Family::of(rec, x, norm.weight) == Family::Image {
        matmul::operand(rec, name, &shape, &[layer.weight])
    } else {
        rec.transient(name, &shape)
    };
    record(rec, x, norm, y)
}

fn record(rec: &mut Recorder, x: Tensor, norm: &Norm, y: Tensor) -> Tensor {
    let Norm { weight, bias, stack, eps } = *norm;
    let (rows, channels) = (rec.rows(x), rec.width(x));
    expect_stacked(rec, "layer_norm", weight, stack, channels);
    expect_stacked(rec, "layer_norm", bias, stack, channels);
    let saved = rec.transient(format!("stats({})", rec.name(x)), &[rows, 2]);
    let cost = 8.0 * (rows * channels) as f64;
    let family = Family::of(rec, x, weight);
    let reads = [x, weight, bias].map(|t| family.read(rec, t));
    rec.node("layer_norm.forward", &[x, weight, bias], &[y, saved], cost, move |h| forward_twin(h, stack, eps));
    let (entry, y_name) = if rec.is_image(y) { ("forward_image", "y_image") } else { ("forward", "y") };
    let dispatch = rec.dispatch(family.shader(), entry);
    let dispatch = dispatch.bind("x", reads[0]).bind("weight", reads[1]).bind("bias", reads[2]);
    let dispatch = dispatch.bind(y_name, y).bind("saved", saved).u32("part", rows / stack).f32("eps", eps);
    family.finish(dispatch, rows, channels);
    let norm = *norm;
    rec.tape(&[x, weight, bias], y, move |rec, dy| backward(rec, dy, x, norm, saved));
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
    let family = Family::of_buffers(rec, channels);
    let dispatch = rec.dispatch(family.shader(), "forward_plain").bind("x", x).bind("y", y).f32("eps", EPS);
    family.finish(dispatch, rows, channels);
    y
}

fn backward(rec: &mut Recorder, dy: Tensor, x: Tensor, norm: Norm, saved: Tensor) {
    let Norm { weight, bias, stack, .. } = norm;
    let (rows, channels) = (rec.rows(x), rec.width(x));
    let cost = 8.0 * (rows * channels) as f64;
    let family = Family::of(rec, x, weight);
    if let (Some(dweight), Some(dbias)) = (rec.param_grad(weight), rec.param_grad(bias)) {
        backward_weight(rec, [dy, x, saved], [dweight, dbias], stack, family);
    }
    if !rec.needs_grad(x) {
        return;
    }
    let prior = rec.take_grad(x);
    let shape = rec.shape(x).to_vec();
    let dx = rec.transient(format!("d {}", rec.name(x)), &shape);
    let mut inputs = vec![dy, x, weight, saved];
    inputs.extend(prior);
    let reads = [x, dy, weight, prior.unwrap_or(dy)].map(|t| family.read(rec, t));
    rec.node("layer_norm.backward_x", &inputs, &[dx], cost, move |h| backward_x_twin(h, stack));
    let dispatch = rec.dispatch(family.shader(), "backward_x").bind("x", reads[0]).bind("dy", reads[1]);
    let dispatch = dispatch.bind("weight", reads[2]).bind("stats", saved).bind("prior", reads[3]).bind("dx", dx);
    let dispatch = dispatch.u32("part", rows / stack);
    family.finish(dispatch.constant("HAS_PRIOR", u32::from(prior.is_some())), rows, channels);
    rec.add_grad(x, dx);
}

/// Adds to dweight and dbias, in two passes.
fn backward_weight(
    rec: &mut Recorder,
    [dy, x, saved]: [Tensor; 3],
    [dweight, dbias]: [Tensor; 2],
    stack: usize,
    family: Family,
) {
    let (rows, channels) = (rec.rows(x), rec.width(x));
    let wide = family == Family::Wide;
    let (chunk, chunks) = row_chunks(rows / stack, wide);
    let partial = rec.transient("norm partial sums", &[stack, chunks, channels, 2]);
    let (x_read, dy_read) = (family.read(rec, x), family.read(rec, dy));
    let cost = 8.0 * (rows * channels) as f64;
    rec.node("layer_norm.backward_weight", &[dy, x, saved], &[dweight, dbias], cost, move |h| {
        backward_weight_twin(h, stack);
    });
    // Columns of a workgroup, in each pass; the second has dweight's and dbias's beside each other where it is wide.
    let [first, last] = if wide { [channels.div_ceil(256), channels.div_ceil(32)] } else { [channels.div_ceil(64); 2] };
    rec.dispatch(family.shader(), "backward_weight_partial")
        .bind("x", x_read)
        .bind("dy", dy_read)
        .bind("stats", saved)
        .bind("partial", partial)
        .u32("rows", rows)
        .u32("channels", channels)
        .u32("part", rows / stack)
        .u32("chunk", chunk)
        .groups([first as u32, chunks as u32, stack as u32]);
    rec.dispatch(if wide { family.shader() } else { Family::Any.shader() }, "backward_weight_sum")
        .bind("partial", partial)
        .bind("dweight", dweight)
        .bind("dbias", dbias)
        .u32("rows", rows)
        .u32("channels", channels)
        .u32("part", rows / stack)
        .u32("chunk", chunk)
        .groups([last as u32, 1, stack as u32]);
}

fn stats(row: &[f64], eps: f32) -> (f64, f64) {
    let mean = row.iter().sum::<f64>() / row.len() as f64;
    let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / row.len() as f64;
    (mean, 1.0 / (variance + f64::from(eps)).sqrt())
}

fn forward_twin(h: &mut HostNode<'_>, stack: usize, eps: f32) {
    let (x, weight, bias) = (h.inputs[0], h.inputs[1], h.inputs[2]);
    let (channels, part) = (weight.len() / stack, x.len() / stack);
    for (r, row) in x.chunks_exact(channels).enumerate() {
        let (mean, rstd) = stats(row, eps);
        let norm = r * channels / part * channels;
        for c in 0..channels {
            h.outputs[0][r * channels + c] = (row[c] - mean) * rstd * weight[norm + c] + bias[norm + c];
        }
        h.outputs[1][2 * r] = mean;
        h.outputs[1][2 * r + 1] = rstd;
    }
}

fn backward_x_twin(h: &mut HostNode<'_>, stack: usize) {
    let (dy, x, weight, saved) = (h.inputs[0], h.inputs[1], h.inputs[2], h.inputs[3]);
    let (channels, part) = (weight.len() / stack, x.len() / stack);
    let n = channels as f64;
    for r in 0..x.len() / channels {
        let (mean, rstd) = (saved[2 * r], saved[2 * r + 1]);
        let at = |c: usize| r * channels + c;
        let hat = |c: usize| (x[at(c)] - mean) * rstd;
        let norm = r * channels / part * channels;
        let g = |c: usize| dy[at(c)] * weight[norm + c];
        let mean_g = (0..channels).map(g).sum::<f64>() / n;
        let mean_gx = (0..channels).map(|c| g(c) * hat(c)).sum::<f64>() / n;
        for c in 0..channels {
            let prior = h.inputs.get(4).map_or(0.0, |p| p[at(c)]);
            h.outputs[0][at(c)] = prior + rstd * (g(c) - mean_g - hat(c) * mean_gx);
        }
    }
}

fn backward_weight_twin(h: &mut HostNode<'_>, stack: usize) {
    let (dy, x, saved) = (h.inputs[0], h.inputs[1], h.inputs[2]);
    let (channels, part) = (h.outputs[0].len() / stack, x.len() / stack);
    for (i, (dy, x)) in dy.iter().zip(x).enumerate() {
        let (r, to) = (i / channels, i / part * channels + i % channels);
        h.outputs[0][to] += dy * (x - saved[2 * r]) * saved[2 * r + 1];
        h.outputs[1][to] += dy;
    }
}

/// Test cases.
pub fn cases() -> Vec<Case> {
    let affine = |rows: usize, channels: usize, eps: f32| {
        Case::new(format!("layer_norm {rows}x{channels}, eps {eps}"), move |rig| {
            let x = rig.leaf("x", &[rows, channels]);
            let (weight, bias) = (rig.param("weight", &[channels]), rig.param("bias", &[channels]));
            forward(&mut rig.rec, x, &Norm { weight, bias, stack: 1, eps })
        })
    };
    let operand = |rows: usize, channels: usize| {
        Case::new(format!("layer_norm {rows}x{channels} before a linear layer"), move |rig| {
            let x = rig.leaf("x", &[rows, channels]);
            let (weight, bias) = (rig.param("weight", &[channels]), rig.param("bias", &[channels]));
            let layer = Linear::new(rig.param("layer", &[12, channels]), Some(rig.param("layer bias", &[12])));
            let y = forward_operand(&mut rig.rec, x, &Norm { weight, bias, stack: 1, eps: EPS }, &layer);
            super::linear::forward(&mut rig.rec, y, &layer)
        })
    };
    let stacked = |rows: usize, channels: usize| {
        Case::new(format!("layer_norm, three stacked, {rows}x{channels}"), move |rig| {
            let x = rig.leaf("x", &[3, rows, channels]);
            let (weight, bias) = (rig.param("weight", &[3, channels]), rig.param("bias", &[3, channels]));
            forward(&mut rig.rec, x, &Norm { weight, bias, stack: 3, eps: EPS })
        })
    };
    let branched = |rows: usize, channels: usize| {
        Case::new(format!("layer_norm {rows}x{channels} beside a skip"), move |rig| {
            let x = rig.leaf("x", &[rows, channels]);
            let (weight, bias) = (rig.param("weight", &[channels]), rig.param("bias", &[channels]));
            let branch = forward(&mut rig.rec, x, &Norm { weight, bias, stack: 1, eps: EPS });
            rig.sum(x, branch)
        })
    };
    let plain = |rows: usize, channels: usize| {
        Case::new(format!("layer_norm without affine {rows}x{channels}"), move |rig| {
            let x = rig.input("x", &[rows, channels]);
            plain(&mut rig.rec, x)
        })
    };
    vec![
        affine(1, 7, EPS),
        affine(7, 33, 0.1),
        affine(197, 48, EPS),
        affine(3, 384, EPS),
        affine(1, 4, EPS),
        affine(131, 260, EPS),
        affine(2, 768, EPS),
        affine(3, 1280, EPS),
        affine(2, 1664, EPS),
        affine(1, 2048, EPS),
        affine(2, 2052, EPS),
        affine(2, 1281, EPS),
        stacked(40, 33),
        stacked(37, 48),
        operand(33, 48),
        operand(5, 7),
        branched(33, 48),
        branched(7, 33),
        plain(7, 33),
        plain(5, 132),
    ]
}
