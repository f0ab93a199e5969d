//! Matrix products in three layouts; what linear layers and their gradients are made of.
//!
//! `C (M, N) = A B`, with A stored (M, K) or, transposed, (K, M), and B stored (K, N) or, transposed, (N, K). In a batch, each
//! tensor holds the matrices, and what else is said of one product, behind each other.

mod kernels;

use std::sync::Arc;

use super::gelu;
use crate::gpu::{Dtype, HostNode, Operands, Recorder, Tensor, Trial, grid};
use kernels::{Kernel, Reads, SUBGROUP, candidates};

/// How A and B are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layout {
    /// A (M, K), B (K, N): `dx = dy W`.
    NN,
    /// A (M, K), B (N, K): `y = x Wᵀ`.
    NT,
    /// A (K, M), B (K, N): `dW = dyᵀ x`.
    TN,
}

/// What happens to the sums before they are stored.
#[derive(Debug, Clone, Copy)]
pub enum Epilogue {
    /// `c = sums`
    Store,
    /// The gradient of a weight, TN: `c += sums`, or `c = sums` where it is the step's first share.
    Weight {
        /// Nothing of this step is in `c` yet.
        first: bool,
        /// The gradient of the bias beside it.
        totals: Option<Totals>,
    },
    /// `c = sums + bias`; bias (N).
    Bias(Tensor),
    /// `c = gelu(sums + bias)`, and `saved = sums + bias` (M, N) where a gradient will want it.
    Gelu {
        /// (N)
        bias: Tensor,
        /// (M, N)
        saved: Option<Tensor>,
    },
    /// `c = skip + scale[sample] * (sums + bias)`.
    Skip {
        /// (N)
        bias: Tensor,
        /// (M, N)
        skip: Tensor,
        /// (B): a factor for each `M / B` rows.
        scale: Option<Tensor>,
    },
    /// `c = sums * gelu'(saved)`; saved (M, N).
    GeluGradient(Tensor),
}

/// Column sums of A (K, M), made on the way: `into += sum_K a`.
#[derive(Debug, Clone, Copy)]
pub struct Totals {
    /// (M)
    pub into: Tensor,
    /// Columns from the first to before the second are left alone.
    pub left: (usize, usize),
}

/// A batch of products of one shape.
#[derive(Debug, Clone, Copy)]
pub struct Product {
    /// How many.
    pub batch: usize,
    /// Left operand.
    pub a: Tensor,
    /// Right operand.
    pub b: Tensor,
    /// Result (M, N).
    pub c: Tensor,
    /// How A and B are stored.
    pub layout: Layout,
    /// Rows of C.
    pub m: usize,
    /// Columns of C.
    pub n: usize,
    /// Terms of each sum.
    pub k: usize,
    /// Last step.
    pub epilogue: Epilogue,
}

/// How a product ends, whatever the tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// `Epilogue::Store`, or the first share of a weight's gradient.
    Store,
    /// A further share of it.
    Accumulate,
    /// `Epilogue::Bias`
    Bias,
    /// `Epilogue::Gelu`
    Gelu {
        /// For a gradient.
        saved: bool,
    },
    /// `Epilogue::Skip`
    Skip {
        /// By a factor a sample.
        scaled: bool,
    },
    /// `Epilogue::GeluGradient`
    GeluGradient,
}

impl End {
    /// Name of the entry point.
    fn entry(self) -> &'static str {
        match self {
            End::Store => "plain",
            End::Accumulate => "accumulate",
            End::Bias => "biased",
            End::Gelu { saved: false } => "activated",
            End::Gelu { saved: true } => "activated_saved",
            End::Skip { scaled: false } => "skipped",
            End::Skip { scaled: true } => "skipped_scaled",
            End::GeluGradient => "activation_gradient",
        }
    }
}

/// Names of all kernels, as choices know them.
pub fn kernel_names() -> impl Iterator<Item = &'static str> {
    kernels::KERNELS.iter().map(|kernel| kernel.name)
}

fn names(kernels: &[&Kernel]) -> Vec<&'static str> {
    kernels.iter().map(|kernel| kernel.name).collect()
}

impl Product {
    /// What its kernel depends on.
    fn question(&self, rec: &Recorder) -> String {
        let Product { batch, layout, m, n, k, .. } = *self;
        let batch = if batch > 1 { format!("{batch} x ") } else { String::new() };
        let precision = if rec.caps().rounds() { " of f16" } else { "" };
        format!("product {layout:?} {batch}{m}x{k}x{n} {}{precision}", self.epilogue.end().entry())
    }

