//! How long each node takes.

use std::sync::mpsc::channel;
use std::time::Instant;

use super::engine::Engine;
use crate::gpu::error::{Error, Result};
use crate::gpu::record::{Phase, Tensor};

/// Nodes of one submission: short enough for every watchdog at the sizes that are worth timing.
const CHUNK: usize = 16;

/// What one node took.
#[derive(Debug, Clone)]
pub struct NodeTime {
    /// Node name.
    pub name: &'static str,
    /// Shapes of its inputs and outputs.
    pub shapes: String,
    /// Its first kernel; none for copies and clears.
    pub kernel: Option<&'static str>,
    /// Its FLOPs.
    pub flops: f64,
    /// Seconds.
    pub seconds: f64,
}

impl Engine {
    /// What each node of a phase takes: from the adapter's timestamps where it has them, else each
    /// submitted and waited for alone.
    ///
    /// # Errors
    /// The device was lost.
    pub fn time_nodes(&mut self, phase: Phase) -> Result<Vec<NodeTime>> {
        let nodes = self.plan.phase(phase);
        let stamped = self.gpu.device.features().contains(wgpu::Features::TIMESTAMP_QUERY_INSIDE_ENCODERS);
        let mut times = Vec::new();
        for start in nodes.clone().step_by(CHUNK) {
            let chunk = start..nodes.end.min(start + CHUNK);
            let seconds = if stamped { self.stamp(chunk.clone())? } else { self.wait_for_each(chunk.clone())? };
            times.extend(chunk.zip(seconds).map(|(index, seconds)| self.node_time(index, seconds)));
        }
        Ok(times)
    }

    /// Seconds that the nodes of a phase take together, without the host's share: the median of `runs`.
    ///
    /// # Errors
    /// The device was lost.
    pub fn seconds(&mut self, phase: Phase, runs: usize) -> Result<f64> {
        let sums = (0..runs).map(|_| Ok(self.time_nodes(phase)?.iter().map(|node| node.seconds).sum()));
        let mut sums = sums.collect::<Result<Vec<f64>>>()?;
        sums.sort_by(f64::total_cmp);
        Ok(sums.get(runs / 2).copied().unwrap_or(f64::NAN))
    }

    fn node_time(&self, index: usize, seconds: f64) -> NodeTime {
        let node = &self.plan.nodes[index];
        let shape = |tensors: &[Tensor]| {
            tensors.iter().map(|&t| format!("{:?}", self.plan.info(t).shape)).collect::<Vec<_>>().join(" ")
        };
        let shapes = format!("{} to {}", shape(&node.inputs), shape(&node.outputs));
        NodeTime { name: node.name, shapes, kernel: node.kernel(), flops: node.flops, seconds }
    }

    fn wait_for_each(&mut self, nodes: std::ops::Range<usize>) -> Result<Vec<f64>> {
        let one = |index| {
            self.wait()?;
            let clock = Instant::now();
            self.submit(index..index + 1);
            self.wait()?;
            Ok(clock.elapsed().as_secs_f64())
        };
        nodes.map(one).collect()
    }

    /// Runs nodes with a timestamp before and after each.
    fn stamp(&self, nodes: std::ops::Range<usize>) -> Result<Vec<f64>> {
        let device = &self.gpu.device;
        let count = nodes.len() as u32 + 1;
        let label = Some("timestamps");
        let set = device.create_query_set(&wgpu::QuerySetDescriptor { label, ty: wgpu::QueryType::Timestamp, count });
        let buffer = |usage| {
            let size = u64::from(count) * 8;
            device.create_buffer(&wgpu::BufferDescriptor { label, size, usage, mapped_at_creation: false })
        };
        let resolved = buffer(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC);
        let staging = buffer(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
        let mut encoder = device.create_command_encoder(&Default::default());
        encoder.write_timestamp(&set, 0);
        for (index, node) in nodes.enumerate() {
            self.encode(&mut encoder, node..node + 1);
            encoder.write_timestamp(&set, index as u32 + 1);
        }
        encoder.resolve_query_set(&set, 0..count, &resolved, 0);
        encoder.copy_buffer_to_buffer(&resolved, 0, &staging, 0, staging.size());
        self.gpu.queue.submit([encoder.finish()]);
        let (sender, done) = channel();
        staging.slice(..).map_async(wgpu::MapMode::Read, move |result| {
            // The receiver waits below.
            let _ = sender.send(result);
        });
        self.wait()?;
        let lost = |reason: String| Error::Lost { reason };
        done.recv().map_err(|e| lost(e.to_string()))?.map_err(|e| lost(e.to_string()))?;
        let view = staging.slice(..).get_mapped_range().map_err(|e| lost(e.to_string()))?;
        let stamps: Vec<u64> = bytemuck::pod_collect_to_vec(&view);
        let period = f64::from(self.gpu.queue.get_timestamp_period()) * 1e-9;
        Ok(stamps.windows(2).map(|w| w[1].saturating_sub(w[0]) as f64 * period).collect())
    }
}
