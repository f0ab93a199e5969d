//! A finished recording: memory planned, costs known, nothing on the GPU yet.

use std::collections::BTreeMap;
use std::fmt;

use super::node::{Command, Dispatch, Node, Phase};
use super::recorder::Recorder;
use super::slots::{self, Slots};
use super::tensor::{self, Home, Info, Set, Tensor};

/// A recording with its memory plan; see `Recorder`.
pub struct Plan {
    pub(in crate::gpu) tensors: Vec<Info>,
    pub(in crate::gpu) nodes: Vec<Node>,
    pub(in crate::gpu) sets: Vec<Set>,
    pub(in crate::gpu) constants: Vec<(Tensor, Vec<u8>)>,
    pub(in crate::gpu) slots: Slots,
    /// What all gradients are scaled by; see `Recorder::scaled_gradient`.
    pub loss_scale: f64,
}

impl Plan {
    /// Ends a recording and plans its memory.
    pub fn new(recorder: Recorder) -> Plan {
        let loss_scale = recorder.loss_scale();
        let Recorder { tensors, mut nodes, sets, constants, .. } = recorder;
        nodes.sort_by_key(|n| n.phase);
        let slots = slots::plan(&tensors, &nodes);
        Plan { tensors, nodes, sets, constants, slots, loss_scale }
    }

    pub(in crate::gpu) fn info(&self, tensor: Tensor) -> &Info {
        &self.tensors[tensor.0 as usize]
    }

    /// The tensor whose memory this one is.
    pub(in crate::gpu) fn root(&self, tensor: Tensor) -> Tensor {
        tensor::root(&self.tensors, tensor)
    }

    /// Every dispatch, in order.
    pub(in crate::gpu) fn dispatches(&self) -> impl Iterator<Item = &Dispatch> {
        self.nodes.iter().flat_map(|n| &n.commands).filter_map(|c| match c {
            Command::Dispatch(d) => Some(d),
            Command::Clear(_) | Command::Image { .. } => None,
        })
    }

    /// Indices of the nodes of a phase.
    pub(in crate::gpu) fn phase(&self, phase: Phase) -> std::ops::Range<usize> {
        let start = self.nodes.partition_point(|n| n.phase < phase);
        start..self.nodes.partition_point(|n| n.phase <= phase)
    }

    /// The tensors that the host writes, constants left out.
    pub fn inputs(&self) -> Vec<Tensor> {
        let all = (0..self.tensors.len() as u32).map(Tensor);
        let constant = |tensor: &Tensor| self.constants.iter().any(|(constant, _)| constant == tensor);
        all.filter(|t| self.info(*t).home == Home::Host && !constant(t)).collect()
    }

    /// Bytes of the largest tensor that a dispatch binds.
    pub fn largest_binding(&self) -> u64 {
        let bound = self.nodes.iter().flat_map(Node::bound).map(|t| self.info(t));
        bound.filter(|info| info.home != Home::Image).map(|info| info.bytes() as u64).max().unwrap_or(0)
    }

    /// What the plan costs, by part.
    pub fn summary(&self) -> PlanSummary {
        let (planned, gradients) = (self.slots.total_bytes(), 4 * self.gradient_words());
        let mut summary = PlanSummary { planned, gradients, ..PlanSummary::default() };
        for (index, info) in self.tensors.iter().enumerate() {
            match info.home {
                Home::Transient | Home::Image if self.slots.of[index].is_some() => summary.unplanned += info.bytes(),
                Home::Host => summary.inputs += info.bytes(),
                _ => {}
            }
        }
        for set in &self.sets {
            let elements: usize = set.params.iter().flat_map(|p| &p.parts).map(|p| p.1.iter().product::<usize>()).sum();
            let copies = if set.trainable { 4 } else { 1 };
            let bytes = 4 * copies * set.chunks.iter().sum::<usize>();
            summary.sets.push((set.name.clone(), elements, bytes));
        }
        for node in &self.nodes {
            let dispatches = node.commands.iter().filter(|c| matches!(c, Command::Dispatch(_))).count();
            let entry = summary.operations.entry(node.name).or_default();
            entry.0 += dispatches;
            entry.1 += node.flops;
            summary.dispatches += dispatches;
            summary.flops += node.flops;
        }
        summary
    }
}

/// Costs of a plan.
#[derive(Debug, Clone, Default)]
pub struct PlanSummary {
    /// Bytes of all slots that transient tensors share.
    pub planned: usize,
    /// Bytes of all transient tensors, were each to have its own.
    pub unplanned: usize,
    /// Bytes of inputs and constants.
    pub inputs: usize,
    /// `(name, parameters, bytes with gradients and moments)` of each parameter set.
    pub sets: Vec<(String, usize, usize)>,
    /// Bytes of the gradients that ranks sum.
    pub gradients: usize,
    /// `(dispatches, FLOPs)` of each operation.
    pub operations: BTreeMap<&'static str, (usize, f64)>,
    /// Dispatches of a step of one micro-batch.
    pub dispatches: usize,
    /// Floating-point operations of a step of one micro-batch.
    pub flops: f64,
}

impl PlanSummary {
    /// Bytes of everything the plan allocates.
    pub fn total_bytes(&self) -> usize {
        self.planned + self.inputs + self.sets.iter().map(|s| s.2).sum::<usize>()
    }
}

fn mib(bytes: usize) -> f64 {
    bytes as f64 / (1 << 20) as f64
}

impl fmt::Display for PlanSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<34}{:>14}{:>14}", "parameters", "count", "MiB")?;
        for (name, elements, bytes) in &self.sets {
            writeln!(f, "  {name:<32}{elements:>14}{:>14.1}", mib(*bytes))?;
        }
        writeln!(f, "{:<34}{:>14}{:>14}", "memory", "", "MiB")?;
        writeln!(f, "  {:<46}{:>14.1}", "activations as planned", mib(self.planned))?;
        writeln!(f, "  {:<46}{:>14.1}", "(the same without sharing)", mib(self.unplanned))?;
        writeln!(f, "  {:<46}{:>14.1}", "inputs and constants", mib(self.inputs))?;
        writeln!(f, "  {:<46}{:>14.1}", "total", mib(self.total_bytes()))?;
        writeln!(f, "{:<34}{:>14}{:>14}", "operations of one step", "dispatches", "GFLOP")?;
        for (name, (dispatches, flops)) in &self.operations {
            writeln!(f, "  {name:<32}{dispatches:>14}{:>14.3}", flops / 1e9)?;
        }
        write!(f, "  {:<32}{:>14}{:>14.3}", "total", self.dispatches, self.flops / 1e9)
    }
}
