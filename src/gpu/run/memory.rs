//! The buffers and textures of a plan.

use std::collections::HashMap;

use super::gpu::Gpu;
use crate::gpu::error::{Error, Result};
use crate::gpu::record::{Arena, Home, Plan, Tensor, copies};
use crate::gpu::step::StepValues;

/// Bytes between the `params` of two dispatches in their common buffer: WebGPU's uniform offset alignment.
pub(super) const PARAMS_STRIDE: usize = 256;

/// One piece of a copy between a buffer, from byte `offset` on, and an image: both places, and how much.
pub(super) fn piece<'a>(
    (buffer, offset): (&'a wgpu::Buffer, u64),
    image: &'a wgpu::Texture,
    (first, texels, rows): (u32, u32, u32),
) -> (wgpu::TexelCopyBufferInfo<'a>, wgpu::TexelCopyTextureInfo<'a>, wgpu::Extent3d) {
    let row = 16 * copies::WIDTH as u32;
    let offset = offset + u64::from(first) * u64::from(row);
    let layout = wgpu::TexelCopyBufferLayout { offset, bytes_per_row: Some(row), rows_per_image: None };
    let mut place = image.as_image_copy();
    place.origin.y = first;
    let extent = wgpu::Extent3d { width: texels, height: rows, depth_or_array_layers: 1 };
    (wgpu::TexelCopyBufferInfo { buffer, layout }, place, extent)
}

/// Buffers by where tensors live.
pub(super) struct Buffers {
    pub slots: Vec<wgpu::Buffer>,
    pub images: Vec<wgpu::Texture>,
    pub host: HashMap<Tensor, wgpu::Buffer>,
    pub arenas: HashMap<(usize, usize, Arena), wgpu::Buffer>,
    pub params: wgpu::Buffer,
    pub step: wgpu::Buffer,
}

impl Buffers {
    /// The buffer a tensor lives in and its first byte there.
    pub fn locate(&self, plan: &Plan, tensor: Tensor) -> Option<(&wgpu::Buffer, u64)> {
        let tensor = plan.root(tensor);
        match plan.info(tensor).home {
            Home::View(_) | Home::Image => None,
            Home::Transient => plan.slots.of[tensor.0 as usize].map(|slot| (&self.slots[slot], 0)),
            Home::Host => self.host.get(&tensor).map(|b| (b, 0)),
            Home::Arena { set, chunk, arena, offset } => {
                self.arenas.get(&(set.0, chunk, arena)).map(|b| (b, 4 * offset as u64))
            }
        }
    }

    /// The texture of an image.
    pub fn image(&self, plan: &Plan, tensor: Tensor) -> Option<&wgpu::Texture> {
        let slot = plan.slots.of[tensor.0 as usize].filter(|_| plan.info(tensor).home == Home::Image)?;
        Some(&self.images[slot])
    }
}

struct Allocator<'a> {
    gpu: &'a Gpu,
    total: u64,
}

impl Allocator<'_> {
    fn buffer(&mut self, label: &str, bytes: usize, extra: wgpu::BufferUsages) -> Result<wgpu::Buffer> {
        let size = bytes.max(16).next_multiple_of(16) as u64;
        let gpu = self.gpu;
        if size > gpu.limits.max_buffer_size {
            return Err(Error::Limit {
                what: format!("tensor {label}"),
                needed: size,
                limit: gpu.limits.max_buffer_size,
                unit: "bytes",
                name: "max_buffer_size",
                adapter: gpu.info.name.clone(),
            });
        }
        let descriptor = wgpu::BufferDescriptor {
            label: Some(label),
            size,
            usage: wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST | extra,
            mapped_at_creation: false,
        };
        self.claim(label, size, || gpu.device.create_buffer(&descriptor))
    }

    fn image(&mut self, bytes: usize) -> Result<wgpu::Texture> {
        let gpu = self.gpu;
        let descriptor = wgpu::TextureDescriptor {
            label: Some("image"),
            size: wgpu::Extent3d {
                width: (copies::WIDTH + copies::GAP) as u32,
                height: copies::height(bytes) as u32,
                depth_or_array_layers: 1,
            },
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: wgpu::TextureFormat::Rgba32Float,
            usage: wgpu::TextureUsages::STORAGE_BINDING | wgpu::TextureUsages::COPY_DST | wgpu::TextureUsages::COPY_SRC,
            view_formats: &[],
        };
        self.claim("image", bytes as u64, || gpu.device.create_texture(&descriptor))
    }

    /// Creates something of that size; memory that is not there is an error that names it.
    fn claim<T>(&mut self, label: &str, bytes: u64, create: impl FnOnce() -> T) -> Result<T> {
        let gpu = self.gpu;
        let scope = gpu.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let created = create();
        if pollster::block_on(scope.pop()).is_some() {
            return Err(Error::OutOfMemory {
                what: label.to_owned(),
                bytes,
                allocated: self.total,
                adapter: gpu.info.name.clone(),
            });
        }
        self.total += bytes;
        Ok(created)
    }
}

