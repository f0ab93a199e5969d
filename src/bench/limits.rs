//! The adapter's limits, by small kernels.

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use super::{Error, median, warm};
use crate::gpu::{Dtype, Gpu, Phase, Recorder, StepValues, grid};

/// What an adapter can do at most.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Limits {
    /// Fused multiply-adds of f32 in registers, in GFLOP/s (two per multiply-add).
    pub gflops: f64,
    /// The same of f16 operands with f32 sums in cooperative matrices, where matrix products use them.
    pub matrix_gflops: Option<f64>,
    /// Reading and writing buffers that are larger than the adapter's caches, in GB/s of both together.
    pub copy_gbs: f64,
    /// One more small dispatch, in microseconds.
    pub dispatch_us: f64,
}

/// vec4 multiply-adds of one invocation of `limit.wgsl`.
const MULTIPLY_ADDS: usize = 512 * 8 * 6;
/// Times that each is measured.
const RUNS: usize = 5;

/// The limit of f32 multiply-adds in GFLOP/s: measured again beside each operation, since clocks and neighbours change.
pub(super) fn multiply_adds(gpu: &Arc<Gpu>) -> Result<f64, Error> {
    let software = gpu.caps().software;
    let len: usize = if software { 1 << 12 } else { 1 << 20 };
    let mut rec = Recorder::new(gpu.caps().clone());
    let y = rec.transient("sums", &[len, 4]);
    let flops = 8.0 * (MULTIPLY_ADDS * len) as f64;
    rec.node("multiply_add", &[], &[y], flops, |h| {
        let one = |s: f64| (0..MULTIPLY_ADDS / 6).fold(s, |s, _| s * f64::from(FACTOR) + f64::from(TERM));
        h.outputs[0].fill((0..6).map(|i| one(f64::from(i))).sum());
    });
    let dispatch = rec.dispatch("limit", "multiply_add").bind("y", y);
    dispatch.u32("len", len).f32("factor", FACTOR).f32("term", TERM).groups(grid(len.div_ceil(64)));
    Ok(flops / warm(gpu, rec)?.seconds(Phase::Micro, RUNS)? / 1e9)
}

const FACTOR: f32 = 0.999;
const TERM: f32 = 0.001;

/// Side of the matrices in which products multiply operands rounded to f16.
pub(super) fn rounded(gpu: &Gpu) -> Option<u32> {
    gpu.caps().matrices.filter(|_| gpu.caps().rounds()).map(|matrices| matrices.side)
}

/// Products of two cooperative matrices in a workgroup of `limit_cooperative.wgsl`.
const MATRIX_PRODUCTS: usize = 1024 * 8;

/// The limit of f16 multiply-adds with f32 sums in GFLOP/s, in cooperative matrices of side 8 or 16.
pub(super) fn matrix_multiply_adds(gpu: &Arc<Gpu>, side: u32) -> Result<f64, Error> {
    let workgroups = if gpu.caps().software { 1 << 4 } else { 1 << 14 };
    let side_len = side as usize;
    let mut rec = Recorder::new(gpu.caps().clone());
    let y = rec.transient("sums", &[STORED, 8, side_len * side_len]);
    let flops = 2.0 * (workgroups * MATRIX_PRODUCTS * side_len.pow(3)) as f64;
    // The operands are such that the terms of each sum cancel, however many subgroups share the work.
    rec.node("matrix_multiply_add", &[], &[y], flops, |h| h.outputs[0].fill(0.0));
    let shader = if side == 8 { "limit_cooperative_8" } else { "limit_cooperative_16" };
    rec.dispatch(shader, "multiply_add").bind("y", y).u32("stored", STORED).groups(grid(workgroups));
    Ok(flops / warm(gpu, rec)?.seconds(Phase::Micro, RUNS)? / 1e9)
}

/// Workgroups whose sums have a place of their own; the others share them.
const STORED: usize = 16;

fn copy(rec: &mut Recorder, len: usize) {
    let x = rec.input("x", &[len, 4], Dtype::F32);
    let y = rec.transient("y", &[len, 4]);
    rec.node("copy", &[x], &[y], 0.0, |h| h.outputs[0] = h.inputs[0].to_vec());
    rec.dispatch("limit", "copy").bind("x", x).bind("y", y).u32("len", len).groups(grid(len.div_ceil(64)));
}

/// The limit of copying alone in GB/s, likewise.
pub(super) fn copy_gbs(gpu: &Arc<Gpu>) -> Result<f64, Error> {
    // On GPUs 512 MiB each: the largest of their caches hold 256 MiB.
    let most = gpu.caps().max_binding.min(gpu.caps().max_buffer) as usize / 16;
    let len = if gpu.caps().software { 1 << 20 } else { most.min(1 << 25) };
    let mut rec = Recorder::new(gpu.caps().clone());
    copy(&mut rec, len);
    Ok(32.0 * len as f64 / warm(gpu, rec)?.seconds(Phase::Micro, RUNS)? / 1e9)
}

/// Measures all of them.
pub(super) fn measure(gpu: &Arc<Gpu>) -> Result<Limits, Error> {
    const DISPATCHES: usize = 500;
    let mut rec = Recorder::new(gpu.caps().clone());
    (0..DISPATCHES).for_each(|_| copy(&mut rec, 1));
    let mut engine = warm(gpu, rec)?;
    let walls = (0..RUNS).map(|_| {
        let clock = Instant::now();
        engine.run(Phase::Micro, &StepValues::default())?;
        engine.wait()?;
        Ok(clock.elapsed().as_secs_f64())
    });
    let dispatch_us = median(walls.collect::<Result<Vec<_>, Error>>()?) / DISPATCHES as f64 * 1e6;
    let matrix_gflops = rounded(gpu).map(|side| matrix_multiply_adds(gpu, side)).transpose()?;
    Ok(Limits { gflops: multiply_adds(gpu)?, matrix_gflops, copy_gbs: copy_gbs(gpu)?, dispatch_us })
}