    /// How its kernels are tried: checked with two products in a batch, K a multiple of their slabs and not.
    fn trial(&self, end: End) -> Trial {
        let Product { batch, m, k, n, layout, .. } = *self;
        let alone_at = move |shape: [usize; 4]| move |rec: &mut Recorder| alone(rec, layout, shape, end);
        // Kernels differ in how many numbers they read at a time: the sizes are such that the same ones fit.
        let read = if layout == Layout::TN { m } else { k };
        let [eights, fours] = [8, 4].map(|many| n.is_multiple_of(many) && read.is_multiple_of(many));
        let sizes = match (eights, fours) {
            (true, _) => [[2, 136, 264, 136], [2, 136, 288, 136]],
            (false, true) => [[2, 140, 268, 132], [1, 132, 288, 140]],
            (false, false) => [[2, 71, 263, 67], [1, 67, 288, 70]],
        };
        let small = move |rec: &mut Recorder| sizes.iter().for_each(|&shape| alone_at(shape)(rec));
        let size = ["", ", by fours", ", of any size"][usize::from(!eights) + usize::from(!fours)];
        let kind = format!("{layout:?} {}{size}", end.entry());
        Trial { alone: Arc::new(alone_at([batch, m, k, n])), kind, small: Arc::new(small) }
    }

    /// Whether `Epilogue::Weight` can make these column sums on the way.
    pub fn takes(&self, rec: &Recorder, totals: &Totals) -> bool {
        let (candidates, (from, to)) = (candidates(self, rec), totals.left);
        let chosen = rec.choice(&self.question(rec), &names(&candidates));
        !candidates[chosen].tiles() && from.is_multiple_of(4) && to.is_multiple_of(4)
    }

    /// `((row, k), (k, column))` strides of A and B.
    fn strides(&self) -> ((usize, usize), (usize, usize)) {
        match self.layout {
            Layout::NN => ((self.k, 1), (self.n, 1)),
            Layout::NT => ((self.k, 1), (1, self.k)),
            Layout::TN => ((1, self.m), (self.n, 1)),
        }
    }
}

impl Epilogue {
    fn end(&self) -> End {
        match self {
            Epilogue::Store | Epilogue::Weight { first: true, .. } => End::Store,
            Epilogue::Weight { first: false, .. } => End::Accumulate,
            Epilogue::Bias(_) => End::Bias,
            Epilogue::Gelu { saved, .. } => End::Gelu { saved: saved.is_some() },
            Epilogue::Skip { scale, .. } => End::Skip { scaled: scale.is_some() },
            Epilogue::GeluGradient(_) => End::GeluGradient,
        }
    }

    /// Name of the entry point.
    fn entry(&self) -> &'static str {
        match self {
            Epilogue::Weight { first: true, totals: Some(_) } => "plain_totals",
            Epilogue::Weight { first: false, totals: Some(_) } => "accumulate_totals",
            _ => self.end().entry(),
        }
    }

    /// What it reads, by the shaders' names.
    fn inputs(&self) -> Vec<(&'static str, Tensor)> {
        match *self {
            Epilogue::Store | Epilogue::Weight { .. } => vec![],
            Epilogue::Bias(bias) | Epilogue::Gelu { bias, .. } => vec![("bias", bias)],
            Epilogue::Skip { bias, skip, scale } => {
                let scale = scale.map(|scale| ("scale", scale));
                [("bias", bias), ("skip", skip)].into_iter().chain(scale).collect()
            }
            Epilogue::GeluGradient(before) => vec![("before", before)],
        }
    }

    /// What it writes beside C, by the shaders' names.
    fn outputs(&self) -> Option<(&'static str, Tensor)> {
        match *self {
            Epilogue::Gelu { saved, .. } => saved.map(|saved| ("saved", saved)),
            Epilogue::Weight { totals, .. } => totals.map(|totals| ("totals", totals.into)),
            _ => None,
        }
    }

    /// FLOPs of one element.
    fn flops(&self) -> f64 {
        match self {
            Epilogue::Store => 0.0,
            Epilogue::Weight { .. } | Epilogue::Bias(_) => 1.0,
            Epilogue::Skip { .. } => 3.0,
            Epilogue::Gelu { .. } | Epilogue::GeluGradient(_) => 20.0,
        }
    }
}

