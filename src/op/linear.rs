//! Linear layer `y = x Wᵀ + b` on the last dimension: x (R, in), W (out, in), b (out), y (R, out).
//!
//! `dx = dy W`, `dW += dyᵀ x`, `db += sum_R dy`.

use super::check::Case;
use super::matmul::{Epilogue, Layout, Product, record};
use super::{column_sum, expect_shape};
use crate::gpu::{Recorder, Tensor};

/// The parameters of a linear layer.
#[derive(Debug, Clone, Copy)]
pub struct Linear {
    /// Seen as (out, rest).
    pub weight: Tensor,
    /// (out)
    pub bias: Option<Tensor>,
    /// The middle third of the bias is no parameter (the key bias of a qkv layer) and gets no gradient.
    pub skip_middle: bool,
}

impl Linear {
    /// A layer all of whose bias is a parameter.
    pub fn new(weight: Tensor, bias: Option<Tensor>) -> Self {
        Linear { weight, bias, skip_middle: false }
    }
}

/// `y (.., out)` of `x (.., in)`.
pub fn forward(rec: &mut Recorder, x: Tensor, layer: &Linear) -> Tensor {
    let (rows, k) = (rec.rows(x), rec.width(x));
    let n = rec.shape(layer.weight)[0];
    if let Some(bias) = layer.bias {
        expect_shape(rec, "linear", bias, &[n]);
    }
    let mut shape = rec.shape(x).to_vec();
    if let Some(last) = shape.last_mut() {
        *last = n;
    }
    let y = rec.transient(format!("{} x", rec.name(layer.weight)), &shape);
    let epilogue = layer.bias.map_or(Epilogue::Store, Epilogue::Bias);
    let product = Product { a: x, b: layer.weight, c: y, layout: Layout::NT, m: rows, n, k, epilogue };
    record(rec, "linear.forward", product);
    let layer = *layer;
    let inputs: Vec<Tensor> = [x, layer.weight].into_iter().chain(layer.bias).collect();
    rec.tape(&inputs, y, move |rec, dy| backward(rec, dy, x, &layer));
    y
}

/// Records `dW`, `db` and, where x needs it, `dx`.
fn backward(rec: &mut Recorder, dy: Tensor, x: Tensor, layer: &Linear) {
    let (rows, k, n) = (rec.rows(x), rec.width(x), rec.width(dy));
    if let Some(dweight) = rec.param_grad(layer.weight) {
        let product = Product {
            a: dy,
            b: x,
            c: dweight,
            layout: Layout::TN,
            m: n,
            n: k,
            k: rows,
            epilogue: Epilogue::Accumulate,
        };
        record(rec, "linear.backward_weight", product);
    }
    if let Some(dbias) = layer.bias.and_then(|b| rec.param_grad(b)) {
        let skip = if layer.skip_middle { n / 3..2 * n / 3 } else { 0..0 };
        column_sum::accumulate(rec, dy, dbias, skip);
    }
    if rec.needs_grad(x) {
        let shape = rec.shape(x).to_vec();
        let dx = rec.transient(format!("d {}", rec.name(x)), &shape);
        let product = Product {
            a: dy,
            b: layer.weight,
            c: dx,
            layout: Layout::NN,
            m: rows,
            n: k,
            k: n,
            epilogue: Epilogue::Store,
        };
        record(rec, "linear.backward_x", product);
        rec.add_grad(x, dx);
    }
}

/// Test cases.
pub fn cases() -> Vec<Case> {
    let case = |rows: usize, k: usize, n: usize, bias: bool| {
        Case::new(format!("linear {rows}x{k} to {n}{}", if bias { "" } else { " without bias" }), move |rig| {
            let x = rig.leaf("x", &[rows, k]);
            let weight = rig.param("weight", &[n, k]);
            let bias = bias.then(|| rig.param("bias", &[n]));
            forward(&mut rig.rec, x, &Linear::new(weight, bias))
        })
    };
    vec![
        case(1, 7, 33, true),
        case(33, 1, 1, true),
        case(197, 33, 7, true),
        case(33, 48, 64, false),
        case(157, 64, 96, true),
        case(70, 36, 260, true),
    ]
}
