//! The kernels of matrix products: what each needs, and which to take.

use super::{Epilogue, Layout, Product};
use crate::gpu::{Caps, Operands, Recorder};

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

const fn tile(name: &'static str, rows: usize, columns: usize) -> Kernel {
    Kernel { name, shader: name, tile: (rows, columns), reads: Reads::Quads, splits: false }
}

const fn split(name: &'static str, whole: Kernel) -> Kernel {
    Kernel { name, splits: true, ..whole }
}

const fn any(name: &'static str, side: usize) -> Kernel {
    Kernel { reads: Reads::Singles, ..tile(name, side, side) }
}

const fn f16(name: &'static str, (rows, columns): (usize, usize), side: u32, lanes: u32) -> Kernel {
    Kernel { reads: Reads::Matrices { operands: Operands::F16, side, lanes }, ..tile(name, rows, columns) }
}

const fn f32(name: &'static str, (rows, columns): (usize, usize)) -> Kernel {
    Kernel { reads: Reads::Matrices { operands: Operands::F32, side: 8, lanes: 32 }, ..tile(name, rows, columns) }
}

/// Tiles of f32, largest first.
const T128: Kernel = tile("matmul_128x128", 128, 128);
const T128X64: Kernel = tile("matmul_128x64", 128, 64);
const T64X128: Kernel = tile("matmul_64x128", 64, 128);
const T64: Kernel = tile("matmul_64x64", 64, 64);
const T64X32: Kernel = tile("matmul_64x32", 64, 32);
const T32: Kernel = tile("matmul_32x32", 32, 32);

/// Every kernel. Of those that suit a product, `Kernel::best` says which to take untimed.
pub(super) static KERNELS: &[Kernel] = &[
    f16("matmul_f16_256x128_32", (256, 128), 16, 32),
    f16("matmul_f16_128x128_32", (128, 128), 16, 32),
    f16("matmul_f16_128x128w_32", (128, 128), 16, 32),
    f16("matmul_f16_128x64_32", (128, 64), 16, 32),
    f16("matmul_f16_64x64_32", (64, 64), 16, 32),
    split("matmul_f16_64x64_32_split", f16("matmul_f16_64x64_32", (64, 64), 16, 32)),
    split("matmul_f16_128x128w_32_split", f16("matmul_f16_128x128w_32", (128, 128), 16, 32)),
    f16("matmul_f16_128x128_64", (128, 128), 16, 64),
    f16("matmul_f16_128x64_64", (128, 64), 16, 64),
    f16("matmul_f16_64x64_64", (64, 64), 16, 64),
    split("matmul_f16_64x64_64_split", f16("matmul_f16_64x64_64", (64, 64), 16, 64)),
    f16("matmul_f16_64x64_8", (64, 64), 16, 8),
    split("matmul_f16_64x64_8_split", f16("matmul_f16_64x64_8", (64, 64), 16, 8)),
    f16("matmul_f16_128x64_side8_32", (128, 64), 8, 32),
    f16("matmul_f16_64x64_side8_32", (64, 64), 8, 32),
    split("matmul_f16_64x64_side8_32_split", f16("matmul_f16_64x64_side8_32", (64, 64), 8, 32)),
    f16("matmul_f16_64x64_side8_8", (64, 64), 8, 8),
    f32("matmul_f32_64x64_side8_32", (64, 64)),
    f32("matmul_f32_64x32_side8_32", (64, 32)),
    split("matmul_f32_64x64_side8_32_split", f32("matmul_f32_64x64_side8_32", (64, 64))),
    T128,
    T128X64,
    T64X128,
    T64,
    T64X32,
    T32,
    split("matmul_128x64_split", T128X64),
    split("matmul_64x64_split", T64),
    split("matmul_32x32_split", T32),
    any("matmul_any_64x64", 64),
    any("matmul_any_32x32", 32),
    split("matmul_any_32x32_split", any("matmul_any_32x32", 32)),
    Kernel { reads: Reads::Registers, ..tile("matmul_subgroup", 32, 4 * SUBGROUP) },
    Kernel { reads: Reads::Images, ..tile("matmul_image", 32, 4 * SUBGROUP) },
];

/// Workgroups that keep an adapter busy: two for each of the largest GPUs' processors.
const BUSY: usize = 264;
/// Terms of a range of K at least.
const LEAST_TERMS: usize = 128;
/// Kernels that are timed for a product at most.
const MOST_TIMED: usize = 7;

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
        let wanted = (2 * BUSY).div_ceil(self.groups(p)).clamp(2, (p.k / LEAST_TERMS).max(2));
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
        let splits = !self.splits || (k >= 2 * LEAST_TERMS && self.groups(p) < BUSY);
        match self.reads {
            Reads::Singles => !quads && splits,
            Reads::Quads => quads && worth && splits,
            Reads::Matrices { operands, side, lanes } => {
                let has = caps.matrices.is_some_and(|m| (m.operands, m.side, m.lanes) == (operands, side, lanes));
                has && quads && worth && splits
            }
            Reads::Registers => registers,
            Reads::Images => registers && images(p, rec),
        }
    }

    /// What to order by, less first: what is known beforehand to be faster.
    fn rank(&self, p: &Product, caps: &Caps) -> (usize, usize) {
        let matrices = !matches!(self.reads, Reads::Matrices { .. });
        let groups = self.groups(p) * self.ranges(p).0;
        // The largest tile that keeps the adapter busy; else the one that comes nearest to it.
        let area = self.tile.0 * self.tile.1;
        let place = if groups >= BUSY { 1 << 20 } else { (1 << 30) - groups * 1024 } - area;
        // On a CPU, workgroups past its cores are of no use.
        (usize::from(matrices), if caps.software { self.tile.0.abs_diff(64) + self.tile.1.abs_diff(64) } else { place })
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
    found.truncate(MOST_TIMED);
    found
}
