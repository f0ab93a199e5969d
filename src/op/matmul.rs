//! Matrix products in three layouts; what linear layers and their gradients are made of.
//!
//! `C (M, N) = A B`, with A stored (M, K) or, transposed, (K, M), and B stored (K, N) or, transposed, (N, K).

use crate::gpu::{Caps, HostNode, Recorder, Tensor};

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
    /// `c += sums`
    Accumulate,
    /// `c = sums + bias`; bias (N).
    Bias(Tensor),
}

/// One product.
#[derive(Debug, Clone, Copy)]
pub struct Product {
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

/// Lanes of the subgroups that `matmul_subgroup.wgsl` is written for.
const SUBGROUP: usize = 8;
/// Rows and columns of C that a workgroup of the portable kernel, `matmul.wgsl`, computes.
const TILE: usize = 64;
/// Rows of C that a workgroup of `matmul_subgroup.wgsl` computes.
const SUBGROUP_ROWS: usize = 32;

impl Product {
    /// Whether the register-tile kernel can take it: 8 lanes a subgroup and rows that are read four numbers at a time.
    fn suits_subgroups(&self, caps: &Caps) -> bool {
        let read = if self.layout == Layout::TN { self.m } else { self.k };
        caps.subgroup == Some(SUBGROUP as u32) && self.n.is_multiple_of(4) && read.is_multiple_of(4)
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

/// Records a product as a node of that name.
///
/// # Panics
/// If the tensors' sizes are not those of the product: a mistake in an operation.
pub fn record(rec: &mut Recorder, name: &'static str, p: Product) {
    assert_eq!(rec.len(p.a), p.m * p.k, "{name}: size of {}", rec.name(p.a));
    assert_eq!(rec.len(p.b), p.k * p.n, "{name}: size of {}", rec.name(p.b));
    assert_eq!(rec.len(p.c), p.m * p.n, "{name}: size of {}", rec.name(p.c));
    let mut inputs = vec![p.a, p.b];
    if let Epilogue::Bias(bias) = p.epilogue {
        inputs.push(bias);
    }
    let flops = 2.0 * p.m as f64 * p.n as f64 * p.k as f64;
    rec.node(name, &inputs, &[p.c], flops, move |h| twin(h, &p));
    let entry = match p.epilogue {
        Epilogue::Store => "plain",
        Epilogue::Accumulate => "accumulate",
        Epilogue::Bias(_) => "biased",
    };
    let (shader, rows, columns) = if p.suits_subgroups(rec.caps()) {
        ("matmul_subgroup", SUBGROUP_ROWS, 4 * SUBGROUP)
    } else {
        ("matmul", TILE, TILE)
    };
    let mut dispatch = rec.dispatch(shader, entry).bind("a", p.a).bind("b", p.b).bind("c", p.c);
    if let Epilogue::Bias(bias) = p.epilogue {
        dispatch = dispatch.bind("bias", bias);
    }
    let groups = [p.m.div_ceil(rows) as u32, p.n.div_ceil(columns) as u32, 1];
    dispatch.u32("m", p.m).u32("n", p.n).u32("k", p.k).constant("LAYOUT", p.layout as u32).groups(groups);
}

fn twin(h: &mut HostNode<'_>, p: &Product) {
    let ((a_row, a_k), (b_k, b_col)) = p.strides();
    let (a, b) = (h.inputs[0], h.inputs[1]);
    for i in 0..p.m {
        for j in 0..p.n {
            let sum: f64 = (0..p.k).map(|k| a[i * a_row + k * a_k] * b[k * b_k + j * b_col]).sum();
            let c = &mut h.outputs[0][i * p.n + j];
            *c = match p.epilogue {
                Epilogue::Store => sum,
                Epilogue::Accumulate => *c + sum,
                Epilogue::Bias(_) => sum + h.inputs[2][j],
            };
        }
    }
}