/// A tensor (.., width) that only products read, as operands: a texture where they read their operands from those.
///
/// `others` are the operands beside it; a product takes textures only if all suit it.
pub fn operand(rec: &mut Recorder, name: String, shape: &[usize], others: &[Tensor]) -> Tensor {
    let width = shape.last().copied().unwrap_or(1);
    let suits = |t: &Tensor| rec.suits_image(*t) && rec.shape(*t).iter().rev().take(2).all(|n| n.is_multiple_of(4));
    let by_image = rec.caps().subgroup == Some(SUBGROUP as u32)
        && width.is_multiple_of(4)
        && rec.fits_image(shape.iter().product())
        && others.iter().all(suits);
    if by_image { rec.transient_image(name, shape) } else { rec.transient(name, shape) }
}

/// Records a product as a node of that name.
///
/// # Panics
/// If the tensors' sizes are not those of the product: a mistake in an operation.
pub fn record(rec: &mut Recorder, name: &'static str, p: Product) {
    for (t, len) in [(p.a, p.m * p.k), (p.b, p.k * p.n), (p.c, p.m * p.n)] {
        assert_eq!(rec.len(t), p.batch * len, "{name}: size of {}", rec.name(t));
    }
    let per_sample = match p.epilogue {
        Epilogue::Skip { scale: Some(scale), .. } => p.batch * p.m / rec.len(scale),
        _ => p.m,
    };
    let candidates = candidates(&p, rec);
    let end = p.epilogue.end();
    let question = p.question(rec);
    let kernel = candidates[rec.choose(question, &names(&candidates), p.trial(end))];
    let by_image = kernel.reads == Reads::Images;
    let [a, b] = [p.a, p.b].map(|operand| match kernel.reads {
        Reads::Images => rec.image(operand),
        Reads::Matrices { operands: Operands::F16, .. } => rec.half(operand),
        _ => operand,
    });
    let read = p.epilogue.inputs();
    let inputs: Vec<Tensor> = [p.a, p.b].into_iter().chain(read.iter().map(|(_, t)| *t)).collect();
    let beside = p.epilogue.outputs();
    let outputs: Vec<Tensor> = [p.c].into_iter().chain(beside.map(|(_, t)| t)).collect();
    let flops = (2.0 * p.k as f64 + p.epilogue.flops()) * (p.batch * p.m * p.n) as f64;
    let bound = match p.epilogue {
        // From a texture, as the operands are; layer norm has mostly made one of it.
        Epilogue::Skip { bias, skip, scale } if by_image => {
            Epilogue::Skip { bias, skip: rec.image(skip), scale }.inputs()
        }
        _ => read,
    };
    let (splits, depth) = kernel.ranges(&p);
    let parts = (splits > 1).then(|| rec.transient("sums of ranges of K", &[p.batch * splits, p.m, p.n]));
    rec.node(name, &inputs, &outputs, flops, move |h| twin(h, &p, per_sample));
    let hidden = matches!(p.epilogue, Epilogue::Gelu { .. } | Epilogue::GeluGradient(_)) && !kernel.tiles();
    assert!(hidden || !rec.is_image(p.c), "{name}: {} is an image", rec.name(p.c));
    let c = if hidden { "hidden" } else { "c" };
    let mut beside: Vec<(&str, Tensor)> = bound.into_iter().chain(beside).chain([(c, p.c)]).collect();
    let (entry, layout) = (p.epilogue.entry(), p.layout as u32);
    // The epilogue belongs to the last dispatch.
    let (first, ends) = match parts {
        Some(parts) => ("plain", std::mem::replace(&mut beside, vec![("c", parts)])),
        None => (entry, vec![]),
    };
    let dispatch = rec.dispatch(kernel.shader, first).bind("a", a).bind("b", b).constant("LAYOUT", layout);
    let dispatch = beside.into_iter().fold(dispatch, |d, (name, tensor)| d.bind(name, tensor));
    let dispatch = dispatch.u32("m", p.m).u32("n", p.n).u32("k", p.k).u32("per_sample", per_sample);
    let dispatch = match p.epilogue {
        _ if kernel.tiles() => {
            let whole = f64::from(u8::from(p.k.is_multiple_of(kernel.slab)));
            dispatch.u32("splits", splits).u32("depth", depth).constant("WHOLE", whole)
        }
        Epilogue::Weight { totals: Some(Totals { left: (from, to), .. }), .. } => {
            dispatch.u32("left", from).u32("left_end", to)
        }
        _ => dispatch,
    };
    let (rows, columns) = kernel.tile;
    dispatch.groups([p.m.div_ceil(rows) as u32, p.n.div_ceil(columns) as u32, (p.batch * splits) as u32]);
    if let Some(parts) = parts {
        let dispatch = rec.dispatch(kernel.sum(), entry).bind("a", parts).constant("LAYOUT", layout);
        let dispatch = ends.into_iter().fold(dispatch, |d, (name, tensor)| d.bind(name, tensor));
        let dispatch = dispatch.u32("m", p.m).u32("n", p.n).u32("k", p.k).u32("per_sample", per_sample);
        let dispatch = dispatch.u32("splits", splits).u32("depth", depth).u32("batch", p.batch);
        dispatch.groups(grid((p.batch * p.m * p.n.div_ceil(4)).div_ceil(64)));
    }
}

