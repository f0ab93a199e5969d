//! Linear layer `y = x Wᵀ + b` on the last dimension: x (R, in), W (out, in), b (out), y (R, out), alone, before a GELU
//! or before a residual sum. Layers of one shape may be stacked: each takes its share of the rows, in turn.
//!
//! `dx = dy W`, `dW += dyᵀ x`, `db += sum_R dy`.

use super::check::Case;
use super::matmul::{Epilogue, Layout, Product, Totals, operand, record};
use super::residual::{self, Skip};
use super::{column_sum, expect_shape, expect_stacked, rows};
use crate::gpu::{Recorder, Tensor};

/// The parameters of a linear layer.
#[derive(Debug, Clone, Copy)]
pub struct Linear {
    /// Seen as (out, rest); (stack, out, in) of stacked layers.
    pub weight: Tensor,
    /// (out) or (stack, out).
    pub bias: Option<Tensor>,
    /// Layers behind each other.
    pub stack: usize,
    /// The middle third of the bias is no parameter (the key bias of a qkv layer) and gets no gradient.
    pub skip_middle: bool,
}

impl Linear {
    /// A layer all of whose bias is a parameter.
    pub fn new(weight: Tensor, bias: Option<Tensor>) -> Self {
        Linear { weight, bias, stack: 1, skip_middle: false }
    }

    fn bias_of(&self, rec: &Recorder) -> Tensor {
        self.bias.unwrap_or_else(|| panic!("linear: {} has no bias", rec.name(self.weight)))
    }
}

/// The shape of `y`.
fn shape_of(rec: &Recorder, x: Tensor, layer: &Linear) -> Vec<usize> {
    let n = rec.shape(layer.weight)[usize::from(layer.stack > 1)];
    if let Some(bias) = layer.bias {
        expect_stacked(rec, "linear", bias, layer.stack, n);
    }
    let mut shape = rec.shape(x).to_vec();
    if let Some(last) = shape.last_mut() {
        *last = n;
    }
    shape
}

/// Records the product of a forward pass.
fn product(rec: &mut Recorder, x: Tensor, layer: &Linear, y: Tensor, epilogue: Epilogue) {
    let (batch, k, n) = (layer.stack, rec.width(x), rec.width(y));
    let m = rec.rows(x) / batch;
    let product = Product { batch, a: x, b: layer.weight, c: y, layout: Layout::NT, m, n, k, epilogue };
    record(rec, "linear.forward", product);
}

/// What a linear layer's backward may depend on.
fn inputs(x: Tensor, layer: &Linear) -> Vec<Tensor> {
    [x, layer.weight].into_iter().chain(layer.bias).collect()
}

/// `y (.., out)` of `x (.., in)`.
pub fn forward(rec: &mut Recorder, x: Tensor, layer: &Linear) -> Tensor {
    let shape = shape_of(rec, x, layer);
    let y = rec.transient(format!("{} x", rec.name(layer.weight)), &shape);
    product(rec, x, layer, y, layer.bias.map_or(Epilogue::Store, Epilogue::Bias));
    let layer = *layer;
    rec.tape(&inputs(x, &layer), y, move |rec, dy| backward(rec, dy, x, &layer, None));
    y
}

/// `skip.x + scale * y`: a linear layer as the end of a residual branch.
///
/// # Panics
/// If the layer has no bias, or the skip another shape than y: mistakes in model code.
pub fn forward_skip(rec: &mut Recorder, x: Tensor, layer: &Linear, skip: Skip) -> Tensor {
    let shape = shape_of(rec, x, layer);
    expect_shape(rec, "linear beside a skip", skip.x, &shape);
    let y = rec.transient(format!("{} + {} x", rec.name(skip.x), rec.name(layer.weight)), &shape);
    product(rec, x, layer, y, skip_epilogue(rec, layer, skip));
    let layer = *layer;
    let inputs: Vec<Tensor> = inputs(x, &layer).into_iter().chain([skip.x]).collect();
    rec.tape(&inputs, y, move |rec, dy| {
        let dbranch = residual::backward(rec, dy, skip);
        backward(rec, dbranch, x, &layer, None);
    });
    y
}

fn skip_epilogue(rec: &Recorder, layer: &Linear, skip: Skip) -> Epilogue {
    Epilogue::Skip { bias: layer.bias_of(rec), skip: skip.x, scale: skip.scale }
}

