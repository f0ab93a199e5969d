//! A compiled plan: running a phase writes a uniform and submits.

use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::compile::{self, EngineOptions};
use super::gpu::Gpu;
use super::memory::{self, Buffers, piece};
use super::reference::decode;
use crate::gpu::error::{Error, Result};
use crate::gpu::record::{Arena, Command, Dtype, Home, Node, Param, ParamSet, Phase, Plan, Tensor, copies};
use crate::gpu::step::StepValues;

/// Seconds of work a submission should hold: far below every desktop watchdog.
const SUBMISSION_SECONDS: f64 = 0.2;
/// Cost of a submission before the adapter's speed is known: a tenth of a second on a slow laptop GPU.
const FIRST_BUDGET: f64 = 5e9;
/// Runs of each engine that are timed submission by submission.
const CALIBRATION_RUNS: usize = 3;

enum Action {
    Dispatch { pipeline: wgpu::ComputePipeline, group: wgpu::BindGroup, workgroups: [u32; 3] },
    Clear { buffer: wgpu::Buffer, offset: u64, bytes: u64 },
    Image { buffer: wgpu::Buffer, offset: u64, bytes: usize, texture: wgpu::Texture },
}

struct CompiledNode {
    actions: Vec<Action>,
    cost: f64,
}

struct Pending {
    staging: wgpu::Buffer,
    done: Receiver<std::result::Result<(), wgpu::BufferAsyncError>>,
    tensor: Tensor,
}

/// A plan compiled for one adapter, with its memory.
pub struct Engine {
    pub(super) gpu: Arc<Gpu>,
    pub(super) plan: Plan,
    pub(super) buffers: Buffers,
    nodes: Vec<CompiledNode>,
    pending: VecDeque<Pending>,
    spare: Vec<wgpu::Buffer>,
    /// What regions are read through.
    pub(super) readback: Mutex<Option<wgpu::Buffer>>,
    /// Bytes of regions that were written since it was last waited for.
    pub(super) uploads: AtomicU64,
    budget: f64,
    runs: usize,
}

/// `(name, shape, values)` of one part of a parameter, as checkpoints hold it.
pub type NamedValues = (String, Vec<usize>, Vec<f32>);

/// How far one output of one node is from its CPU twin.
#[derive(Debug, Clone)]
pub struct NodeError {
    /// Node name.
    pub node: &'static str,
    /// Its first kernel; none for copies and clears.
    pub kernel: Option<&'static str>,
    /// Shader and entry point of each of its dispatches.
    pub entries: Vec<(&'static str, &'static str)>,
    /// Output tensor.
    pub tensor: String,
    /// Largest absolute difference.
    pub absolute: f64,
    /// The same as a share of the largest value of the reference.
    pub relative: f64,
}

impl Engine {
    /// Allocates, builds pipelines and bind groups, uploads constants.
    ///
    /// # Errors
    /// A limit that a tensor or dispatch breaks, memory that is not there, a kernel that the driver refuses.
    pub fn new(gpu: &Arc<Gpu>, plan: Plan, options: &EngineOptions) -> Result<Engine> {
        let buffers = memory::allocate(gpu, &plan)?;
        let pipelines = compile::pipelines(gpu, &plan, options)?;
        let mut groups = compile::bind_groups(gpu, &plan, &buffers, &pipelines)?.into_iter();
        let mut nodes = Vec::new();
        for node in &plan.nodes {
            let mut actions = Vec::new();
            for command in &node.commands {
                let action = match command {
                    Command::Dispatch(d) => pipelines.get(d).zip(groups.next()).map(|(kernel, group)| {
                        Action::Dispatch { pipeline: kernel.pipeline.clone(), group, workgroups: d.groups }
                    }),
                    Command::Clear(t) => buffers.locate(&plan, *t).map(|(buffer, offset)| Action::Clear {
                        buffer: buffer.clone(),
                        offset,
                        bytes: plan.info(*t).bytes() as u64,
                    }),
                    Command::Image { from, to } => buffers.locate(&plan, *from).zip(buffers.image(&plan, *to)).map(
                        |((buffer, offset), texture)| Action::Image {
                            buffer: buffer.clone(),
                            offset,
                            bytes: plan.info(*to).bytes(),
                            texture: texture.clone(),
                        },
                    ),
                };
                actions.extend(action);
            }
            let touched: usize = node.bound().map(|t| plan.info(t).len()).sum();
            nodes.push(CompiledNode { actions, cost: node.flops + 8.0 * touched as f64 });
        }
        memory::upload(gpu, &plan, &buffers);
        gpu.check_lost()?;
        let gpu = Arc::clone(gpu);
        let (pending, spare) = (VecDeque::new(), Vec::new());
        let (readback, uploads) = (Mutex::default(), AtomicU64::default());
        Ok(Engine { gpu, plan, buffers, nodes, pending, spare, readback, uploads, budget: FIRST_BUDGET, runs: 0 })
    }

