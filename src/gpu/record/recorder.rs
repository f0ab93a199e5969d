//! Recording: operations append nodes, dispatches and backward closures; nothing runs.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::copies::Copies;
use super::node::{Command, HostNode, Node, Phase};
use super::tensor::{ALIGN_WORDS, Arena, Dtype, Home, Info, Param, ParamSet, Set, Tensor};
use crate::gpu::caps::Caps;

/// Records the backward pass of one operation.
type Backward = Box<dyn FnOnce(&mut Recorder, Tensor)>;

/// What a recording knows of gradients.
#[derive(Default)]
pub(in crate::gpu) struct Tape {
    pub entries: Vec<(Tensor, Backward)>,
    pub grads: HashMap<Tensor, Tensor>,
    pub micro_batches: Option<usize>,
    pub shared: HashSet<Tensor>,
    pub recompute: bool,
    /// What is recorded now will be recorded again for its gradients.
    pub passing: bool,
}

/// Records an operation, of inputs.
pub type Record = Arc<dyn Fn(&mut Recorder)>;

/// How to try the kernels of an operation.
#[derive(Clone)]
pub struct Trial {
    /// The operation at its own size, to be timed.
    pub alone: Record,
    /// What is checked by `small`: kernels that passed once are not checked again.
    pub kind: String,
    /// The same kind of operation at sizes that take few steps on the CPU and divide no tile, to be checked.
    pub small: Record,
}

/// An operation at one size for which there are several kernels.
#[derive(Clone)]
pub(in crate::gpu) struct Question {
    pub candidates: Vec<&'static str>,
    pub trial: Trial,
}

/// Records one training step (or one forward pass) as nodes over handles.
pub struct Recorder {
    caps: Caps,
    pub(in crate::gpu) tensors: Vec<Info>,
    pub(in crate::gpu) nodes: Vec<Node>,
    pub(in crate::gpu) sets: Vec<Set>,
    pub(in crate::gpu) constants: Vec<(Tensor, Vec<u8>)>,
    pub(in crate::gpu) images: Copies,
    pub(in crate::gpu) halves: Copies,
    pub(in crate::gpu) tape: Tape,
    pub(in crate::gpu) questions: BTreeMap<String, Question>,
    phase: Phase,
    loss_scale: Option<f64>,
}

impl Recorder {
    /// An empty recording for an adapter of these capabilities.
    pub fn new(caps: Caps) -> Self {
        Recorder {
            caps,
            tensors: Vec::new(),
            nodes: Vec::new(),
            sets: Vec::new(),
            constants: Vec::new(),
            images: Copies::default(),
            halves: Copies::default(),
            tape: Tape::default(),
            questions: BTreeMap::new(),
            phase: Phase::Micro,
            loss_scale: None,
        }
    }

    /// What the adapter can do; operations pick their kernels by it.
    pub fn caps(&self) -> &Caps {
        &self.caps
    }

    /// A loss's gradient (of one element, at most) as it is to be written. Products that round to f16 want it near 1: the first
    /// loss decides the power of two that all gradients of the recording are scaled by.
    pub fn scaled_gradient(&mut self, gradient: f64) -> f64 {
        if self.caps.rounds() && gradient != 0.0 {
            self.loss_scale.get_or_insert_with(|| (-gradient.abs().log2()).floor().exp2());
        }
        gradient * self.loss_scale()
    }

    /// What all gradients are scaled by.
    pub fn loss_scale(&self) -> f64 {
        self.loss_scale.unwrap_or(1.0)
    }

    pub(in crate::gpu) fn phase(&self) -> Phase {
        self.phase
    }

    /// Nodes recorded from now on run in `phase`.
    pub fn set_phase(&mut self, phase: Phase) {
        self.phase = phase;
    }

    pub(in crate::gpu) fn push(
        &mut self,
        name: impl Into<String>,
        shape: &[usize],
        dtype: Dtype,
        home: Home,
    ) -> Tensor {
        let info = Info { name: name.into(), shape: shape.to_vec(), dtype, home, needs_grad: false, keep: false };
        self.tensors.push(info);
        Tensor(self.tensors.len() as u32 - 1)
    }

    /// An f32 tensor that nodes write and read within a step.
    pub fn transient(&mut self, name: impl Into<String>, shape: &[usize]) -> Tensor {
        self.push(name, shape, Dtype::F32, Home::Transient)
    }

    /// A tensor that the host writes before each step.
    pub fn input(&mut self, name: impl Into<String>, shape: &[usize], dtype: Dtype) -> Tensor {
        self.push(name, shape, dtype, Home::Host)
    }

    /// A tensor of fixed f32 values (a position table).
    pub fn constant_f32(&mut self, name: impl Into<String>, shape: &[usize], values: &[f32]) -> Tensor {
        let tensor = self.push(name, shape, Dtype::F32, Home::Host);
        assert_eq!(self.len(tensor), values.len(), "constant {}: shape against values", self.name(tensor));
        self.constants.push((tensor, bytemuck::cast_slice(values).to_vec()));
        tensor
    }