/// `skip.x + scale * fc2(gelu(fc1(x)))`: the MLP of a transformer block; fc2 may only see the GELU's output, so that
/// its gradient passes the GELU within one product.
///
/// # Panics
/// If a layer has no bias, or the skip another shape than the result: mistakes in model code.
pub fn mlp(rec: &mut Recorder, x: Tensor, [fc1, fc2]: [&Linear; 2], skip: Skip) -> Tensor {
    let hidden = shape_of(rec, x, fc1);
    let name = format!("gelu({} x)", rec.name(fc1.weight));
    let h = operand(rec, name, &hidden, &[fc1.weight, fc2.weight]);
    let learns = inputs(x, fc1).into_iter().chain(inputs(h, fc2)).chain([skip.x]).any(|t| rec.needs_grad(t));
    let saved = learns.then(|| {
        let name = format!("{} x", rec.name(fc1.weight));
        if rec.is_image(h) { rec.transient_image(name, &hidden) } else { rec.transient(name, &hidden) }
    });
    let bias = fc1.bias_of(rec);
    product(rec, x, fc1, h, Epilogue::Gelu { bias, saved });
    let shape = shape_of(rec, h, fc2);
    expect_shape(rec, "mlp", skip.x, &shape);
    let y = rec.transient(format!("{} + {} x", rec.name(skip.x), rec.name(fc2.weight)), &shape);
    product(rec, h, fc2, y, skip_epilogue(rec, fc2, skip));
    if let Some(before) = saved {
        let (fc1, fc2) = (*fc1, *fc2);
        let inputs: Vec<Tensor> = inputs(x, &fc1).into_iter().chain(inputs(h, &fc2)).chain([skip.x]).collect();
        rec.tape(&inputs, y, move |rec, dy| {
            let dbranch = residual::backward(rec, dy, skip);
            rec.require_grad(h);
            backward(rec, dbranch, h, &fc2, Some(before));
            if let Some(dh) = rec.take_grad(h) {
                backward(rec, dh, x, &fc1, None);
            }
        });
    }
    y
}

