//! Gradients on their way between the GPU and other processes: read back in buckets while the backward pass goes on.

use std::sync::mpsc::{Receiver, channel};

use super::engine::Engine;
use crate::gpu::error::{Error, Result};
use crate::gpu::record::{Arena, Phase, Range, Tensor};
use crate::gpu::step::StepValues;

/// What is read back together.
struct Bucket {
    /// The node after which all of it is whole.
    ready: usize,
    /// `(buffer, first byte, bytes)`.
    places: Vec<(wgpu::Buffer, u64, u64)>,
    bytes: u64,
    /// Kept over all steps.
    staging: wgpu::Buffer,
    flight: Option<Flight>,
}

/// A copy that was submitted.
struct Flight {
    submission: wgpu::SubmissionIndex,
    done: Receiver<std::result::Result<(), wgpu::BufferAsyncError>>,
}

/// The gradients of an engine's trainable sets, and one small tensor beside them, as they are handed to other processes.
pub struct Exchange {
    buckets: Vec<Bucket>,
}

impl Exchange {
    /// Buckets, in the order in which they become whole.
    pub fn buckets(&self) -> usize {
        self.buckets.len()
    }
}

impl Engine {
    /// Prepares the exchange of all gradients in buckets of at most `most` words, and of `beside`, an f32 tensor, which travels with
    /// the last of them.
    ///
    /// # Errors
    /// The tensor has no memory.
    pub fn exchange(&self, beside: Tensor, most: usize) -> Result<Exchange> {
        let planned = self.plan.buckets(most);
        let place = |range: &Range| {
            let buffer = self.buffers.arenas.get(&(range.set, range.chunk, Arena::Grad));
            buffer.map(|buffer| (buffer.clone(), 4 * range.first as u64, 4 * range.words as u64))
        };
        let count = planned.len();
        let mut buckets = Vec::new();
        for (index, bucket) in planned.into_iter().enumerate() {
            let mut places: Vec<_> = bucket.ranges.iter().filter_map(place).collect();
            let mut ready = bucket.ready;
            if index + 1 == count {
                let (buffer, offset) = self.locate(beside)?;
                places.push((buffer.clone(), offset, self.plan.info(beside).bytes() as u64));
                ready = self.plan.phase(Phase::Micro).end - 1;
            }
            let bytes = places.iter().map(|(_, _, bytes)| bytes).sum();
            buckets.push(Bucket { ready, places, bytes, staging: self.staging(bytes), flight: None });
        }
        Ok(Exchange { buckets })
    }

    /// Runs a micro-batch and has each bucket copied to the host as soon as the backward pass is done with it; returns when
    /// all is submitted.
    ///
    /// # Errors
    /// The device was lost.
    pub fn run_staged(&mut self, step: &StepValues, exchange: &mut Exchange) -> Result<()> {
        let ends: Vec<usize> = exchange.buckets.iter().map(|bucket| bucket.ready + 1).collect();
        let mut next = 0;
        self.run_in_parts(Phase::Micro, step, &ends, |engine, end| {
            while let Some(bucket) = exchange.buckets.get_mut(next).filter(|bucket| bucket.ready < end) {
                bucket.flight = Some(engine.copy_out(bucket));
                next += 1;
            }
        })
    }

    fn copy_out(&self, bucket: &Bucket) -> Flight {
        let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
        let mut at = 0;
        for (buffer, offset, bytes) in &bucket.places {
            encoder.copy_buffer_to_buffer(buffer, *offset, &bucket.staging, at, *bytes);
            at += bytes;
        }
        let submission = self.gpu.queue.submit([encoder.finish()]);
        let (sender, done) = channel();
        bucket.staging.slice(..).map_async(wgpu::MapMode::Read, move |result| {
            // The receiver is gone only when the step was given up.
            let _ = sender.send(result);
        });
        Flight { submission, done }
    }

    /// Waits for a bucket's copy, and no later work, and gives its values.
    ///
    /// # Errors
    /// The device was lost, or the bucket was not on its way.
    pub fn staged(&self, exchange: &mut Exchange, bucket: usize) -> Result<Vec<f32>> {
        let lost = |reason: String| Error::Lost { reason };
        let bucket = &mut exchange.buckets[bucket];
        let flight = bucket.flight.take().ok_or_else(|| lost("gradients were asked for twice".into()))?;
        let submission_index = Some(flight.submission);
        let polled = self.gpu.device.poll(wgpu::PollType::Wait { submission_index, timeout: None });
        polled.map_err(|e| lost(e.to_string()))?;
        self.gpu.check_lost()?;
        flight.done.recv().map_err(|e| lost(e.to_string()))?.map_err(|e| lost(e.to_string()))?;
        let values = {
            let view = bucket.staging.slice(..).get_mapped_range().map_err(|e| lost(e.to_string()))?;
            bytemuck::pod_collect_to_vec(&view)
        };
        bucket.staging.unmap();
        Ok(values)
    }

    /// Writes a bucket's values to where they came from, behind all that was submitted.
    ///
    /// # Errors
    /// Another number of values than the bucket's.
    pub fn write_bucket(&self, exchange: &Exchange, bucket: usize, values: &[f32]) -> Result<()> {
        let bucket = &exchange.buckets[bucket];
        let mut rest: &[u8] = bytemuck::cast_slice(values);
        if rest.len() as u64 != bucket.bytes {
            let tensor = "a bucket of gradients".to_owned();
            return Err(Error::Size { tensor, expected: bucket.bytes as usize, got: rest.len() });
        }
        for (buffer, offset, bytes) in &bucket.places {
            let (part, after) = rest.split_at(*bytes as usize);
            self.gpu.queue.write_buffer(buffer, *offset, part);
            rest = after;
        }
        // Handed over now, so that it waits for the GPU and not for the next submission.
        self.gpu.queue.submit([]);
        Ok(())
    }
}