    /// A tensor of fixed indices.
    pub fn constant_u32(&mut self, name: impl Into<String>, shape: &[usize], values: &[u32]) -> Tensor {
        let tensor = self.push(name, shape, Dtype::U32, Home::Host);
        assert_eq!(self.len(tensor), values.len(), "constant {}: shape against values", self.name(tensor));
        self.constants.push((tensor, bytemuck::cast_slice(values).to_vec()));
        tensor
    }

    /// The tensor in another shape of as many elements; no dispatch, no copy.
    ///
    /// # Panics
    /// If the number of elements differs: a mistake in an operation.
    pub fn reshape(&mut self, tensor: Tensor, shape: &[usize]) -> Tensor {
        let before = self.shape(tensor).to_vec();
        assert_eq!(
            self.len(tensor),
            shape.iter().product::<usize>(),
            "reshape {}: {before:?} to {shape:?}",
            self.name(tensor)
        );
        let Info { name, dtype, home, .. } = self.tensors[tensor.0 as usize].clone();
        let home = match home {
            Home::Transient | Home::Host => Home::View(tensor),
            Home::Image => panic!("reshape {name}: an image has one shape"),
            // A view's own root, or a place in an arena.
            placed => placed,
        };
        let view = self.push(name, shape, dtype, home);
        self.tape(&[tensor], view, move |rec, dy| {
            let dx = rec.reshape(dy, &before);
            rec.add_grad(tensor, dx);
        });
        view
    }

    /// Makes the tensor readable after the plan ran.
    pub fn keep(&mut self, tensor: Tensor) {
        if let Home::View(root) = self.tensors[tensor.0 as usize].home {
            self.tensors[root.0 as usize].keep = true;
        }
        self.tensors[tensor.0 as usize].keep = true;
    }

    /// Asks for the gradient of a tensor that is no parameter.
    pub fn require_grad(&mut self, tensor: Tensor) {
        self.tensors[tensor.0 as usize].needs_grad = true;
    }

    /// Whether some trainable value flows into the tensor, and the backward pass will want what is recorded now.
    pub fn needs_grad(&self, tensor: Tensor) -> bool {
        !self.tape.passing && self.tensors[tensor.0 as usize].needs_grad
    }

    /// Shape of a tensor.
    pub fn shape(&self, tensor: Tensor) -> &[usize] {
        &self.tensors[tensor.0 as usize].shape
    }

    /// Elements of a tensor.
    pub fn len(&self, tensor: Tensor) -> usize {
        self.tensors[tensor.0 as usize].len()
    }

    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Element type of a tensor.
    pub fn dtype(&self, tensor: Tensor) -> Dtype {
        self.tensors[tensor.0 as usize].dtype
    }

    /// Name of a tensor.
    pub fn name(&self, tensor: Tensor) -> &str {
        &self.tensors[tensor.0 as usize].name
    }

    /// Size of the last dimension.
    pub fn width(&self, tensor: Tensor) -> usize {
        self.shape(tensor).last().copied().unwrap_or(1)
    }

    /// Product of all dimensions but the last.
    pub fn rows(&self, tensor: Tensor) -> usize {
        self.len(tensor) / self.width(tensor).max(1)
    }

    // ---- parameters

    /// A new parameter set; only a trainable one has gradients and moments.
    pub fn param_set(&mut self, name: impl Into<String>, trainable: bool) -> ParamSet {
        let set = Set { name: name.into(), trainable, params: Vec::new(), chunks: Vec::new(), whole: Vec::new() };
        self.sets.push(set);
        ParamSet(self.sets.len() - 1)
    }

    /// A parameter under one checkpoint name.
    pub fn param(&mut self, set: ParamSet, name: impl Into<String>, shape: &[usize]) -> Tensor {
        let name = name.into();
        self.param_parts(set, &name, shape, vec![(name.clone(), shape.to_vec(), 0)])
    }

    /// A parameter of which checkpoints hold only `parts` (name, shape, first element); the rest stays zero.
    pub fn param_parts(
        &mut self,
        set: ParamSet,
        name: &str,
        shape: &[usize],
        parts: Vec<(String, Vec<usize>, usize)>,
    ) -> Tensor {
        let words = shape.iter().product::<usize>().next_multiple_of(ALIGN_WORDS);
        let most = self.caps.chunk_words();
        let chunks = &mut self.sets[set.0].chunks;
        match chunks.last() {
            Some(used) if used + words <= most => {}
            _ => chunks.push(0),
        }
        let chunk = chunks.len() - 1;
        let offset = chunks[chunk];
        chunks[chunk] += words;
        let trainable = self.sets[set.0].trainable;
        let home = |arena| Home::Arena { set, chunk, arena, offset };
        let weight = self.push(name, shape, Dtype::F32, home(Arena::Weight));
        self.tensors[weight.0 as usize].needs_grad = trainable;
        let grad = trainable.then(|| self.push(format!("d {name}"), shape, Dtype::F32, home(Arena::Grad)));
        if let Some(grad) = grad {
            self.tape.grads.insert(weight, grad);
        }
        self.sets[set.0].params.push(Param { parts, weight, grad, chunk, offset });
        weight
    }

