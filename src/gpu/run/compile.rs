//! Pipelines and bind groups of a plan.

use std::collections::{HashMap, HashSet};

use super::gpu::{Gpu, Kernel, PipelineKey};
use super::memory::{Buffers, PARAMS_STRIDE};
use crate::gpu::error::{Error, Result};
use crate::gpu::record::{Command, Dispatch, Home, Plan};
use crate::gpu::shader::{BindingKind, Entry, Shader};
use crate::gpu::step::StepValues;

/// How an engine is built.
#[derive(Debug, Clone, Default)]
pub struct EngineOptions {
    /// Bounds-check every access in the shaders; for tests of the guards.
    pub checked: bool,
}

fn key(dispatch: &Dispatch, options: &EngineOptions) -> PipelineKey {
    let constants = dispatch.constants.iter().map(|(name, value)| (*name, value.to_bits())).collect();
    (dispatch.shader.name, dispatch.entry.name, constants, options.checked)
}

fn layout(gpu: &Gpu, shader: &Shader, entry: &Entry) -> wgpu::BindGroupLayout {
    let buffer = |ty| wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None };
    let image = |access| wgpu::BindingType::StorageTexture {
        access,
        format: wgpu::TextureFormat::Rgba32Float,
        view_dimension: wgpu::TextureViewDimension::D2,
    };
    let entries = entry.bindings.iter().map(|binding| wgpu::BindGroupLayoutEntry {
        binding: binding.slot,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: match binding.kind {
            BindingKind::Uniform => buffer(wgpu::BufferBindingType::Uniform),
            BindingKind::Read => buffer(wgpu::BufferBindingType::Storage { read_only: true }),
            BindingKind::ReadWrite => buffer(wgpu::BufferBindingType::Storage { read_only: false }),
            BindingKind::Image => image(wgpu::StorageTextureAccess::ReadOnly),
            BindingKind::ImageWrite => image(wgpu::StorageTextureAccess::WriteOnly),
        },
        count: None,
    });
    let entries: Vec<_> = entries.collect();
    gpu.device
        .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(shader.name), entries: &entries })
}

fn module(gpu: &Gpu, shader: &Shader, options: &EngineOptions) -> wgpu::ShaderModule {
    let source = wgpu::ShaderSource::Wgsl(shader.source.into());
    let descriptor = wgpu::ShaderModuleDescriptor { label: Some(shader.name), source };
    if options.checked {
        return gpu.device.create_shader_module(descriptor);
    }
    // SAFETY: every store and load of the shaders is guarded by sizes that recording derives from the bound tensors'
    // shapes, and loops end by counters; the tests run every kernel at sizes that divide nothing, checked as well.
    unsafe { gpu.device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) }
}

/// Runs `work` with validation errors turned into an error that names `what`.
fn scoped<T>(gpu: &Gpu, what: &str, work: impl FnOnce() -> T) -> Result<T> {
    let scope = gpu.device.push_error_scope(wgpu::ErrorFilter::Validation);
    let value = work();
    match pollster::block_on(scope.pop()) {
        Some(reason) => Err(Error::Refused { what: what.to_owned(), reason: reason.to_string() }),
        None => Ok(value),
    }
}

/// The kernels of a plan.
pub(super) struct Pipelines {
    kernels: HashMap<PipelineKey, Kernel>,
    options: EngineOptions,
}

impl Pipelines {
    pub fn get(&self, dispatch: &Dispatch) -> Option<&Kernel> {
        self.kernels.get(&key(dispatch, &self.options))
    }
}

/// The plan's kernels: those that an earlier plan on this adapter had as they are, the others built in parallel.
pub(super) fn pipelines(gpu: &Gpu, plan: &Plan, options: &EngineOptions) -> Result<Pipelines> {
    use rayon::prelude::*;
    let mut kernels: HashMap<PipelineKey, Kernel> = gpu.kernels.lock().map(|k| k.clone()).unwrap_or_default();
    let mut seen: HashSet<PipelineKey> = kernels.keys().cloned().collect();
    let distinct: Vec<&Dispatch> = plan.dispatches().filter(|d| seen.insert(key(d, options))).collect();
    let names: HashSet<&str> = distinct.iter().map(|d| d.shader.name).collect();
    let mut modules = HashMap::new();
    for name in names {
        if let Some(shader) = Shader::named(name) {
            modules.insert(name, scoped(gpu, &format!("shader {name}"), || module(gpu, shader, options))?);
        }
    }
    let build = |dispatch: &&Dispatch| {
        let what = format!("kernel {}/{}", dispatch.shader.name, dispatch.entry.name);
        scoped(gpu, &what, || {
            let bind_layout = layout(gpu, dispatch.shader, dispatch.entry);
            let pipeline_layout = gpu.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: Some(&what),
                bind_group_layouts: &[Some(&bind_layout)],
                immediate_size: 0,
            });
            let pipeline = gpu.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(&what),
                layout: Some(&pipeline_layout),
                module: &modules[dispatch.shader.name],
                entry_point: Some(dispatch.entry.name),
                compilation_options: wgpu::PipelineCompilationOptions {
                    constants: &dispatch.constants,
                    zero_initialize_workgroup_memory: false,
                },
                cache: gpu.pipelines.as_ref(),
            });
            (key(dispatch, options), Kernel { pipeline, layout: bind_layout })
        })
    };
    kernels.extend(distinct.par_iter().map(build).collect::<Result<HashMap<_, _>>>()?);
    let store = gpu.store.as_ref().filter(|_| !distinct.is_empty());
    if let Some((store, data)) = store.zip(gpu.pipelines.as_ref().and_then(|cache| cache.get_data())) {
        store.keep_built(&data);
    }
    if let Ok(mut shared) = gpu.kernels.lock() {
        shared.clone_from(&kernels);
    }
    Ok(Pipelines { kernels, options: options.clone() })
}