    /// The plan that was compiled.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Elements of a tensor.
    pub fn elements(&self, tensor: Tensor) -> usize {
        self.plan.info(tensor).len()
    }

    /// Element type of a tensor.
    pub fn dtype(&self, tensor: Tensor) -> Dtype {
        self.plan.info(tensor).dtype
    }

    // ---- running

    /// Runs one phase with these scalars; returns when it is submitted, not when it is done.
    ///
    /// # Errors
    /// The device was lost.
    pub fn run(&mut self, phase: Phase, step: &StepValues) -> Result<()> {
        self.run_in_parts(phase, step, &[], |_, _| {})
    }

    /// The same with a submission ending at each of `ends`, nodes in order; `submitted` hears up to which node all is submitted.
    pub(super) fn run_in_parts(
        &mut self,
        phase: Phase,
        step: &StepValues,
        ends: &[usize],
        mut submitted: impl FnMut(&Engine, usize),
    ) -> Result<()> {
        self.gpu.queue.write_buffer(&self.buffers.step, 0, bytemuck::bytes_of(step));
        let range = self.plan.phase(phase);
        let calibrate = self.runs < CALIBRATION_RUNS;
        let (mut start, mut rate) = (range.start, 0f64);
        while start < range.end {
            let last = ends.iter().copied().find(|end| *end > start).unwrap_or(range.end);
            let (mut end, mut cost) = (start, 0.0);
            while end < last && (end == start || cost + self.nodes[end].cost <= self.budget) {
                cost += self.nodes[end].cost;
                end += 1;
            }
            let clock = Instant::now();
            self.submit(start..end);
            if calibrate {
                self.wait()?;
                rate = rate.max(cost / clock.elapsed().as_secs_f64().max(1e-6));
            }
            submitted(self, end);
            start = end;
        }
        if calibrate && phase == Phase::Micro && !range.is_empty() {
            self.runs += 1;
            self.budget = (rate * SUBMISSION_SECONDS).max(1e6);
        }
        self.gpu.check_lost()
    }

    pub(super) fn submit(&self, nodes: std::ops::Range<usize>) {
        let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
        self.encode(&mut encoder, nodes);
        self.gpu.queue.submit([encoder.finish()]);
    }

    pub(super) fn encode(&self, encoder: &mut wgpu::CommandEncoder, nodes: std::ops::Range<usize>) {
        let mut actions = self.nodes[nodes].iter().flat_map(|n| &n.actions).peekable();
        while let Some(action) = actions.peek() {
            match action {
                Action::Clear { buffer, offset, bytes } => {
                    encoder.clear_buffer(buffer, *offset, Some(*bytes));
                    actions.next();
                    continue;
                }
                Action::Image { buffer, offset, bytes, texture } => {
                    for part in copies::pieces(*bytes) {
                        let (from, to, extent) = piece((buffer, *offset), texture, part);
                        encoder.copy_buffer_to_texture(from, to, extent);
                    }
                    actions.next();
                    continue;
                }
                Action::Dispatch { .. } => {}
            }
            let mut pass = encoder.begin_compute_pass(&Default::default());
            while let Some(Action::Dispatch { pipeline, group, workgroups: [x, y, z] }) = actions.peek() {
                pass.set_pipeline(pipeline);
                pass.set_bind_group(0, group, &[]);
                pass.dispatch_workgroups(*x, *y, *z);
                actions.next();
            }
        }
    }

    /// Waits until everything submitted is done.
    ///
    /// # Errors
    /// The device was lost.
    pub fn wait(&self) -> Result<()> {
        let polled = self.gpu.device.poll(wgpu::PollType::wait_indefinitely());
        polled.map_err(|e| Error::Lost { reason: e.to_string() })?;
        self.gpu.check_lost()
    }

    /// Runs every node of a phase alone and compares its outputs with its CPU twin, fed with the GPU's own inputs.
    ///
    /// # Errors
    /// The device was lost.
    pub fn run_checked(&mut self, phase: Phase, step: &StepValues) -> Result<Vec<NodeError>> {
        self.gpu.queue.write_buffer(&self.buffers.step, 0, bytemuck::bytes_of(step));
        let mut errors = Vec::new();
        for index in self.plan.phase(phase) {
            let (inputs, outputs) = (self.plan.nodes[index].inputs.clone(), self.plan.nodes[index].outputs.clone());
            let before = inputs.iter().map(|&t| self.read_f64(t)).collect::<Result<Vec<_>>>()?;
            let prior = outputs.iter().map(|&t| self.read_f64(t)).collect::<Result<Vec<_>>>()?;
            self.submit(index..index + 1);
            self.wait()?;
            let expected = self.plan.run_twin(index, &before, prior, step);
            for (&tensor, expected) in outputs.iter().zip(&expected) {
                let got = self.read_f64(tensor)?;
                errors.push(compare(&self.plan.nodes[index], &self.plan.info(tensor).name, &got, expected));
            }
        }
        Ok(errors)
    }

