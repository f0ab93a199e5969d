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
}

/// How a qkv layer is biased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QkvBias {
    /// `q_bias` and `v_bias`; the key bias is zero and no parameter (VideoMAE, MVD).
    QueryValue,
    /// One `qkv.bias` (timm, MAE).
    Full,
}

impl Params {
    /// A model without parameters yet.
    pub fn new(rec: &mut Recorder, name: &str, trainable: bool) -> Self {
        Params { set: rec.param_set(name, trainable), specs: Vec::new(), linear: Init::Xavier }
    }

    /// The same with another start of linear layers' weights than Xavier-uniform.
    pub fn with_linear(self, linear: Init) -> Self {
        Params { linear, ..self }
    }

    fn spec(&mut self, name: &str, shape: &[usize], init: Init) {
        self.specs.push(Spec { name: name.to_owned(), shape: shape.to_vec(), init });
    }

    /// One tensor.
    pub fn tensor(&mut self, rec: &mut Recorder, name: &str, shape: &[usize], init: Init) -> Tensor {
        self.spec(name, shape, init);
        rec.param(self.set, name, shape)
    }

    /// `{name}.weight` and `{name}.bias` of a LayerNorm.
    pub fn norm(&mut self, rec: &mut Recorder, name: &str, dim: usize) -> Norm {
        Norm {
            weight: self.tensor(rec, &format!("{name}.weight"), &[dim], Init::Ones),
            bias: self.tensor(rec, &format!("{name}.bias"), &[dim], Init::Zeros),
            eps: EPS,
        }
    }

    /// `{name}.weight` (out, in) and, if asked for, `{name}.bias` (out).
    pub fn linear(&mut self, rec: &mut Recorder, name: &str, from: usize, to: usize, bias: bool) -> Linear {
        let weight = self.tensor(rec, &format!("{name}.weight"), &[to, from], self.linear);
        let bias = bias.then(|| self.tensor(rec, &format!("{name}.bias"), &[to], Init::Zeros));
        Linear::new(weight, bias)
    }

    /// A patch embedding stored as a convolution: `{name}.weight` (out, 3, ..kernel) and `{name}.bias`.
    ///
    /// MAE redraws the weight as a linear layer's; elsewhere both keep PyTorch's start of convolutions.
    pub fn patch_embed(&mut self, rec: &mut Recorder, name: &str, dim: usize, kernel: &[usize], mae: bool) -> Linear {
        let shape: Vec<usize> = [dim, 3].iter().chain(kernel).copied().collect();
        let conv = Init::conv(3 * kernel.iter().product::<usize>());
        let init = if mae { Init::Xavier } else { conv };
        let weight = self.tensor(rec, &format!("{name}.weight"), &shape, init);
        Linear::new(weight, Some(self.tensor(rec, &format!("{name}.bias"), &[dim], conv)))
    }

    /// `{name}.qkv.weight` (3C, C) and its bias of either kind.
    pub fn qkv(&mut self, rec: &mut Recorder, name: &str, dim: usize, kind: QkvBias) -> Linear {
        let weight = self.tensor(rec, &format!("{name}.qkv.weight"), &[3 * dim, dim], self.linear);
        match kind {
            QkvBias::Full => {
                let bias = self.tensor(rec, &format!("{name}.qkv.bias"), &[3 * dim], Init::Zeros);
                Linear::new(weight, Some(bias))
            }
            QkvBias::QueryValue => {
                let part = |which: &str, first: usize| (format!("{name}.{which}_bias"), vec![dim], first);
                let parts = vec![part("q", 0), part("v", 2 * dim)];
                for (name, shape, _) in &parts {
                    self.spec(name, shape, Init::Zeros);
                }
                let bias = rec.param_parts(self.set, &format!("{name}.qkv_bias"), &[3 * dim], parts);
                Linear { weight, bias: Some(bias), skip_middle: true }
            }
        }
    }
}
