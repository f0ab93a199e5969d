//! The kernels of matrix products: what each needs, and which to take.

use super::{Epilogue, Layout, Product};
use crate::gpu::{Caps, Operands, Recorder, Vendor};

/// Lanes of the subgroups that `matmul_registers.wgsl` is written for.
pub(super) const SUBGROUP: usize = 8;

/// One kernel.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kernel {
    /// How choices name it.
    pub name: &'static str,
    /// File name of the shader.
    pub shader: &'static str,
    /// Rows and columns of C that a workgroup computes.
    pub tile: (usize, usize),
    /// Terms of K that it brings to workgroup memory at a time, or a multiple of that: K is then read without guards.
    pub slab: usize,
    /// Invocations of a workgroup.
    lanes: usize,
    /// How it reads its operands.
    pub reads: Reads,
    /// K is cut into ranges, which `matmul_sum` adds: for products of few workgroups.
    pub splits: bool,
}

/// How a kernel reads its operands, and what that asks of sizes and adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reads {
    /// Number by number: any size.
    Singles,
    /// Four numbers at a time.
    Quads,
    /// The same, by cooperative matrices of this side in subgroups of `lanes`.
    Matrices { operands: Operands, side: u32, lanes: u32 },
    /// Into the registers of a subgroup of 8 lanes.
    Registers,
    /// The same from textures.
    Images,
}

const fn tile(name: &'static str, rows: usize, columns: usize, lanes: usize) -> Kernel {
    Kernel { name, shader: name, tile: (rows, columns), slab: 32, lanes, reads: Reads::Quads, splits: false }
}

const fn split(name: &'static str, whole: Kernel) -> Kernel {
    Kernel { name, splits: true, ..whole }
}

const fn any(name: &'static str, side: usize) -> Kernel {
    Kernel { reads: Reads::Singles, ..tile(name, side, side, 64) }
}

/// Of f16, by so many subgroups.
const fn f16(name: &'static str, (rows, columns): (usize, usize), side: u32, lanes: u32, subgroups: usize) -> Kernel {
    let reads = Reads::Matrices { operands: Operands::F16, side, lanes };
    Kernel { reads, ..tile(name, rows, columns, lanes as usize * subgroups) }
}

/// Of f32, by four subgroups.
const fn f32(name: &'static str, (rows, columns): (usize, usize)) -> Kernel {
    let reads = Reads::Matrices { operands: Operands::F32, side: 8, lanes: 32 };
    Kernel { reads, ..tile(name, rows, columns, 128) }
}

const T128X64: Kernel = tile("matmul_128x64", 128, 64, 128);
const T64: Kernel = tile("matmul_64x64", 64, 64, 64);
const T32: Kernel = tile("matmul_32x32", 32, 32, 64);
const H64_8: Kernel = f16("matmul_f16_64x64_8", (64, 64), 16, 8, 4);
const H64_32: Kernel = f16("matmul_f16_64x64_32", (64, 64), 16, 32, 4);
const H64_64: Kernel = f16("matmul_f16_64x64_64", (64, 64), 16, 64, 4);
const H128_32: Kernel = f16("matmul_f16_128x128_32", (128, 128), 16, 32, 4);
const S64_32: Kernel = f16("matmul_f16_64x64_side8_32", (64, 64), 8, 32, 4);
const F64: Kernel = f32("matmul_f32_64x64_side8_32", (64, 64));

/// Every kernel, large tiles first.
pub(super) static KERNELS: &[Kernel] = &[
    f16("matmul_f16_256x128_32", (256, 128), 16, 32, 8),
    f16("matmul_f16_128x256_32", (128, 256), 16, 32, 8),
    H128_32,
    Kernel { slab: 64, ..f16("matmul_f16_128x128_deep_32", (128, 128), 16, 32, 8) },
    H64_32,
    split("matmul_f16_128x128_32_split", H128_32),
    split("matmul_f16_64x64_32_split", H64_32),
    f16("matmul_f16_128x128_64", (128, 128), 16, 64, 4),
    f16("matmul_f16_128x64_64", (128, 64), 16, 64, 4),
    H64_64,
    split("matmul_f16_64x64_64_split", H64_64),
    H64_8,
    split("matmul_f16_64x64_8_split", H64_8),
    f16("matmul_f16_128x64_side8_32", (128, 64), 8, 32, 4),
    S64_32,
    split("matmul_f16_64x64_side8_32_split", S64_32),
    f16("matmul_f16_64x64_side8_8", (64, 64), 8, 8, 4),
    F64,
    f32("matmul_f32_64x32_side8_32", (64, 32)),
    split("matmul_f32_64x64_side8_32_split", F64),
    tile("matmul_128x128", 128, 128, 256),
    T128X64,
    tile("matmul_64x128", 64, 128, 128),
    T64,
    tile("matmul_64x32", 64, 32, 64),
    T32,
    split("matmul_128x64_split", T128X64),
    split("matmul_64x64_split", T64),
    split("matmul_32x32_split", T32),
    any("matmul_any_64x64", 64),
    any("matmul_any_32x32", 32),
    split("matmul_any_32x32_split", any("matmul_any_32x32", 32)),
    Kernel { reads: Reads::Registers, ..tile("matmul_subgroup", 32, 4 * SUBGROUP, SUBGROUP) },
    Kernel { reads: Reads::Images, ..tile("matmul_image", 32, 4 * SUBGROUP, SUBGROUP) },
];

