//! Finding and opening an adapter.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::gpu::{Gpu, describe};
use super::matrices;
use super::store::Store;
use crate::gpu::caps::{Caps, Kernels, Operands, Precision, Vendor};
use crate::gpu::error::{Error, Result};

/// Which adapter to take, and how it is used.
#[derive(Debug, Clone, Default)]
pub struct AdapterChoice {
    /// Index in `list_adapters`, or part of a name; none takes discrete, then integrated, then software. Several, with commas
    /// between, are those of the processes of this host in turn.
    pub adapter: Option<String>,
    /// The number of this process among those of its host that take an adapter each, and how many those are; none for a process
    /// alone.
    pub local: Option<(usize, usize)>,
    /// `vulkan`, `metal`, `dx12` or `gl`; none takes all but GL.
    pub backend: Option<String>,
    /// Kernels that may run.
    pub kernels: Kernels,
    /// What products and attention multiply.
    pub precision: Precision,
    /// Where choices of kernels and built pipelines are kept; none keeps nothing.
    pub cache: Option<PathBuf>,
    /// Whether kernels are chosen by timing: what was found before is used, and training times its own shapes first, but on
    /// CPUs, where the fastest kernels are known.
    pub autotune: bool,
}

impl AdapterChoice {
    /// The choice that `MVD_ADAPTER` and `MVD_BACKEND` state, with the fastest kernels as far as that is known beforehand.
    pub fn from_env() -> Self {
        let [adapter, backend] = ["MVD_ADAPTER", "MVD_BACKEND"].map(|name| std::env::var(name).ok());
        AdapterChoice { adapter, backend, ..AdapterChoice::default() }
    }
}

fn backends(choice: &AdapterChoice) -> Result<wgpu::Backends> {
    let Some(name) = &choice.backend else { return Ok(wgpu::Backends::PRIMARY) };
    match name.to_ascii_lowercase().as_str() {
        "vulkan" => Ok(wgpu::Backends::VULKAN),
        "metal" => Ok(wgpu::Backends::METAL),
        "dx12" => Ok(wgpu::Backends::DX12),
        "gl" => Ok(wgpu::Backends::GL),
        _ => Err(Error::UnknownAdapter {
            wanted: format!("--backend {name}"),
            found: "backends vulkan, metal, dx12, gl".into(),
        }),
    }
}

fn find(choice: &AdapterChoice) -> Result<Vec<wgpu::Adapter>> {
    let backends = backends(choice)?;
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = backends;
    let instance = wgpu::Instance::new(descriptor);
    let mut found = pollster::block_on(instance.enumerate_adapters(backends));
    let rank = |adapter: &wgpu::Adapter| match adapter.get_info().device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    };
    found.sort_by_key(rank);
    Ok(found)
}

/// One line an adapter, in order of preference, and what it lacks for the faster kernels.
pub fn list_adapters(choice: &AdapterChoice) -> Result<Vec<(String, String)>> {
    Ok(find(choice)?.iter().map(|adapter| (describe(&adapter.get_info()), lacks(adapter))).collect())
}

fn lacks(adapter: &wgpu::Adapter) -> String {
    let half = match matrices::offered(adapter, Operands::F16) {
        Ok(side) => format!("--precision f16 by matrices of {side} x {side}"),
        Err(reason) => format!("no --precision f16: it {reason}"),
    };
    let timed = adapter.features().contains(wgpu::Features::TIMESTAMP_QUERY_INSIDE_ENCODERS);
    if timed { half } else { format!("{half}; no timestamps: kernels are timed by the host's clock") }
}

/// An adapter, as far as choosing among them goes.
#[derive(Debug, Clone, PartialEq)]
struct Found {
    described: String,
    kind: wgpu::DeviceType,
}

impl Found {
    fn of(info: &wgpu::AdapterInfo) -> Found {
        Found { described: describe(info), kind: info.device_type }
    }
}

