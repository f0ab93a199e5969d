//! Parts of tensors between the GPU and the host, a piece at a time: through one readback buffer, and with few bytes of
//! uploads pending.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;

use super::engine::Engine;
use crate::gpu::error::{Error, Result};
use crate::gpu::record::{Arena, Param, ParamSet, Tensor};

/// Bytes of the largest piece.
pub(super) const PIECE: u64 = 16 << 20;
/// Bytes of uploads after which they are waited for: until then wgpu holds a copy of each.
const PENDING: u64 = 4 * PIECE;

/// f32 values on the GPU that are known by a name.
#[derive(Debug, Clone)]
pub struct Region {
    /// The name in checkpoints.
    pub name: String,
    /// The shape there.
    pub shape: Vec<usize>,
    buffer: wgpu::Buffer,
    /// Bytes.
    offset: u64,
}

impl Region {
    /// The number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it holds no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Engine {
    /// Every part of every parameter of a set, in one of its arenas; a frozen set has weights alone.
    pub fn regions(&self, set: ParamSet, arena: Arena) -> Vec<Region> {
        let of = |param: &Param| {
            let (buffer, start) = (self.buffers.arenas.get(&(set.0, param.chunk, arena)), param.offset);
            let parts = param.parts.clone().into_iter();
            let region = move |(name, shape, first): (String, Vec<usize>, usize)| {
                Some(Region { name, shape, buffer: buffer?.clone(), offset: 4 * (start + first) as u64 })
            };
            parts.filter_map(region).collect::<Vec<_>>()
        };
        self.plan.sets[set.0].params.iter().flat_map(of).collect()
    }

    /// A part of an f32 tensor, from value `first` on.
    ///
    /// # Errors
    /// The tensor has no memory.
    pub fn region(&self, tensor: Tensor, name: &str, shape: &[usize], first: usize) -> Result<Region> {
        let (buffer, start) = self.locate(tensor)?;
        let offset = start + 4 * first as u64;
        Ok(Region { name: name.to_owned(), shape: shape.to_vec(), buffer: buffer.clone(), offset })
    }

    /// Hands a region's values to `take` in their order, a piece at a time, as they are once all that was submitted is done.
    ///
    /// # Errors
    /// The device was lost, or `take` refuses.
    pub fn read_region<E: From<Error>>(
        &self,
        region: &Region,
        mut take: impl FnMut(&[f32]) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let bytes = 4 * region.len() as u64;
        self.read_pieces((&region.buffer, region.offset), bytes, |piece| match bytemuck::try_cast_slice(piece) {
            Ok(values) => take(values),
            Err(_) => take(&bytemuck::pod_collect_to_vec::<u8, f32>(piece)),
        })
    }

    /// Hands `bytes` bytes of a buffer to `take`; place and number are multiples of 4.
    pub(super) fn read_pieces<E: From<Error>>(
        &self,
        (buffer, offset): (&wgpu::Buffer, u64),
        bytes: u64,
        mut take: impl FnMut(&[u8]) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        // A panic elsewhere leaves at worst a buffer that is still mapped, which is an error below.
        let mut kept = self.readback.lock().unwrap_or_else(PoisonError::into_inner);
        let needed = bytes.min(PIECE);
        let staging = match kept.take().filter(|kept| kept.size() >= needed) {
            Some(staging) => staging,
            None => self.staging(needed.next_power_of_two().max(256)),
        };
        let mut at = 0;
        while at < bytes {
            let piece = (bytes - at).min(PIECE);
            let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
            encoder.copy_buffer_to_buffer(buffer, offset + at, &staging, 0, piece);
            self.gpu.queue.submit([encoder.finish()]);
            let slice = staging.slice(..piece);
            let (sender, done) = channel();
            slice.map_async(wgpu::MapMode::Read, move |result| {
                // The receiver is gone only when waiting has failed.
                let _ = sender.send(result);
            });
            self.wait()?;
            let lost = |reason: String| Error::Lost { reason };
            done.recv().map_err(|e| lost(e.to_string()))?.map_err(|e| lost(e.to_string()))?;
            let taken = {
                let view = slice.get_mapped_range().map_err(|e| lost(e.to_string()))?;
                take(&view)
            };
            staging.unmap();
            taken?;
            at += piece;
        }
        *kept = Some(staging);
        Ok(())
    }

    /// Writes values of a region, from value `first` on.
    ///
    /// # Errors
    /// More than it has, or the device was lost.
    pub fn write_region(&self, region: &Region, first: usize, values: &[f32]) -> Result<()> {
        let (expected, got) = (4 * region.len(), 4 * (first + values.len()));
        if got > expected {
            return Err(Error::Size { tensor: region.name.clone(), expected, got });
        }
        let mut offset = region.offset + 4 * first as u64;
        for piece in values.chunks(PIECE as usize / 4) {
            let bytes: &[u8] = bytemuck::cast_slice(piece);
            self.gpu.queue.write_buffer(&region.buffer, offset, bytes);
            offset += bytes.len() as u64;
            let pending = self.uploads.fetch_add(bytes.len() as u64, Ordering::Relaxed) + bytes.len() as u64;
            if pending >= PENDING {
                self.uploads.store(0, Ordering::Relaxed);
                self.gpu.queue.submit([]);
                self.wait()?;
            }
        }
        Ok(())
    }
}
