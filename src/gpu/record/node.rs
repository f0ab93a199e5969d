//! Nodes: one operation's forward or backward, its dispatches and its CPU twin.

use std::sync::Arc;

use super::tensor::Tensor;
use crate::gpu::shader::{Entry, Shader};
use crate::gpu::step::StepValues;

/// When a node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Once a step, first: clears what the micro-batches accumulate into.
    Begin,
    /// Once a micro-batch: forward and backward.
    Micro,
    /// Once a step, last: gradient norm and optimiser.
    Update,
}

/// The values of a node on the host, in f64, as its CPU twin sees them.
pub struct HostNode<'a> {
    /// One slice an input, in the node's order; indices and bytes as numbers.
    pub inputs: Vec<&'a [f64]>,
    /// One vector an output, holding what was there before.
    pub outputs: Vec<Vec<f64>>,
    /// The scalars of this step.
    pub step: &'a StepValues,
}

/// The CPU twin of a node: the same formula on the host.
pub type Twin = Arc<dyn Fn(&mut HostNode<'_>) + Send + Sync>;

/// One recorded dispatch.
#[derive(Debug, Clone)]
pub(in crate::gpu) struct Dispatch {
    pub shader: &'static Shader,
    pub entry: &'static Entry,
    pub constants: Vec<(&'static str, f64)>,
    pub binds: Vec<(u32, Tensor)>,
    pub params: Vec<u8>,
    pub groups: [u32; 3],
}

/// What one node sends to the GPU.
#[derive(Debug, Clone)]
pub(in crate::gpu) enum Command {
    Dispatch(Dispatch),
    Clear(Tensor),
    /// Copies a tensor into an image.
    Image {
        from: Tensor,
        to: Tensor,
    },
}

/// One operation's forward or backward: its dispatches and its CPU twin.
#[derive(Clone)]
pub(in crate::gpu) struct Node {
    pub name: &'static str,
    pub phase: Phase,
    pub inputs: Vec<Tensor>,
    pub outputs: Vec<Tensor>,
    pub flops: f64,
    pub twin: Twin,
    pub commands: Vec<Command>,
}

impl Node {
    /// Shader and entry point of each of its dispatches.
    pub fn entries(&self) -> Vec<(&'static str, &'static str)> {
        let entry = |command: &Command| match command {
            Command::Dispatch(dispatch) => Some((dispatch.shader.name, dispatch.entry.name)),
            Command::Clear(_) | Command::Image { .. } => None,
        };
        self.commands.iter().filter_map(entry).collect()
    }

    /// The shader of its first dispatch; none for copies and clears.
    pub fn kernel(&self) -> Option<&'static str> {
        self.entries().first().map(|(shader, _)| *shader)
    }

    /// Every tensor its commands bind.
    pub(in crate::gpu) fn bound(&self) -> impl Iterator<Item = Tensor> + '_ {
        self.commands.iter().flat_map(|command| match command {
            Command::Dispatch(d) => d.binds.iter().map(|(_, t)| *t).collect::<Vec<_>>(),
            Command::Clear(t) => vec![*t],
            Command::Image { from, to } => vec![*from, *to],
        })
    }
}