fn check_limits(gpu: &Gpu, plan: &Plan, node: &str, dispatch: &Dispatch) -> Result<()> {
    let kernel = || format!("{node} ({}/{})", dispatch.shader.name, dispatch.entry.name);
    let limit = |what, needed, limit, unit, name| Error::Limit {
        what,
        needed,
        limit,
        unit,
        name,
        adapter: gpu.info.name.clone(),
    };
    let most = gpu.limits.max_compute_workgroups_per_dimension;
    if let Some(&groups) = dispatch.groups.iter().find(|&&g| g > most) {
        let name = "max_compute_workgroups_per_dimension";
        return Err(limit(kernel(), groups.into(), most.into(), "workgroups", name));
    }
    let most = gpu.limits.max_storage_buffer_binding_size;
    let buffers = dispatch.binds.iter().map(|(_, tensor)| plan.info(*tensor)).filter(|i| i.home != Home::Image);
    for info in buffers {
        let bytes = info.bytes() as u64;
        if bytes > most {
            let what = format!("tensor {} {:?} of {}", info.name, info.shape, kernel());
            return Err(limit(what, bytes, most, "bytes", "max_storage_buffer_binding_size"));
        }
    }
    Ok(())
}

/// The bind group of every dispatch, in the plan's order.
pub(super) fn bind_groups(
    gpu: &Gpu,
    plan: &Plan,
    buffers: &Buffers,
    built: &Pipelines,
) -> Result<Vec<wgpu::BindGroup>> {
    let mut groups = Vec::new();
    for node in &plan.nodes {
        for command in &node.commands {
            let Command::Dispatch(dispatch) = command else { continue };
            check_limits(gpu, plan, node.name, dispatch)?;
            let offset = groups.len() * PARAMS_STRIDE;
            let group = scoped(gpu, node.name, || bind_group(gpu, plan, buffers, built, dispatch, offset))?;
            groups.push(group.ok_or_else(|| Error::Refused {
                what: node.name.to_owned(),
                reason: format!("{}/{} binds a tensor that has no memory", dispatch.shader.name, dispatch.entry.name),
            })?);
        }
    }
    Ok(groups)
}

fn bind_group(
    gpu: &Gpu,
    plan: &Plan,
    buffers: &Buffers,
    built: &Pipelines,
    dispatch: &Dispatch,
    params_offset: usize,
) -> Option<wgpu::BindGroup> {
    let layout = &built.get(dispatch)?.layout;
    let bound = |slot| dispatch.binds.iter().find(|(s, _)| *s == slot).map(|(_, tensor)| *tensor);
    let images = dispatch.entry.bindings.iter().filter(|b| b.kind.is_image());
    let views = images.map(|b| Some((b.slot, buffers.image(plan, bound(b.slot)?)?.create_view(&Default::default()))));
    let views = views.collect::<Option<HashMap<_, _>>>()?;
    let mut entries = Vec::new();
    for binding in dispatch.entry.bindings {
        let (buffer, offset, size) = match (binding.kind, binding.name) {
            (BindingKind::Uniform, "step") => (&buffers.step, 0, size_of::<StepValues>() as u64),
            (BindingKind::Uniform, _) => (&buffers.params, params_offset as u64, dispatch.params.len() as u64),
            (kind, _) if kind.is_image() => {
                let resource = wgpu::BindingResource::TextureView(views.get(&binding.slot)?);
                entries.push(wgpu::BindGroupEntry { binding: binding.slot, resource });
                continue;
            }
            _ => {
                let tensor = bound(binding.slot)?;
                let (buffer, offset) = buffers.locate(plan, tensor)?;
                (buffer, offset, plan.info(tensor).bytes() as u64)
            }
        };
        let resource =
            wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset, size: size.try_into().ok() });
        entries.push(wgpu::BindGroupEntry { binding: binding.slot, resource });
    }
    let descriptor = wgpu::BindGroupDescriptor { label: Some(dispatch.entry.name), layout, entries: &entries };
    Some(gpu.device.create_bind_group(&descriptor))
}