/// Records `batch` products of inputs, C (`m`, `n`) of `k` terms, to be timed.
pub fn alone(rec: &mut Recorder, layout: Layout, [batch, m, k, n]: [usize; 4], end: End) {
    fn input(rec: &mut Recorder, name: &str, shape: &[usize]) -> Tensor {
        rec.input(name, shape, Dtype::F32)
    }
    let (a, b, shape) = (input(rec, "a", &[batch, m * k]), input(rec, "b", &[batch, k * n]), [batch, m, n]);
    let c = match end {
        End::Gelu { .. } | End::GeluGradient => operand(rec, "c".to_owned(), &shape, &[]),
        _ => rec.transient("c", &shape),
    };
    let epilogue = match end {
        End::Store => Epilogue::Store,
        End::Accumulate => Epilogue::Weight { first: false, totals: None },
        End::Bias => Epilogue::Bias(input(rec, "bias", &[batch, n])),
        End::Gelu { saved } => {
            let saved = saved.then(|| operand(rec, "saved".to_owned(), &shape, &[]));
            Epilogue::Gelu { bias: input(rec, "bias", &[batch, n]), saved }
        }
        End::Skip { scaled } => Epilogue::Skip {
            bias: input(rec, "bias", &[batch, n]),
            skip: input(rec, "skip", &shape),
            scale: scaled.then(|| input(rec, "scale", &[1])),
        },
        End::GeluGradient => Epilogue::GeluGradient(operand(rec, "before".to_owned(), &shape, &[])),
    };
    record(rec, "product", Product { batch, a, b, c, layout, m, n, k, epilogue });
}

fn twin(h: &mut HostNode<'_>, p: &Product, per_sample: usize) {
    let ((a_row, a_k), (b_k, b_col)) = p.strides();
    for part in 0..p.batch {
        let (a, b) = (&h.inputs[0][part * p.m * p.k..], &h.inputs[1][part * p.k * p.n..]);
        for (i, j) in (0..p.m).flat_map(|i| (0..p.n).map(move |j| (i, j))) {
            let row = part * p.m + i;
            let at = row * p.n + j;
            let sum: f64 = (0..p.k).map(|k| a[i * a_row + k * a_k] * b[k * b_k + j * b_col]).sum();
            let biased = || sum + h.inputs[2][part * p.n + j];
            let c = match p.epilogue {
                Epilogue::Store | Epilogue::Weight { first: true, .. } => sum,
                Epilogue::Weight { first: false, .. } => h.outputs[0][at] + sum,
                Epilogue::Bias(_) => biased(),
                Epilogue::Gelu { .. } => gelu::reference(biased()),
                Epilogue::Skip { scale: None, .. } => h.inputs[3][at] + biased(),
                Epilogue::Skip { scale: Some(_), .. } => h.inputs[3][at] + h.inputs[4][row / per_sample] * biased(),
                Epilogue::GeluGradient(_) => sum * gelu::derivative(h.inputs[2][at]),
            };
            if let Epilogue::Gelu { saved: Some(_), .. } = p.epilogue {
                h.outputs[1][at] = biased();
            }
            h.outputs[0][at] = c;
        }
        if let Epilogue::Weight { totals: Some(Totals { left: (from, to), .. }), .. } = p.epilogue {
            for i in (0..p.m).filter(|i| !(from..to).contains(i)) {
                h.outputs[1][part * p.m + i] += (0..p.k).map(|k| a[i * a_row + k * a_k]).sum::<f64>();
            }
        }
    }
}
