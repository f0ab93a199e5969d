//! WGSL to SPIR-V as wgpu 30 writes it for trusted modules.

use anyhow::{Context, Result, anyhow};
use ash::vk::DescriptorType;
use naga::back::pipeline_constants::process_overrides;
use naga::back::spv::{self, WriterFlags, ZeroInitializeWorkgroupMemoryMode};
use naga::valid::{Capabilities, ValidationFlags, Validator};

use crate::compose::Composed;

/// An entry point with values of its module's overrides; what it binds in group 0, by slot.
pub struct Kernel {
    pub name: String,
    pub entry: String,
    /// Of a workgroup.
    pub invocations: u32,
    pub bindings: Vec<(u32, DescriptorType)>,
    pub words: Vec<u32>,
}

/// The kernels of a file of `folder`: every entry point with all combinations of the `values` of its overrides.
pub fn kernels(shader: &Composed, values: &[(String, Vec<f64>)]) -> Result<Vec<Kernel>> {
    let mut options = spv::Options { force_loop_bounding: false, emit_int_div_checks: false, ..Default::default() };
    options.zero_initialize_workgroup_memory = ZeroInitializeWorkgroupMemoryMode::None;
    (options.lang_version, options.flags) = ((1, 6), WriterFlags::LABEL_VARYINGS | WriterFlags::FORCE_POINT_SIZE);
    let (shader, source) = (&shader.name, &shader.text);
    let module = naga::front::wgsl::parse_str(source).map_err(|e| anyhow!("{shader}: {}", e.emit_to_string(source)))?;
    let info = Validator::new(ValidationFlags::all(), Capabilities::all()).validate(&module);
    let info = info.map_err(|e| anyhow!("{shader}: {}", e.emit_to_string(source)))?;
    let mut sets = vec![vec![]];
    let is_override = |name| module.overrides.iter().any(|(_, o)| o.name.as_ref() == Some(name));
    for (name, values) in values.iter().filter(|(name, _)| is_override(name)) {
        let with = |set: &Vec<_>, &v| set.iter().cloned().chain([(name.clone(), v)]).collect();
        sets = sets.iter().flat_map(|set| values.iter().map(move |v| with(set, v))).collect();
    }
    let mut out = vec![];
    for (entry, set) in module.entry_points.iter().flat_map(|e| sets.iter().map(move |set| (&e.name, set))) {
        let stage = naga::ShaderStage::Compute;
        let (module, info) = process_overrides(&module, &info, Some((stage, entry)), &set.iter().cloned().collect())?;
        let pipeline = spv::PipelineOptions { shader_stage: stage, entry_point: entry.clone() };
        let words = spv::write_vec(&module, &info, &options, Some(&pipeline))?;
        let index = module.entry_points.iter().position(|e| e.name == *entry).context("entry point")?;
        let used = module.global_variables.iter().filter(|(g, _)| !info.get_entry_point(index)[*g].is_empty());
        let kind = |space| match space {
            naga::AddressSpace::Uniform => DescriptorType::UNIFORM_BUFFER,
            naga::AddressSpace::Storage { .. } => DescriptorType::STORAGE_BUFFER,
            _ => DescriptorType::STORAGE_IMAGE,
        };
        let bindings = used.filter_map(|(_, v)| Some((v.binding?.binding, kind(v.space)))).collect();
        let invocations = module.entry_points[index].workgroup_size.iter().product();
        let constants: String = set.iter().map(|(name, value)| format!(" {name}={value}")).collect();
        out.push(Kernel {
            name: format!("{shader}/{entry}{constants}"),
            entry: entry.clone(),
            invocations,
            bindings,
            words,
        });
    }
    Ok(out)
}