    // ---- host data

    pub(super) fn locate(&self, tensor: Tensor) -> Result<(&wgpu::Buffer, u64)> {
        self.buffers.locate(&self.plan, tensor).ok_or_else(|| Error::Refused {
            what: format!("access to tensor {}", self.plan.info(tensor).name),
            reason: "no node of the plan touches it, so it has no memory".into(),
        })
    }

    /// Writes a whole tensor from bytes as they lie in memory.
    ///
    /// # Errors
    /// Another number of bytes than the tensor's.
    pub fn write_bytes(&self, tensor: Tensor, bytes: &[u8]) -> Result<()> {
        let info = self.plan.info(tensor);
        let expected = info.len() * info.dtype.bytes();
        if bytes.len() != expected {
            return Err(Error::Size { tensor: info.name.clone(), expected, got: bytes.len() });
        }
        let (buffer, offset) = self.locate(tensor)?;
        let whole = bytes.len() / 4 * 4;
        self.gpu.queue.write_buffer(buffer, offset, &bytes[..whole]);
        if whole < bytes.len() {
            let mut last = [0; 4];
            last[..bytes.len() - whole].copy_from_slice(&bytes[whole..]);
            self.gpu.queue.write_buffer(buffer, offset + whole as u64, &last);
        }
        Ok(())
    }

    /// Writes a whole tensor.
    ///
    /// # Errors
    /// Another number of elements than the tensor's.
    pub fn write<T: bytemuck::Pod>(&self, tensor: Tensor, values: &[T]) -> Result<()> {
        self.write_bytes(tensor, bytemuck::cast_slice(values))
    }

    /// Writes every f32 input: `values` gives so many numbers.
    ///
    /// # Errors
    /// An input without memory.
    pub(super) fn write_inputs(&self, mut values: impl FnMut(usize) -> Vec<f32>) -> Result<()> {
        let constants: Vec<Tensor> = self.plan.constants.iter().map(|(tensor, _)| *tensor).collect();
        for (index, info) in self.plan.tensors.iter().enumerate() {
            let tensor = Tensor(index as u32);
            if info.home == Home::Host && info.dtype == Dtype::F32 && !constants.contains(&tensor) {
                self.write(tensor, &values(info.len()))?;
            }
        }
        Ok(())
    }