/// Everything that a plan needs, allocated.
pub(super) fn allocate(gpu: &Gpu, plan: &Plan) -> Result<Buffers> {
    let mut allocator = Allocator { gpu, total: 0 };
    let storage = wgpu::BufferUsages::STORAGE;
    let uniform = wgpu::BufferUsages::UNIFORM;
    let mut largest: Vec<Option<usize>> = vec![None; plan.slots.buffers.len()];
    for (index, slot) in plan.slots.of.iter().enumerate() {
        if let (Some(slot), Home::Transient) = (*slot, plan.tensors[index].home) {
            let bytes = |t: usize| plan.tensors[t].bytes();
            largest[slot] = Some(largest[slot].map_or(index, |t| if bytes(index) > bytes(t) { index } else { t }));
        }
    }
    let mut slots = Vec::new();
    for (bytes, tensor) in plan.slots.buffers.iter().zip(&largest) {
        let label = tensor.map(|t| plan.tensors[t].name.as_str()).unwrap_or("slot");
        slots.push(allocator.buffer(label, *bytes, storage)?);
    }
    let images = plan.slots.images.iter().map(|&bytes| allocator.image(bytes)).collect::<Result<_>>()?;
    let mut host = HashMap::new();
    for (index, info) in plan.tensors.iter().enumerate() {
        if info.home == Home::Host {
            host.insert(Tensor(index as u32), allocator.buffer(&info.name, info.bytes(), storage)?);
        }
    }
    let mut arenas = HashMap::new();
    for (set_index, set) in plan.sets.iter().enumerate() {
        let kinds = [Arena::Weight, Arena::Grad, Arena::Moment1, Arena::Moment2];
        let kinds = if set.trainable { &kinds[..] } else { &kinds[..1] };
        for (chunk, words) in set.chunks.iter().enumerate() {
            for &arena in kinds {
                let label = format!("{} {arena:?} {chunk}", set.name);
                arenas.insert((set_index, chunk, arena), allocator.buffer(&label, 4 * words, storage)?);
            }
        }
    }
    let dispatches = plan.dispatches().count();
    let params = allocator.buffer("params", (dispatches * PARAMS_STRIDE).max(PARAMS_STRIDE), uniform)?;
    let step = allocator.buffer("step", size_of::<StepValues>(), uniform)?;
    Ok(Buffers { slots, images, host, arenas, params, step })
}

/// Writes the plan's constants and the `params` of every dispatch.
pub(super) fn upload(gpu: &Gpu, plan: &Plan, buffers: &Buffers) {
    for (tensor, bytes) in &plan.constants {
        if let Some(buffer) = buffers.host.get(tensor) {
            gpu.queue.write_buffer(buffer, 0, bytes);
        }
    }
    let mut all = Vec::new();
    for dispatch in plan.dispatches() {
        all.extend_from_slice(&dispatch.params);
        all.resize(all.len().next_multiple_of(PARAMS_STRIDE), 0);
        if dispatch.params.is_empty() {
            all.resize(all.len() + PARAMS_STRIDE, 0);
        }
    }
    gpu.queue.write_buffer(&buffers.params, 0, &all);
}