/// Records `dW`, `db` and, where x needs it, `dx`; `before` is what went into the GELU whose output x is, and then `dx` is
/// the gradient of `before`.
fn backward(rec: &mut Recorder, dy: Tensor, x: Tensor, layer: &Linear, before: Option<Tensor>) {
    let (batch, k, n) = (layer.stack, rec.width(x), rec.width(dy));
    let rows = rec.rows(x) / batch;
    let left = if layer.skip_middle { (n / 3, 2 * n / 3) } else { (0, 0) };
    let mut dbias = layer.bias.and_then(|b| rec.param_grad(b)).map(|into| Totals { into, left });
    if let Some(dweight) = rec.param_grad(layer.weight) {
        let first = rec.first_share(dweight);
        let epilogue = Epilogue::Weight { first, totals: None };
        let product = Product { batch, a: dy, b: x, c: dweight, layout: Layout::TN, m: n, n: k, k: rows, epilogue };
        let totals = dbias.take_if(|totals| product.takes(rec, totals));
        let epilogue = Epilogue::Weight { first, totals };
        record(rec, "linear.backward_weight", Product { epilogue, ..product });
    }
    if let Some(Totals { into, left: (from, to) }) = dbias {
        column_sum::accumulate(rec, dy, into, batch, from..to);
    }
    if rec.needs_grad(x) {
        let shape = rec.shape(x).to_vec();
        let name = format!("d {}", rec.name(x));
        // What comes before a GELU is the output of a layer, so its gradient is an operand of that layer's products.
        let dx = if rec.is_image(x) && before.is_some() {
            rec.transient_image(name, &shape)
        } else {
            rec.transient(name, &shape)
        };
        let epilogue = before.map_or(Epilogue::Store, Epilogue::GeluGradient);
        let product =
            Product { batch, a: dy, b: layer.weight, c: dx, layout: Layout::NN, m: rows, n: k, k: n, epilogue };
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
    // The middle third of y is not looked at, so that its bias, which gets no gradient, has none.
    let once = |rows: usize, k: usize, third: usize| {
        Case::new(format!("linear {rows}x{k} to 3x{third}, one micro-batch a step, no key bias"), move |rig| {
            rig.rec.set_micro_batches(1);
            let x = rig.leaf("x", &[rows, k]);
            let (weight, bias) = (rig.param("weight", &[3 * third, k]), rig.param("bias", &[3 * third]));
            let y = forward(&mut rig.rec, x, &Linear { skip_middle: true, ..Linear::new(weight, Some(bias)) });
            let thirds = rig.rec.reshape(y, &[rows, 3, third]);
            let [q, v] = [0, 2].map(|start| rows::slice(&mut rig.rec, thirds, start, 1));
            rig.sum(q, v)
        })
    };
    let skipped = |samples: usize, rows: usize, k: usize, n: usize, scaled: bool| {
        let name = format!("linear {samples}x{rows}x{k} to {n} beside a skip, scaled {scaled}");
        Case::new(name, move |rig| {
            let (x, skip) = (rig.leaf("x", &[samples, rows, k]), rig.leaf("skip", &[samples, rows, n]));
            let scale = scaled.then(|| rig.input("scale", &[samples]));
            let layer = Linear::new(rig.param("weight", &[n, k]), Some(rig.param("bias", &[n])));
            forward_skip(&mut rig.rec, x, &layer, Skip { x: skip, scale })
        })
    };
    let two = |samples: usize, rows: usize, c: usize, hidden: usize, scaled: bool| {
        Case::new(format!("mlp {samples}x{rows}x{c}, hidden {hidden}, scaled {scaled}"), move |rig| {
            let (x, skip) = (rig.leaf("x", &[samples, rows, c]), rig.leaf("skip", &[samples, rows, c]));
            let scale = scaled.then(|| rig.input("scale", &[samples]));
            let fc1 = Linear::new(rig.param("fc1", &[hidden, c]), Some(rig.param("b1", &[hidden])));
            let fc2 = Linear::new(rig.param("fc2", &[c, hidden]), Some(rig.param("b2", &[c])));
            mlp(&mut rig.rec, x, [&fc1, &fc2], Skip { x: skip, scale })
        })
    };
    // The layers pass their input on, so the hidden values are a dense grid over [-8, 8].
    let dense = |width: usize| {
        Case::new(format!("mlp over [-8, 8], {width} wide"), move |rig| {
            let len = 4096 / width * width;
            let values = (0..len).map(|i| f64::from(-8.0 + 16.0 * i as f32 / len as f32)).collect();
            let x = rig.input_with("x", &[1, len / width, width], values);
            rig.rec.require_grad(x);
            let skip = rig.input_with("skip", &[1, len / width, width], vec![0.0; len]);
            let identity: Vec<f64> = (0..width * width).map(|i| f64::from(u8::from(i % (width + 1) == 0))).collect();
            let mut layer = |name: &str| {
                let weight = rig.input_with(name, &[width, width], identity.clone());
                Linear::new(weight, Some(rig.input_with(&format!("{name} bias"), &[width], vec![0.0; width])))
            };
            let (fc1, fc2) = (layer("fc1"), layer("fc2"));
            mlp(&mut rig.rec, x, [&fc1, &fc2], Skip { x: skip, scale: None })
        })
    };
    // Two layers behind each other, the middle third of whose y is not looked at.
    let stacked = |rows: usize, k: usize, third: usize, micro_batches: usize| {
        let name = format!("linear, two stacked, {rows}x{k} to 3x{third}, {micro_batches} micro-batches a step");
        Case::new(name, move |rig| {
            rig.rec.set_micro_batches(micro_batches);
            let x = rig.leaf("x", &[2, rows, k]);
            let (weight, bias) = (rig.param("weight", &[2, 3 * third, k]), rig.param("bias", &[2, 3 * third]));
            let layer = Linear { stack: 2, skip_middle: true, ..Linear::new(weight, Some(bias)) };
            let y = forward(&mut rig.rec, x, &layer);
            let thirds = rig.rec.reshape(y, &[2 * rows, 3, third]);
            let [q, v] = [0, 2].map(|start| rows::slice(&mut rig.rec, thirds, start, 1));
            rig.sum(q, v)
        })
    };
    let two_stacked = |samples: usize, rows: usize, c: usize, hidden: usize, scaled: bool| {
        let name = format!("mlp, two stacked, {samples}x{rows}x{c}, hidden {hidden}, scaled {scaled}");
        Case::new(name, move |rig| {
            let shape = [2 * samples, rows, c];
            let (x, skip) = (rig.leaf("x", &shape), rig.leaf("skip", &shape));
            let scale = scaled.then(|| rig.input("scale", &[2 * samples]));
            let mut layer = |name: &str, from: usize, to: usize| {
                let weight = rig.param(name, &[2, to, from]);
                Linear { stack: 2, ..Linear::new(weight, Some(rig.param(&format!("{name} bias"), &[2, to]))) }
            };
            let (fc1, fc2) = (layer("fc1", c, hidden), layer("fc2", hidden, c));
            mlp(&mut rig.rec, x, [&fc1, &fc2], Skip { x: skip, scale })
        })
    };
    vec![
        stacked(33, 7, 3, 1),
        stacked(70, 20, 12, 1),
        stacked(37, 64, 44, 2),
        stacked(270, 8, 4, 2),
        two_stacked(2, 5, 7, 9, true),
        two_stacked(1, 33, 20, 36, false),
        two_stacked(3, 15, 64, 128, true),
        case(1, 7, 33, true),
        case(33, 1, 1, true),
        case(197, 33, 7, true),
        case(33, 48, 64, false),
        case(157, 64, 96, true),
        case(70, 36, 260, true),
        case(197, 64, 192, true),
        case(33, 128, 64, false),
        // Long sums of few terms: K is cut into ranges.
        case(300, 20, 132, true),
        case(261, 7, 5, true),
        once(33, 7, 3),
        once(197, 20, 12),
        once(70, 64, 44),
        skipped(3, 7, 33, 5, true),
        skipped(1, 9, 20, 12, false),
        skipped(3, 11, 64, 128, true),
        skipped(2, 33, 128, 64, false),
        two(2, 5, 7, 9, true),
        two(1, 33, 20, 36, false),
        two(3, 15, 64, 128, true),
        dense(1).tolerance(1e-6),
        dense(4).tolerance(1e-6),
        dense(64).tolerance(1e-6),
    ]
}