    /// A buffer that the host can read.
    pub(super) fn staging(&self, bytes: u64) -> wgpu::Buffer {
        self.gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("readback"),
            size: bytes,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        })
    }

    fn stage(&mut self, tensor: Tensor) -> Result<Pending> {
        let bytes = self.plan.info(tensor).bytes() as u64;
        let spare = self.spare.iter().position(|b| b.size() == bytes).map(|i| self.spare.swap_remove(i));
        let staging = spare.unwrap_or_else(|| self.staging(bytes));
        let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
        match self.buffers.image(&self.plan, tensor) {
            Some(image) => {
                for part in copies::pieces(bytes as usize) {
                    let (to, from, extent) = piece((&staging, 0), image, part);
                    encoder.copy_texture_to_buffer(from, to, extent);
                }
            }
            None => {
                let (buffer, offset) = self.locate(tensor)?;
                encoder.copy_buffer_to_buffer(buffer, offset, &staging, 0, bytes);
            }
        }
        self.gpu.queue.submit([encoder.finish()]);
        let (sender, done) = channel();
        staging.slice(..).map_async(wgpu::MapMode::Read, move |result| {
            // The receiver is gone only when the engine is.
            let _ = sender.send(result);
        });
        Ok(Pending { staging, done, tensor })
    }

    fn collect(&mut self, pending: Pending) -> Result<Vec<u8>> {
        let lost = |reason: String| Error::Lost { reason };
        loop {
            match pending.done.try_recv() {
                Ok(result) => {
                    result.map_err(|e| lost(e.to_string()))?;
                    break;
                }
                Err(_) => self.wait()?,
            }
        }
        let info = self.plan.info(pending.tensor);
        let bytes = {
            let view = pending.staging.slice(..).get_mapped_range().map_err(|e| lost(e.to_string()))?;
            view[..info.len() * info.dtype.bytes()].to_vec()
        };
        pending.staging.unmap();
        self.spare.push(pending.staging);
        Ok(bytes)
    }

    /// Reads a tensor's bytes, waiting for the GPU.
    ///
    /// # Errors
    /// The device was lost, or the tensor has no memory.
    pub fn read_bytes(&mut self, tensor: Tensor) -> Result<Vec<u8>> {
        if self.buffers.image(&self.plan, tensor).is_none() {
            let info = self.plan.info(tensor);
            let mut bytes = Vec::with_capacity(info.bytes());
            self.read_pieces(self.locate(tensor)?, info.bytes() as u64, |piece| {
                bytes.extend_from_slice(piece);
                Ok::<_, Error>(())
            })?;
            bytes.truncate(info.len() * info.dtype.bytes());
            return Ok(bytes);
        }
        let pending = self.stage(tensor)?;
        let bytes = self.collect(pending)?;
        // Only the small, repeated readbacks of `fetch_later` are worth keeping.
        self.spare.retain(|b| b.size() <= 4096);
        Ok(bytes)
    }

    /// Reads an f32 tensor, waiting for the GPU.
    ///
    /// # Errors
    /// The device was lost, or the tensor has no memory.
    pub fn read(&mut self, tensor: Tensor) -> Result<Vec<f32>> {
        Ok(bytemuck::pod_collect_to_vec(&self.read_bytes(tensor)?))
    }

    fn read_f64(&mut self, tensor: Tensor) -> Result<Vec<f64>> {
        let bytes = self.read_bytes(tensor)?;
        let info = self.plan.info(tensor);
        Ok(decode(info.dtype, &bytes, info.len()))
    }

    /// Asks for a small f32 tensor's value as of now, to be had from `fetch_next` without draining the queue.
    ///
    /// # Errors
    /// The tensor has no memory.
    pub fn fetch_later(&mut self, tensor: Tensor) -> Result<()> {
        let pending = self.stage(tensor)?;
        self.pending.push_back(pending);
        Ok(())
    }

    /// How many `fetch_later` were not yet taken.
    pub fn fetches(&self) -> usize {
        self.pending.len()
    }

    /// The oldest value asked for; waits for it if need be.
    ///
    /// # Errors
    /// The device was lost.
    pub fn fetch_next(&mut self) -> Result<Option<Vec<f32>>> {
        let Some(pending) = self.pending.pop_front() else { return Ok(None) };
        Ok(Some(bytemuck::pod_collect_to_vec(&self.collect(pending)?)))
    }

    // ---- parameters

    /// The parameters of a set.
    pub fn params(&self, set: ParamSet) -> &[Param] {
        &self.plan.sets[set.0].params
    }

    /// Writes an arena of a set: for each part of each parameter, the values that `source` has for its name.
    ///
    /// # Errors
    /// A part that `source` does not have, or has in another size.
    pub fn write_params<'a>(
        &self,
        set: ParamSet,
        arena: Arena,
        source: impl Fn(&str) -> Option<&'a [f32]>,
    ) -> Result<()> {
        for region in self.regions(set, arena) {
            let values = source(&region.name).ok_or_else(|| self.lacking(set, &region.name))?;
            let (expected, got) = (4 * region.len(), 4 * values.len());
            if expected != got {
                return Err(Error::Size { tensor: region.name, expected, got });
            }
            self.write_region(&region, 0, values)?;
        }
        Ok(())
    }

    /// That there is nothing to write for a parameter.
    pub fn lacking(&self, set: ParamSet, name: &str) -> Error {
        Error::NoParam { set: self.plan.sets[set.0].name.clone(), name: name.to_owned() }
    }

    /// Reads an arena of a trainable set: `(name, shape, values)` of every part.
    ///
    /// # Errors
    /// The device was lost.
    pub fn read_params(&mut self, set: ParamSet, arena: Arena) -> Result<Vec<NamedValues>> {
        // A power of two: no digit is lost.
        let unscale = if arena == Arena::Grad { 1.0 / self.plan.loss_scale as f32 } else { 1.0 };
        let mut all = Vec::new();
        for region in self.regions(set, arena) {
            let mut values = Vec::with_capacity(region.len());
            self.read_region(&region, |piece| {
                values.extend(piece.iter().map(|value| value * unscale));
                Ok::<_, Error>(())
            })?;
            all.push((region.name, region.shape, values));
        }
        Ok(all)
    }
}

/// The largest difference, absolute and as a share of the largest expected value; NaN counts as infinite.
fn compare(node: &Node, tensor: &str, got: &[f64], expected: &[f64]) -> NodeError {
    let largest = expected.iter().fold(0f64, |m, v| m.max(v.abs()));
    let absolute = got.iter().zip(expected).fold(0f64, |m, (g, e)| {
        let d = (g - e).abs();
        if d.is_nan() { f64::INFINITY } else { m.max(d) }
    });
    let relative = absolute / largest.max(1e-30);
    NodeError {
        node: node.name,
        kernel: node.kernel(),
        entries: node.entries(),
        tensor: tensor.to_owned(),
        absolute,
        relative,
    }
}
