//! Cooperative matrices: what an adapter offers, and the size of the subgroups that multiply them.

use std::sync::Arc;

use super::compile::EngineOptions;
use super::engine::Engine;
use super::gpu::Gpu;
use crate::gpu::caps::{Caps, Matrices, Operands};
use crate::gpu::error::{Error, Result};
use crate::gpu::record::{Phase, Plan, Recorder};
use crate::gpu::step::StepValues;

/// Features that kernels with matrices need.
pub(super) fn features(operands: Operands) -> wgpu::Features {
    let all =
        wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX | wgpu::Features::SUBGROUP | wgpu::Features::SUBGROUP_BARRIER;
    if operands == Operands::F16 { all | wgpu::Features::SHADER_F16 } else { all }
}

/// Side of the largest matrices that the adapter offers for these operands with sums of f32; else what it lacks.
pub(super) fn offered(adapter: &wgpu::Adapter, operands: Operands) -> std::result::Result<u32, String> {
    let missing = features(operands) - adapter.features();
    if !missing.is_empty() {
        let names: Vec<&str> = missing.iter_names().map(|(name, _)| name).collect();
        return Err(format!("lacks {}", names.join(", ")));
    }
    let scalar = |ty| match operands {
        Operands::F16 => ty == wgpu::CooperativeScalarType::F16,
        Operands::F32 => ty == wgpu::CooperativeScalarType::F32,
    };
    let all = adapter.cooperative_matrix_properties();
    let square = all.iter().filter(|p| p.m_size == p.n_size && p.n_size == p.k_size);
    let fits = square.filter(|p| scalar(p.ab_type) && p.cr_type == wgpu::CooperativeScalarType::F32);
    let known = |side: &u32| Matrices::KNOWN.iter().any(|k| k.operands == operands && k.side == *side);
    fits.map(|p| p.m_size).filter(known).max().ok_or_else(|| {
        let kinds =
            all.iter().map(|p| format!("{}x{}x{} {:?} to {:?}", p.m_size, p.n_size, p.k_size, p.ab_type, p.cr_type));
        let kinds = kinds.collect::<Vec<_>>().join(", ");
        format!("has no matrices of 8 x 8 or 16 x 16 that multiply {operands:?} and sum F32 (it has: {kinds})")
    })
}

/// The matrices of an opened adapter that offers them: runs a kernel to see how large its subgroups are.
///
/// # Errors
/// A driver that does not build or run the kernel, or a size that there are no kernels for.
pub(super) fn probe(gpu: &Arc<Gpu>, operands: Operands, side: u32) -> Result<Matrices> {
    let shader = match (operands, side) {
        (Operands::F16, 16) => "probe_f16_16",
        (Operands::F16, _) => "probe_f16_8",
        (Operands::F32, _) => "probe_f32_8",
    };
    let mut rec = Recorder::new(Caps::webgpu_default());
    let lanes = rec.transient("lanes", &[1]);
    rec.keep(lanes);
    rec.node("probe", &[], &[lanes], 0.0, |_| {});
    rec.dispatch(shader, "probe").bind("lanes", lanes).groups([1; 3]);
    let mut engine = Engine::new(gpu, Plan::new(rec), &EngineOptions::default())?;
    engine.run(Phase::Micro, &StepValues::default())?;
    let bytes = engine.read_bytes(lanes)?;
    let lanes = bytes.first_chunk::<4>().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    let found = Matrices { operands, side, lanes };
    if Matrices::KNOWN.contains(&found) {
        return Ok(found);
    }
    let reason =
        format!("multiplies matrices of {side} x {side} by subgroups of {lanes} lanes, for which there is no kernel");
    Err(Error::Precision { adapter: gpu.info.name.clone(), reason })
}
