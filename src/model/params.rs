//! Declaring parameters: one call gives a recorder its tensor, a checkpoint its name, an initialiser its rule.

use crate::gpu::{ParamSet, Recorder, Tensor};
use crate::op::layer_norm::{EPS, Norm};
use crate::op::linear::Linear;
use crate::weights::{Init, Spec};

/// The parameters of one model as they are declared.
pub struct Params {
    /// The recorder's set.
    pub set: ParamSet,
    /// What a checkpoint of the model holds.
    pub specs: Vec<Spec>,
    /// How the weights of linear layers start.
    linear: Init,
    /// What norms add to the variance.
    eps: f32,
    /// What stands for `{}` in the names of stacked parameters; none outside a stack.
    stack: Vec<&'static str>,
}

/// How a qkv layer is biased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QkvBias {
    /// `q_bias` and `v_bias`; the key bias is zero and no parameter (VideoMAE, MVD).
    QueryValue,
    /// One `qkv.bias` (timm, MAE).
    Full,
    /// `q`, `k` and `v`, each with a weight and a bias (ST-MAE). The key bias stays as it was read: what it adds to the scores
    /// of a query is the same for every key, so its gradient is zero.
    Separate,
}

impl Params {
    /// A model without parameters yet.
    pub fn new(rec: &mut Recorder, name: &str, trainable: bool) -> Self {
        let set = rec.param_set(name, trainable);
        Params { set, specs: Vec::new(), linear: Init::Xavier, eps: EPS, stack: Vec::new() }
    }

    /// The same with another start of linear layers' weights than Xavier-uniform.
    pub fn with_linear(self, linear: Init) -> Self {
        Params { linear, ..self }
    }

    /// The same with norms that add another number to the variance than 1e-6.
    pub fn with_eps(self, eps: f32) -> Self {
        Params { eps, ..self }
    }

    /// Declares layers of one shape behind each other, to be computed together: `names` stand for `{}` in a parameter's name,
    /// and a tensor of several has a first dimension of as many.
    pub fn stacked<T>(&mut self, names: &[&'static str], declare: impl FnOnce(&mut Self) -> T) -> T {
        self.stack = names.to_vec();
        let declared = declare(self);
        self.stack.clear();
        declared
    }

    /// How many layers are declared at once.
    fn height(&self) -> usize {
        self.stack.len().max(1)
    }

    /// One tensor, or a stack of them, of which checkpoints know `parts` (name, shape, first element).
    fn parts(
        &mut self,
        rec: &mut Recorder,
        name: &str,
        shape: &[usize],
        parts: &[(String, Vec<usize>, usize)],
        init: Init,
    ) -> Tensor {
        let names = if self.stack.is_empty() { vec![""] } else { self.stack.clone() };
        let len: usize = shape.iter().product();
        let all = names.iter().enumerate().flat_map(|(i, which)| {
            parts.iter().map(move |(name, shape, first)| (name.replace("{}", which), shape.clone(), i * len + first))
        });
        let all: Vec<_> = all.collect();
        self.specs.extend(all.iter().map(|(name, shape, _)| Spec { name: name.clone(), shape: shape.clone(), init }));
        let whole: Vec<usize> = (names.len() > 1).then_some(names.len()).into_iter().chain(shape.to_vec()).collect();
        rec.param_parts(self.set, &name.replace("{}", &names.join("+")), &whole, all)
    }

    /// One tensor.
    pub fn tensor(&mut self, rec: &mut Recorder, name: &str, shape: &[usize], init: Init) -> Tensor {
        self.parts(rec, name, shape, &[(name.to_owned(), shape.to_vec(), 0)], init)
    }

    /// `{name}.weight` and `{name}.bias` of a LayerNorm.
    pub fn norm(&mut self, rec: &mut Recorder, name: &str, dim: usize) -> Norm {
        Norm {
            weight: self.tensor(rec, &format!("{name}.weight"), &[dim], Init::Ones),
            bias: self.tensor(rec, &format!("{name}.bias"), &[dim], Init::Zeros),
            stack: self.height(),
            eps: self.eps,
        }
    }

    /// `{name}.weight` (out, in) and, if asked for, `{name}.bias` (out).
    pub fn linear(&mut self, rec: &mut Recorder, name: &str, from: usize, to: usize, bias: bool) -> Linear {
        let weight = self.tensor(rec, &format!("{name}.weight"), &[to, from], self.linear);
        let bias = bias.then(|| self.tensor(rec, &format!("{name}.bias"), &[to], Init::Zeros));
        Linear { stack: self.height(), ..Linear::new(weight, bias) }
    }

    /// A patch embedding stored as a convolution: `{name}.weight` (out, 3, ..kernel) and `{name}.bias`.
    ///
    /// MAE and ST-MAE redraw the weight as a linear layer's, `redrawn`; elsewhere both keep PyTorch's start of convolutions.
    pub fn patch_embed(
        &mut self,
        rec: &mut Recorder,
        name: &str,
        dim: usize,
        kernel: &[usize],
        redrawn: bool,
    ) -> Linear {
        let shape: Vec<usize> = [dim, 3].iter().chain(kernel).copied().collect();
        let conv = Init::conv(3 * kernel.iter().product::<usize>());
        let init = if redrawn { Init::Xavier } else { conv };
        let weight = self.tensor(rec, &format!("{name}.weight"), &shape, init);
        Linear::new(weight, Some(self.tensor(rec, &format!("{name}.bias"), &[dim], conv)))
    }

    /// `{name}.qkv.weight` (3C, C), or its thirds, and its bias of any kind.
    pub fn qkv(&mut self, rec: &mut Recorder, name: &str, dim: usize, kind: QkvBias) -> Linear {
        let thirds = |what: &str, shape: &[usize]| {
            let third =
                |(i, which)| (format!("{name}.{which}.{what}"), shape.to_vec(), i * shape.iter().product::<usize>());
            ["q", "k", "v"].into_iter().enumerate().map(third).collect::<Vec<_>>()
        };
        let (whole, shape) = (format!("{name}.qkv.weight"), [3 * dim, dim]);
        let weight = match kind {
            QkvBias::Separate => self.parts(rec, &whole, &shape, &thirds("weight", &[dim, dim]), self.linear),
            QkvBias::Full | QkvBias::QueryValue => self.tensor(rec, &whole, &shape, self.linear),
        };
        let (bias, skip_middle) = match kind {
            QkvBias::Separate => {
                let parts = thirds("bias", &[dim]);
                (self.parts(rec, &format!("{name}.qkv.bias"), &[3 * dim], &parts, Init::Zeros), true)
            }
            QkvBias::Full => (self.tensor(rec, &format!("{name}.qkv.bias"), &[3 * dim], Init::Zeros), false),
            QkvBias::QueryValue => {
                let part = |which: &str, first: usize| (format!("{name}.{which}_bias"), vec![dim], first);
                let parts = [part("q", 0), part("v", 2 * dim)];
                (self.parts(rec, &format!("{name}.qkv_bias"), &[3 * dim], &parts, Init::Zeros), true)
            }
        };
        Linear { stack: self.height(), skip_middle, ..Linear::new(weight, Some(bias)) }
    }
}
