//! Running a plan on the CPU in f64, through the twins of its nodes.

use std::collections::HashMap;

use crate::gpu::record::{Arena, Dtype, Home, HostNode, Phase, Plan, Tensor};
use crate::gpu::step::StepValues;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Own(Tensor),
    Chunk(usize, usize, Arena),
}

/// Host values of a plan's tensors, in f64.
#[derive(Debug, Clone, Default)]
pub struct Values(HashMap<Key, Vec<f64>>);

impl Values {
    fn key(plan: &Plan, tensor: Tensor) -> (Key, usize, usize) {
        let info = plan.info(tensor);
        match info.home {
            Home::Arena { set, chunk, arena, offset } => (Key::Chunk(set.0, chunk, arena), offset, info.len()),
            _ => (Key::Own(plan.root(tensor)), 0, info.len()),
        }
    }

    fn buffer(&mut self, plan: &Plan, tensor: Tensor) -> &mut [f64] {
        let (key, offset, len) = Self::key(plan, tensor);
        let whole = match key {
            Key::Own(_) => len,
            Key::Chunk(set, chunk, _) => plan.sets[set].chunks[chunk],
        };
        &mut self.0.entry(key).or_insert_with(|| vec![0.0; whole])[offset..offset + len]
    }

    /// Sets a tensor's values.
    pub fn set(&mut self, plan: &Plan, tensor: Tensor, values: &[f64]) {
        self.buffer(plan, tensor).copy_from_slice(values);
    }

    /// A tensor's values; zeros if nothing set them.
    pub fn get(&mut self, plan: &Plan, tensor: Tensor) -> Vec<f64> {
        self.buffer(plan, tensor).to_vec()
    }
}

/// The numbers that the bytes of a tensor stand for.
pub(super) fn decode(dtype: Dtype, bytes: &[u8], len: usize) -> Vec<f64> {
    match dtype {
        Dtype::F32 => bytes.as_chunks::<4>().0.iter().take(len).map(|b| f64::from(f32::from_le_bytes(*b))).collect(),
        Dtype::F16 => {
            bytes.as_chunks::<2>().0.iter().take(len).map(|b| half::f16::from_le_bytes(*b).to_f64()).collect()
        }
        Dtype::U32 => bytes.as_chunks::<4>().0.iter().take(len).map(|b| f64::from(u32::from_le_bytes(*b))).collect(),
        Dtype::U8 => bytes.iter().take(len).map(|&b| f64::from(b)).collect(),
    }
}

impl Plan {
    /// Values with the plan's constants filled in.
    pub fn values(&self) -> Values {
        let mut values = Values::default();
        for (tensor, bytes) in &self.constants {
            let info = self.info(*tensor);
            values.set(self, *tensor, &decode(info.dtype, bytes, info.len()));
        }
        values
    }

    /// Runs one phase by the CPU twins.
    pub fn run_reference(&self, values: &mut Values, phase: Phase, step: &StepValues) {
        for index in self.phase(phase) {
            let node = &self.nodes[index];
            let inputs: Vec<Vec<f64>> = node.inputs.iter().map(|&t| values.get(self, t)).collect();
            let outputs = node.outputs.iter().map(|&t| values.get(self, t)).collect();
            let outputs = self.run_twin(index, &inputs, outputs, step);
            for (&tensor, output) in node.outputs.iter().zip(&outputs) {
                values.set(self, tensor, output);
            }
        }
    }

    /// The outputs that node `index`'s twin computes.
    ///
    /// # Panics
    /// If a twin leaves an output of another length than its tensor: a mistake in an operation.
    pub(super) fn run_twin(
        &self,
        index: usize,
        inputs: &[Vec<f64>],
        outputs: Vec<Vec<f64>>,
        step: &StepValues,
    ) -> Vec<Vec<f64>> {
        let node = &self.nodes[index];
        let mut host = HostNode { inputs: inputs.iter().map(Vec::as_slice).collect(), outputs, step };
        (node.twin)(&mut host);
        for (&tensor, output) in node.outputs.iter().zip(&host.outputs) {
            let info = self.info(tensor);
            assert_eq!(output.len(), info.len(), "{}: the twin's {} has another length", node.name, info.name);
        }
        host.outputs
    }
}
