//! The tape: what the backward pass will record, and the gradients recorded so far.

use super::recorder::{Recorder, grid};
use super::tensor::Tensor;

impl Recorder {
    /// Pushes `y`'s backward if one of `inputs` needs a gradient; the closure gets the handle of `dy`.
    pub fn tape(&mut self, inputs: &[Tensor], y: Tensor, backward: impl FnOnce(&mut Recorder, Tensor) + 'static) {
        if inputs.iter().any(|&x| self.needs_grad(x)) {
            self.require_grad(y);
            self.tape.entries.push((y, Box::new(backward)));
        }
    }

    /// Where a parameter's gradient accumulates (`+=`), or none for a frozen one.
    pub fn param_grad(&self, weight: Tensor) -> Option<Tensor> {
        if self.needs_grad(weight) { self.tape.grads.get(&weight).copied() } else { None }
    }

    /// States how many micro-batches a step will have; unknown if it is not.
    pub fn set_micro_batches(&mut self, count: usize) {
        self.tape.micro_batches = Some(count);
    }

    /// Whether nothing was added to a parameter's gradient before, in this step: it may then be written instead. True once.
    pub fn first_share(&mut self, grad: Tensor) -> bool {
        self.tape.shared.insert(grad) && self.tape.micro_batches == Some(1)
    }

    /// The gradient recorded so far for a tensor.
    pub fn grad(&self, tensor: Tensor) -> Option<Tensor> {
        self.tape.grads.get(&tensor).copied()
    }

    /// Takes the gradient recorded so far out, for an operation that adds its own share and puts the sum back.
    pub fn take_grad(&mut self, tensor: Tensor) -> Option<Tensor> {
        self.tape.grads.remove(&tensor)
    }

    /// Gives a share of an activation's gradient; a second share is added to the first by a node of its own.
    pub fn add_grad(&mut self, tensor: Tensor, share: Tensor) {
        if !self.needs_grad(tensor) {
            return;
        }
        let sum = match self.tape.grads.remove(&tensor) {
            None => share,
            Some(before) => self.sum_of(before, share),
        };
        self.tape.grads.insert(tensor, sum);
    }

    /// `a + b` as a node, without a gradient.
    pub fn sum_of(&mut self, a: Tensor, b: Tensor) -> Tensor {
        let shape = self.shape(a).to_vec();
        let len = self.len(a);
        let y = self.transient(format!("{} + {}", self.name(a), self.name(b)), &shape);
        self.node("add", &[a, b], &[y], len as f64, |h| {
            h.outputs[0] = h.inputs[0].iter().zip(h.inputs[1]).map(|(a, b)| a + b).collect();
        });
        let wide = len.is_multiple_of(4);
        let ([entry, a_name, b_name, y_name], each) =
            if wide { (["forward_wide", "a_wide", "b_wide", "y_wide"], 4) } else { (["forward", "a", "b", "y"], 1) };
        let dispatch = self.dispatch("add", entry).bind(a_name, a).bind(b_name, b).bind(y_name, y);
        dispatch.u32("len", len / each).groups(grid((len / each).div_ceil(64)));
        y
    }

    /// Appends every backward of the tape, last first, starting from the gradients given by `add_grad`.
    pub fn backward(&mut self) {
        while let Some((y, backward)) = self.tape.entries.pop() {
            if let Some(dy) = self.grad(y) {
                backward(self, dy);
            }
        }
    }

    // ---- activations that are not kept

    /// From now on, `checkpoint` keeps no activations.
    pub fn set_recompute(&mut self, recompute: bool) {
        self.tape.recompute = recompute;
    }

    /// `f(x)`. Where activations are recomputed and `learns` says that a gradient will flow, the forward pass keeps x
    /// alone of what f makes, and the backward pass runs f again: the same values, so the same gradients.
    pub fn checkpoint(
        &mut self,
        x: Tensor,
        learns: bool,
        f: impl Fn(&mut Recorder, Tensor) -> Tensor + 'static,
    ) -> Tensor {
        if !(self.tape.recompute && learns) || self.tape.passing {
            return f(self, x);
        }
        self.tape.passing = true;
        let y = f(self, x);
        self.tape.passing = false;
        self.require_grad(y);
        let backward = move |rec: &mut Recorder, dy: Tensor| {
            let outer = std::mem::take(&mut rec.tape.entries);
            let again = f(rec, x);
            let last = rec.nodes.len() - 1;
            rec.add_grad(again, dy);
            rec.backward();
            rec.tape.entries = outer;
            // No gradient reads the result itself.
            let reads =
                rec.nodes[last + 1..].iter().any(|n| n.inputs.contains(&again) || n.bound().any(|t| t == again));
            if rec.nodes[last].outputs == [again] && !reads {
                rec.nodes.remove(last);
            }
        };
        self.tape.entries.push((y, Box::new(backward)));
        y
    }
}
