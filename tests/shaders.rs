//! Every shader becomes SPIR-V, MSL and HLSL, and the default variants keep to WebGPU's default limits.

use mvd::gpu::StepValues;
use mvd::gpu::shader::{BindingKind, SHADERS, Shader};
use naga::back::{PipelineConstants, hlsl, msl, pipeline_constants::process_overrides, spv};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};

fn parse(shader: &Shader) -> (naga::Module, ModuleInfo) {
    let module = naga::front::wgsl::parse_str(shader.source).unwrap_or_else(|e| panic!("{}: {e}", shader.name));
    let info = Validator::new(ValidationFlags::all(), Capabilities::all()).validate(&module);
    (module, info.unwrap_or_else(|e| panic!("{}: {e:?}", shader.name)))
}

/// Needs cooperative matrices: an adapter is only given it if it has them.
fn multiplies_matrices(name: &str) -> bool {
    let shader = Shader::named(name.split('/').next().unwrap_or(name)).expect("a shader");
    shader.source.contains("wgpu_cooperative_matrix")
}

fn each_entry(mut check: impl FnMut(&str, &naga::Module, &ModuleInfo, usize)) {
    let mut count = 0;
    for shader in SHADERS {
        let (module, info) = parse(shader);
        for (index, entry) in shader.entries.iter().enumerate() {
            let point = Some((naga::ShaderStage::Compute, entry.name));
            let (module, info) = process_overrides(&module, &info, point, &PipelineConstants::default())
                .unwrap_or_else(|e| panic!("{}/{}: {e}", shader.name, entry.name));
            let index = module.entry_points.iter().position(|e| e.name == entry.name).unwrap_or(index);
            check(&format!("{}/{}", shader.name, entry.name), &module, &info, index);
            count += 1;
        }
    }
    assert!(count > 30, "only {count} entry points were looked at");
}

#[test]
fn every_entry_point_becomes_spirv() {
    each_entry(|name, module, info, index| {
        let options = spv::Options { lang_version: (1, 3), ..spv::Options::default() };
        let pipeline = spv::PipelineOptions {
            shader_stage: naga::ShaderStage::Compute,
            entry_point: module.entry_points[index].name.clone(),
        };
        let words = spv::write_vec(module, info, &options, Some(&pipeline)).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(words.len() > 20, "{name}");
    });
}

#[test]
fn every_entry_point_becomes_msl() {
    each_entry(|name, module, info, _| {
        let options = msl::Options { lang_version: (2, 4), fake_missing_bindings: true, ..msl::Options::default() };
        let (text, _) = msl::write_string(module, info, &options, &msl::PipelineOptions::default())
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(text.contains("kernel"), "{name}");
    });
}

#[test]
fn every_entry_point_becomes_hlsl() {
    each_entry(|name, module, info, index| {
        let options = hlsl::Options { shader_model: hlsl::ShaderModel::V6_0, ..hlsl::Options::default() };
        let pipeline = hlsl::PipelineOptions {
            entry_point: Some((naga::ShaderStage::Compute, module.entry_points[index].name.clone())),
        };
        // No cooperative matrices in HLSL: on DX12 `--precision f16` is refused.
        if multiplies_matrices(name) {
            return;
        }
        let mut text = String::new();
        let mut writer = hlsl::Writer::new(&mut text, &options, &pipeline);
        writer.write(module, info, None).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(text.contains("numthreads"), "{name}");
    });
}

#[test]
fn default_variants_keep_to_webgpus_default_limits() {
    each_entry(|name, module, info, index| {
        let entry = &module.entry_points[index];
        assert!(entry.workgroup_size.iter().product::<u32>() <= 256, "{name}: {:?}", entry.workgroup_size);
        let usage = info.get_entry_point(index);
        let mut workgroup = 0;
        for (handle, variable) in module.global_variables.iter() {
            if !usage[handle].is_empty() && variable.space == naga::AddressSpace::WorkGroup {
                workgroup += module.types[variable.ty].inner.size(module.to_ctx());
            }
        }
        // Metal, whose matrices are of 8 x 8, has 32 KiB; Vulkan drivers with matrices have 48 KiB.
        let most = match (multiplies_matrices(name), name.contains("side8")) {
            (false, _) => 16 << 10,
            (true, true) => 32 << 10,
            (true, false) => 48 << 10,
        };
        assert!(workgroup <= most, "{name}: {workgroup} bytes of workgroup memory");
    });
    for shader in SHADERS {
        for entry in shader.entries {
            let storage = entry.bindings.iter().filter(|b| b.kind != BindingKind::Uniform).count();
            // Metal wants one of the eight for the sizes of the others.
            assert!(storage <= 7, "{}/{}: {storage} storage buffers", shader.name, entry.name);
        }
    }
}

#[test]
fn only_the_subgroup_variants_need_subgroups() {
    for shader in SHADERS {
        let code = shader.source.lines().filter_map(|line| line.split("//").next());
        let named = code.into_iter().any(|line| line.contains("subgroup"));
        let (operation, family) = shader.name.split_once('_').unwrap_or((shader.name, ""));
        let by_subgroups = ["subgroup", "image"].iter().any(|f| family.starts_with(f));
        let variant = ["matmul", "attention"].contains(&operation) && by_subgroups;
        assert_eq!(named, variant || multiplies_matrices(shader.name), "{}", shader.name);
    }
}

#[test]
fn the_step_uniform_is_laid_out_as_in_rust() {
    let adamw = Shader::named("adamw").expect("adamw.wgsl");
    let (module, _) = parse(adamw);
    let step = module.types.iter().find(|(_, t)| t.name.as_deref() == Some("Step")).expect("struct Step").1;
    let naga::TypeInner::Struct { members, span } = &step.inner else { panic!("Step is no struct") };
    assert_eq!(*span as usize, size_of::<StepValues>());
    let mut values = StepValues::default();
    let base = &raw const values as usize;
    let fields = [
        ("lr", &raw mut values.lr as usize),
        ("weight_decay", &raw mut values.weight_decay as usize),
        ("beta1", &raw mut values.beta1 as usize),
        ("beta2", &raw mut values.beta2 as usize),
        ("eps", &raw mut values.eps as usize),
        ("correction1", &raw mut values.correction1 as usize),
        ("correction2", &raw mut values.correction2 as usize),
        ("clip", &raw mut values.clip as usize),
        ("step", &raw mut values.step as usize),
    ];
    for (name, address) in fields {
        let member = members.iter().find(|m| m.name.as_deref() == Some(name)).unwrap_or_else(|| panic!("no {name}"));
        assert_eq!(member.offset as usize, address - base, "{name}");
    }
}