/// Invocations that keep an adapter busy: half of what the largest GPUs hold at once.
const BUSY: usize = 1 << 16;
/// Terms of a range of K at least.
const LEAST_TERMS: usize = 128;
/// Kernels that are timed for a product at most.
const MOST_TIMED: usize = 8;

impl Kernel {
    /// Whether its tiles are in workgroup memory.
    pub fn tiles(&self) -> bool {
        !matches!(self.reads, Reads::Registers | Reads::Images)
    }

    /// The shader that adds the ranges of K.
    pub fn sum(&self) -> &'static str {
        if self.reads == Reads::Singles { "matmul_any_sum" } else { "matmul_sum" }
    }

    fn groups(&self, p: &Product) -> usize {
        p.batch * p.m.div_ceil(self.tile.0) * p.n.div_ceil(self.tile.1)
    }

    /// Ranges that K is cut into, and terms of each but the last.
    pub fn ranges(&self, p: &Product) -> (usize, usize) {
        if !self.splits {
            return (1, p.k);
        }
        let wanted = BUSY.div_ceil(self.groups(p) * self.lanes).clamp(2, (p.k / LEAST_TERMS).max(2));
        // Slabs of every kernel are 16 or 32 terms deep.
        let depth = p.k.div_ceil(wanted).next_multiple_of(32);
        (p.k.div_ceil(depth), depth)
    }

    /// Whether it can compute this product on this adapter.
    fn suits(&self, p: &Product, rec: &Recorder) -> bool {
        let caps = rec.caps();
        let read = if p.layout == Layout::TN { p.m } else { p.k };
        let quads = p.n.is_multiple_of(4) && read.is_multiple_of(4);
        let registers = quads && caps.subgroup == Some(SUBGROUP as u32);
        let (k, tall, wide) = (p.k, p.m > self.tile.0 / 2, p.n > self.tile.1 / 2);
        let worth = self.tile == (32, 32) || self.tile.0.max(self.tile.1) == 64 || (tall && wide);
        let splits = !self.splits || (k >= 2 * LEAST_TERMS && self.groups(p) * self.lanes < BUSY);
        match self.reads {
            Reads::Singles => !quads && splits,
            Reads::Quads => quads && worth && splits,
            Reads::Matrices { operands, side, lanes } => {
                let has = caps.matrices.is_some_and(|m| (m.operands, m.side, m.lanes) == (operands, side, lanes));
                // Matrices are read eight numbers at a time.
                has && p.n.is_multiple_of(8) && read.is_multiple_of(8) && worth && splits
            }
            Reads::Registers => registers,
            Reads::Images => registers && images(p, rec),
        }
    }

    /// What to order by, less first: what is known beforehand to be faster.
    fn rank(&self, p: &Product, caps: &Caps) -> (usize, usize) {
        let matrices = !matches!(self.reads, Reads::Matrices { .. });
        if caps.software {
            // On a CPU, workgroups past its cores are of no use, and small tiles compile in a third of the time.
            return (usize::from(matrices), self.tile.0 + self.tile.1);
        }
        let from_64 = self.tile.0.abs_diff(64) + self.tile.1.abs_diff(64);
        // The best tile that keeps the adapter busy: 64 x 64 as measured on NVIDIA's, else the largest, as AMD's compiler makes
        // the most of it. If none does, the one that comes nearest to it.
        let by_size = (1 << 16) - self.tile.0 * self.tile.1;
        let place = if caps.vendor == Vendor::Nvidia && matrices { from_64 } else { by_size };
        let busy = (self.groups(p) * self.ranges(p).0 * self.lanes).min(BUSY);
        (usize::from(matrices), (BUSY - busy) * (1 << 16) + place)
    }
}

/// Whether all tensors can be read from and written to textures.
fn images(p: &Product, rec: &Recorder) -> bool {
    let beside = match p.epilogue {
        Epilogue::Skip { skip, .. } => rec.suits_image(skip),
        Epilogue::Gelu { saved, .. } => [p.c].into_iter().chain(saved).all(|t| rec.is_image(t)),
        Epilogue::GeluGradient(before) => [p.c, before].iter().all(|&t| rec.is_image(t)),
        Epilogue::Store | Epilogue::Weight { .. } | Epilogue::Bias(_) => true,
    };
    beside && [p.a, p.b].iter().all(|&t| rec.suits_image(t))
}

/// The kernels that can take a product, by what is known beforehand the fastest first.
pub(super) fn candidates(p: &Product, rec: &Recorder) -> Vec<&'static Kernel> {
    let mut found: Vec<&Kernel> = KERNELS.iter().filter(|kernel| kernel.suits(p, rec)).collect();
    let caps = rec.caps();
    if caps.matrices.is_none() {
        // Operands that are textures already can be read by no other, and elsewhere it is five times as fast.
        let only = |reads| found.iter().copied().find(|kernel| kernel.reads == reads);
        if let Some(image) = only(Reads::Images) {
            return vec![image];
        }
        if let Some(registers) = only(Reads::Registers).filter(|_| caps.software) {
            return vec![registers];
        }
    }
    found.retain(|kernel| kernel.reads != Reads::Images);
    found.sort_by_key(|kernel| kernel.rank(p, caps));
    found.truncate(if caps.software { 2 } else { MOST_TIMED });
    found
}
