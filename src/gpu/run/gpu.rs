//! An opened adapter.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::store::Store;
use crate::gpu::caps::{Caps, Matrices};
use crate::gpu::error::{Error, Result};

/// What makes two dispatches share a pipeline: shader, entry, constants, and whether accesses are checked.
pub(super) type PipelineKey = (&'static str, &'static str, Vec<(&'static str, u64)>, bool);

/// A built kernel; handles, cheap to clone.
#[derive(Clone)]
pub(super) struct Kernel {
    pub pipeline: wgpu::ComputePipeline,
    pub layout: wgpu::BindGroupLayout,
}

/// An opened adapter.
pub struct Gpu {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) info: wgpu::AdapterInfo,
    pub(super) limits: wgpu::Limits,
    pub(super) lost: Arc<Mutex<Option<String>>>,
    /// Every kernel built so far.
    pub(super) kernels: Mutex<HashMap<PipelineKey, Kernel>>,
    pub(super) store: Option<Store>,
    /// The driver's own, where it can be kept.
    pub(super) pipelines: Option<wgpu::PipelineCache>,
    pub(super) autotune: bool,
    pub(super) caps: Caps,
}

/// Name, backend, type and driver of an adapter in one line.
pub(super) fn describe(info: &wgpu::AdapterInfo) -> String {
    format!("{} ({:?}, {:?}, {} {})", info.name, info.backend, info.device_type, info.driver, info.driver_info)
}

impl Gpu {
    /// What recordings for this adapter may rely on.
    pub fn caps(&self) -> &Caps {
        &self.caps
    }

    /// Whether training should time kernels first.
    pub fn autotunes(&self) -> bool {
        self.autotune
    }

    /// Name, backend, type and driver in one line.
    pub fn describe(&self) -> String {
        let matrices = self.caps.matrices.map(|Matrices { operands, side, lanes }| {
            format!(", {operands:?} operands in matrices of {side} x {side} by {lanes} lanes")
        });
        describe(&self.info) + &matrices.unwrap_or_default()
    }

    /// Bytes of the adapter's memory that buffers and textures hold, where the backend counts them.
    pub fn allocated(&self) -> Option<u64> {
        self.device.generate_allocator_report().map(|report| report.total_allocated_bytes)
    }

    /// The loss of the device as an error, if it was lost.
    pub(super) fn check_lost(&self) -> Result<()> {
        match self.lost.lock().ok().and_then(|lost| lost.clone()) {
            Some(reason) => Err(Error::Lost { reason }),
            None => Ok(()),
        }
    }
}