    /// The parameters of a set, in the order of recording.
    pub fn params(&self, set: ParamSet) -> &[Param] {
        &self.sets[set.0].params
    }

    /// Whole-chunk handles `[weight, grad, moment1, moment2]` of a trainable set; closes the set.
    pub fn chunks(&mut self, set: ParamSet) -> Vec<[Tensor; 4]> {
        if self.sets[set.0].whole.is_empty() {
            let sizes = self.sets[set.0].chunks.clone();
            let name = self.sets[set.0].name.clone();
            let arenas = [Arena::Weight, Arena::Grad, Arena::Moment1, Arena::Moment2];
            let whole = sizes.iter().enumerate().map(|(chunk, &words)| {
                arenas.map(|arena| {
                    let home = Home::Arena { set, chunk, arena, offset: 0 };
                    self.push(format!("{name}.{arena:?}[{chunk}]"), &[words], Dtype::F32, home)
                })
            });
            let whole = whole.collect();
            self.sets[set.0].whole = whole;
        }
        self.sets[set.0].whole.clone()
    }

    /// `(chunk, first word)` of a parameter in its set's arenas.
    pub fn placement(&self, param: &Param) -> (usize, usize) {
        (param.chunk, param.offset)
    }

    // ---- nodes

    /// Opens a node: the dispatches recorded after it are its own, `twin` is the same formula on the CPU.
    pub fn node(
        &mut self,
        name: &'static str,
        inputs: &[Tensor],
        outputs: &[Tensor],
        flops: f64,
        twin: impl Fn(&mut HostNode<'_>) + Send + Sync + 'static,
    ) {
        self.nodes.push(Node {
            name,
            phase: self.phase,
            inputs: inputs.to_vec(),
            outputs: outputs.to_vec(),
            flops,
            twin: Arc::new(twin),
            commands: Vec::new(),
        });
    }

    /// A node that fills the tensor with zeros.
    pub fn clear(&mut self, tensor: Tensor) {
        self.node("clear", &[], &[tensor], 0.0, |h| h.outputs[0].fill(0.0));
        self.command(Command::Clear(tensor));
    }

    pub(in crate::gpu) fn command(&mut self, command: Command) {
        let node = self.nodes.last_mut().expect("a command needs a node: call `node` first");
        node.commands.push(command);
    }

    /// Drops the nodes recorded so far but keeps the tape: what they wrote is then never written, for timing a backward
    /// pass alone.
    pub fn forget_nodes(&mut self) {
        self.nodes.clear();
        self.images.0.clear();
        self.halves.0.clear();
    }

    // ---- kernels

    /// Which of `candidates`, preferred first, to take for an operation that `question` names with its sizes.
    pub fn choice(&self, question: &str, candidates: &[&'static str]) -> usize {
        self.caps().choices.of(question, candidates)
    }

    /// The same; notes how to try the kernels, for the adapter to be tuned to the operation.
    pub fn choose(&mut self, question: String, candidates: &[&'static str], trial: Trial) -> usize {
        let chosen = self.choice(&question, candidates);
        if candidates.len() > 1 {
            self.questions.entry(question).or_insert(Question { candidates: candidates.to_vec(), trial });
        }
        chosen
    }
}

/// Folds a number of workgroups into two dimensions that every adapter takes; shaders undo it with `linear_group`.
pub fn grid(groups: usize) -> [u32; 3] {
    const MOST: usize = 65_535;
    let y = groups.div_ceil(MOST).max(1);
    [groups.div_ceil(y).max(1) as u32, y as u32, 1]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::Matrices;

    #[test]
    fn gradients_are_scaled_to_what_f16_holds() {
        let caps = Caps { matrices: Some(Matrices::KNOWN[0]), ..Caps::webgpu_default() };
        let mut rec = Recorder::new(caps.clone());
        assert_eq!(rec.loss_scale(), 1.0);
        let first = rec.scaled_gradient(3e-6);
        assert!((0.5..=1.0).contains(&first) && rec.loss_scale().log2().fract() == 0.0, "{first}");
        assert_eq!(rec.scaled_gradient(-6e-6), -2.0 * first, "one scale for all losses");
        let mut off = Recorder::new(caps);
        assert_eq!((off.scaled_gradient(0.0), off.loss_scale()), (0.0, 1.0), "a loss of no weight decides nothing");
        assert_eq!(off.scaled_gradient(3e-6), first);
        let mut whole = Recorder::new(Caps::webgpu_default());
        assert_eq!((whole.scaled_gradient(3e-6), whole.loss_scale()), (3e-6, 1.0));
    }
}