/// The index of the adapter to take, of some.
fn pick(choice: &AdapterChoice, found: &[Found]) -> Result<usize> {
    let all = || found.iter().enumerate().map(|(i, a)| format!("{i}: {}", a.described)).collect::<Vec<_>>().join("; ");
    let matching = |wanted: &str| match wanted.parse::<usize>() {
        Ok(index) if index < found.len() => vec![index],
        _ => {
            let wanted = wanted.to_lowercase();
            (0..found.len()).filter(|&i| found[i].described.to_lowercase().contains(&wanted)).collect()
        }
    };
    let (rank, size) = choice.local.unwrap_or((0, 1));
    let listed: Vec<&str> = match choice.adapter.as_deref() {
        None => Vec::new(),
        // A name may have a comma itself.
        Some(name) if !matching(name).is_empty() => vec![name],
        Some(list) => list.split(',').map(str::trim).collect(),
    };
    let few = |count| Error::FewAdapters { processes: size, adapters: count, found: all() };
    let candidates = match listed[..] {
        [] => (0..found.len()).filter(|&i| found[i].kind == found[0].kind).collect(),
        [wanted] => matching(wanted),
        // One for each process.
        _ => {
            let wanted = listed.get(rank).ok_or_else(|| few(listed.len()))?;
            matching(wanted).into_iter().take(1).collect::<Vec<_>>()
        }
    };
    let Some(&first) = candidates.first() else {
        return Err(Error::UnknownAdapter { wanted: choice.adapter.clone().unwrap_or_default(), found: all() });
    };
    // A CPU is shared.
    if size == 1 || listed.len() > 1 || found[first].kind == wgpu::DeviceType::Cpu {
        return Ok(first);
    }
    candidates.get(rank).copied().ok_or_else(|| few(candidates.len()))
}

impl Gpu {
    /// Finds and opens the adapter, with all limits it has.
    ///
    /// # Errors
    /// No adapter, none that matches, one that does not open, or f16 operands where they cannot be had.
    pub fn open(choice: &AdapterChoice) -> Result<Gpu> {
        if (choice.kernels, choice.precision) == (Kernels::Portable, Precision::F16) {
            return Err(Error::PortablePrecision);
        }
        let mut found = find(choice)?;
        if found.is_empty() {
            let filter = choice.backend.as_ref().map(|b| format!(" for backend {b}")).unwrap_or_default();
            return Err(Error::NoAdapter { filter });
        }
        let index = pick(choice, &found.iter().map(|adapter| Found::of(&adapter.get_info())).collect::<Vec<_>>())?;
        Self::open_adapter(&found.swap_remove(index), choice)
    }

