//! What an adapter can do, as far as recording depends on it, and what the user lets it do.

use std::sync::Arc;

use super::record::{ALIGN_WORDS, Choices};

/// Which kernels may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Kernels {
    /// The fastest that the adapter can run.
    #[default]
    Fastest,
    /// No operands in textures.
    Buffers,
    /// Those that need no optional feature: what every adapter can run.
    Portable,
}

/// What products and attention multiply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Precision {
    /// f32.
    #[default]
    F32,
    /// Operands rounded to f16, by cooperative matrices, sums in f32; all else, weights among it, stays f32.
    F16,
}

/// Who made an adapter: what is fastest untimed depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vendor {
    /// AMD.
    Amd,
    /// Apple.
    Apple,
    /// Intel.
    Intel,
    /// NVIDIA.
    Nvidia,
    /// Another, or a CPU.
    Other,
}

impl Vendor {
    pub(super) fn of(info: &wgpu::AdapterInfo) -> Self {
        match info.vendor {
            0x1002 => Vendor::Amd,
            0x106b => Vendor::Apple,
            0x8086 => Vendor::Intel,
            0x10de => Vendor::Nvidia,
            // Metal gives no number.
            _ if info.name.starts_with("Apple") => Vendor::Apple,
            _ if info.name.starts_with("AMD") => Vendor::Amd,
            _ if info.name.starts_with("Intel") => Vendor::Intel,
            _ => Vendor::Other,
        }
    }
}

/// What cooperative matrices multiply; sums are f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operands {
    /// Numbers rounded to f16.
    F16,
    /// f32, exact.
    F32,
}

/// Cooperative matrices that matrix products and attention may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Matrices {
    /// What they multiply.
    pub operands: Operands,
    /// Rows and columns: 8 or 16.
    pub side: u32,
    /// Lanes of a subgroup in kernels that use them.
    pub lanes: u32,
}

impl Matrices {
    /// The kinds that there are kernels for.
    pub const KNOWN: &[Matrices] = &[
        Matrices { operands: Operands::F16, side: 16, lanes: 32 },
        Matrices { operands: Operands::F16, side: 16, lanes: 64 },
        Matrices { operands: Operands::F16, side: 16, lanes: 8 },
        Matrices { operands: Operands::F16, side: 8, lanes: 32 },
        Matrices { operands: Operands::F16, side: 8, lanes: 8 },
        Matrices { operands: Operands::F32, side: 8, lanes: 32 },
    ];
}

/// What an adapter can do, as far as recording depends on it.
#[derive(Debug, Clone, PartialEq)]
pub struct Caps {
    /// Bytes of the largest storage binding.
    pub max_binding: u64,
    /// Bytes of the largest buffer.
    pub max_buffer: u64,
    /// Lanes of a subgroup where that is one fixed number and subgroup operations are there.
    pub subgroup: Option<u32>,
    /// Cooperative matrices that products and attention may use: of f16 where operands may be rounded, of f32 otherwise.
    pub matrices: Option<Matrices>,
    /// Who made the adapter.
    pub vendor: Vendor,
    /// The adapter is a CPU.
    pub software: bool,
    /// Largest side of a texture in texels, where products may read their operands from textures (`Recorder::image`).
    pub images: Option<usize>,
    /// Kernels that were found to be fastest.
    pub choices: Arc<Choices>,
}

impl Caps {
    /// WebGPU's default limits and no optional feature: what a dry run without an adapter plans for.
    pub fn webgpu_default() -> Self {
        let limits = wgpu::Limits::default();
        Caps {
            max_binding: limits.max_storage_buffer_binding_size,
            max_buffer: limits.max_buffer_size,
            subgroup: None,
            matrices: None,
            vendor: Vendor::Other,
            software: false,
            images: None,
            choices: Arc::default(),
        }
    }

    /// The same adapter without optional features: operations then take their default variants.
    pub fn portable(&self) -> Self {
        Caps { subgroup: None, matrices: None, images: None, ..self.clone() }
    }

    /// The same adapter with operands in buffers.
    pub fn without_images(&self) -> Self {
        Caps { images: None, ..self.clone() }
    }

    /// Whether products and attention round their operands to f16.
    pub fn rounds(&self) -> bool {
        self.matrices.is_some_and(|matrices| matrices.operands == Operands::F16)
    }

    /// Invocations that share a row in row-wise kernels: software adapters pay more for a barrier than for a row.
    pub fn row_lanes(&self) -> u32 {
        if self.software { 1 } else { 64 }
    }

    /// Invocations that add up a list in the second pass of a sum.
    pub fn list_lanes(&self) -> u32 {
        if self.software { 1 } else { 256 }
    }

    /// Words of one arena chunk at most.
    pub(super) fn chunk_words(&self) -> usize {
        // Indices in shaders are u32 and drivers misbehave near 4 GiB: a quarter of that is plenty.
        let bytes = self.max_binding.min(self.max_buffer).min(1 << 30) as usize;
        bytes / 4 / ALIGN_WORDS * ALIGN_WORDS
    }
}