    fn open_adapter(adapter: &wgpu::Adapter, choice: &AdapterChoice) -> Result<Gpu> {
        let info = adapter.get_info();
        let limits = adapter.limits();
        let wanted = wgpu::Features::SUBGROUP
            | wgpu::Features::PIPELINE_CACHE
            | wgpu::Features::TIMESTAMP_QUERY
            | wgpu::Features::TIMESTAMP_QUERY_INSIDE_ENCODERS;
        let operands = match choice.precision {
            Precision::F32 => Operands::F32,
            Precision::F16 => Operands::F16,
        };
        let side = match (matrices::offered(adapter, operands), choice.precision) {
            (Err(reason), Precision::F16) => return Err(Error::Precision { adapter: info.name.clone(), reason }),
            // Only Metal's are known to be exact and as fast as it gets.
            (Ok(side), Precision::F32) => Some(side).filter(|_| info.backend == wgpu::Backend::Metal),
            (side, _) => side.ok(),
        };
        let side = side.filter(|_| choice.kernels != Kernels::Portable);
        let half = side.map_or(wgpu::Features::empty(), |_| matrices::features(operands));
        let features = adapter.features() & (wanted | half);
        // SAFETY: the one experimental feature is that of the matrices, which only the products' own shaders use.
        let experimental = side.map(|_| unsafe { wgpu::ExperimentalFeatures::enabled() });
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("mvd"),
            required_features: features,
            required_limits: limits.clone(),
            experimental_features: experimental.unwrap_or_default(),
            memory_hints: wgpu::MemoryHints::Performance,
            ..Default::default()
        };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))
            .map_err(|e| Error::Open { adapter: info.name.clone(), reason: e.to_string() })?;
        let lost = Arc::new(Mutex::new(None));
        let sink = Arc::clone(&lost);
        device.set_device_lost_callback(move |reason, message| {
            if let Ok(mut lost) = sink.lock() {
                *lost = Some(format!("{reason:?}: {message}"));
            }
        });
        let subgroups = features.contains(wgpu::Features::SUBGROUP);
        let fixed = subgroups && info.subgroup_min_size == info.subgroup_max_size;
        let image = adapter.get_texture_format_features(wgpu::TextureFormat::Rgba32Float);
        let readable = image.allowed_usages.contains(wgpu::TextureUsages::STORAGE_BINDING)
            && image.flags.contains(wgpu::TextureFormatFeatureFlags::STORAGE_READ_ONLY);
        let software = info.device_type == wgpu::DeviceType::Cpu;
        let store = choice.cache.as_deref().map(|folder| Store::new(folder, &describe(&info)));
        let pipelines = store.as_ref().filter(|_| features.contains(wgpu::Features::PIPELINE_CACHE)).map(|store| {
            let data = store.built();
            let label = Some("mvd");
            let descriptor = wgpu::PipelineCacheDescriptor { label, data: data.as_deref(), fallback: true };
            // SAFETY: the data is what the same call gave for this adapter and driver, whole by its checksum.
            unsafe { device.create_pipeline_cache(&descriptor) }
        });
        let caps = Caps {
            max_binding: limits.max_storage_buffer_binding_size,
            max_buffer: limits.max_buffer_size,
            subgroup: fixed.then_some(info.subgroup_min_size),
            matrices: None,
            vendor: Vendor::of(&info),
            software,
            // Textures pay where a buffer read costs far more than a texture read: on software adapters. They hold f32.
            images: (software && readable && side.is_none()).then_some(limits.max_texture_dimension_2d as usize),
            choices: store
                .as_ref()
                .filter(|_| choice.autotune)
                .map_or_else(Arc::default, |store| Arc::new(store.choices())),
        };
        let caps = match choice.kernels {
            Kernels::Fastest => caps,
            Kernels::Buffers => caps.without_images(),
            Kernels::Portable => caps.portable(),
        };
        let autotune = choice.autotune && !software;
        let gpu =
            Gpu { device, queue, info, limits, lost, kernels: Mutex::default(), store, pipelines, autotune, caps };
        match side {
            Some(side) => gpu.with_matrices(operands, side),
            None => Ok(gpu),
        }
    }

    /// The adapter with matrices that it offers. Exact ones are left out if they do not work.
    fn with_matrices(self, operands: Operands, side: u32) -> Result<Gpu> {
        let gpu = Arc::new(self);
        let found = matrices::probe(&gpu, operands, side);
        // Nothing holds the adapter but this function.
        let mut gpu = Arc::try_unwrap(gpu).map_err(|_| Error::Lost { reason: "an engine outlived its use".into() })?;
        match (found, operands) {
            (Ok(found), _) => gpu.caps.matrices = Some(found),
            (Err(error), Operands::F16) => return Err(error),
            (Err(error), Operands::F32) => log::warn!("products go without cooperative matrices: {error}"),
        }
        Ok(gpu)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_process_takes_its_own_adapter() {
        let adapter = |name: &str, kind| Found { described: name.to_owned(), kind };
        let (gpu, cpu) = (wgpu::DeviceType::DiscreteGpu, wgpu::DeviceType::Cpu);
        let found = [adapter("NVIDIA A", gpu), adapter("NVIDIA B", gpu), adapter("llvmpipe (LLVM 15, 256 bits)", cpu)];
        let of = |wanted: Option<&str>, local| {
            let choice = AdapterChoice { adapter: wanted.map(str::to_owned), local, ..AdapterChoice::default() };
            pick(&choice, &found)
        };
        for (wanted, local, expected) in [
            (None, None, 0),
            (None, Some((1, 2)), 1),
            (Some("nvidia"), Some((1, 2)), 1),
            (Some("llvmpipe"), Some((3, 4)), 2),
            (Some("2"), None, 2),
            (Some("1,0"), Some((0, 2)), 1),
            (Some("0, 0, 1, 1"), Some((2, 4)), 1),
            (Some("1, llvm"), None, 1),
            (Some("pipe (LLVM 15, 256"), Some((1, 2)), 2),
        ] {
            assert_eq!(of(wanted, local).unwrap(), expected, "{wanted:?} {local:?}");
        }
        for (wanted, local) in [(None, (2, 3)), (Some("0"), (1, 2)), (Some("0,1"), (2, 3))] {
            let text = of(wanted, Some(local)).unwrap_err().to_string();
            assert!(text.contains(&format!("{} processes", local.1)), "{text}");
        }
        assert!(of(Some("intel"), None).is_err());
    }
}
