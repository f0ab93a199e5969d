//! Every shader against its CPU twin, every twin's gradient against finite differences.

use std::collections::BTreeSet;
use std::sync::Arc;

use mvd::bench::workloads;
use mvd::gpu::shader::SHADERS;
use mvd::gpu::{
    AdapterChoice, Caps, Choices, Engine, EngineOptions, Gpu, Kernels, Phase, Plan, Precision, Recorder, StepValues,
};
use mvd::op::matmul::kernel_names;
use mvd::op::{cases, check::DIFFERENCE_TOLERANCE, check::check};

fn run(variant: impl Fn(&Caps) -> Caps, options: &EngineOptions) {
    run_some(variant, options, |_| true);
}

/// Gives the entry points that ran, with their shaders.
fn run_some(
    variant: impl Fn(&Caps) -> Caps,
    options: &EngineOptions,
    wanted: impl Fn(&str) -> bool,
) -> BTreeSet<(&'static str, &'static str)> {
    let gpu = Arc::new(Gpu::open(&AdapterChoice::from_env()).unwrap_or_else(|e| panic!("{e}")));
    let caps = variant(gpu.caps());
    let (mut failures, mut entries) = (Vec::new(), BTreeSet::new());
    for case in cases().into_iter().filter(|case| wanted(&case.name)) {
        let outcome = check(&gpu, &caps, &case, options).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        assert!(!outcome.nodes.is_empty(), "{}: nothing was compared", case.name);
        entries.extend(outcome.nodes.iter().flat_map(|node| &node.entries));
        if !outcome.passed() {
            failures.push(format!("{outcome:#?}"));
        }
    }
    assert!(failures.is_empty(), "{} on {}", failures.join("\n"), gpu.describe());
    entries
}

#[test]
fn shaders_agree_with_their_twins() {
    run(Caps::clone, &EngineOptions::default());
}

#[test]
fn portable_shaders_agree_with_their_twins() {
    run(Caps::portable, &EngineOptions::default());
}

#[test]
fn shaders_that_read_buffers_agree_with_their_twins() {
    run(Caps::without_images, &EngineOptions::default());
}

/// As on a CPU without textures: rows by single invocations.
fn as_cpu(caps: &Caps) -> Caps {
    Caps { software: true, ..caps.without_images() }
}

/// As on a GPU: rows by workgroups that wait for each other.
fn as_gpu(caps: &Caps) -> Caps {
    Caps { software: false, ..caps.without_images() }
}

#[test]
fn shaders_of_gpus_agree_with_their_twins() {
    run(as_gpu, &EngineOptions::default());
    run(as_gpu, &EngineOptions { checked: true });
}

#[test]
fn every_entry_point_bound_by_memory_runs() {
    let mut ran = BTreeSet::new();
    let memory = |name: &str| !["attention", "linear", "mlp"].iter().any(|other| name.starts_with(other));
    for variant in [Caps::clone, as_cpu, as_gpu] {
        ran.extend(run_some(variant, &EngineOptions::default(), memory));
    }
    // Products, attention and copies of their operands have tests of their own; the others measure or probe an adapter.
    let others = ["attention", "matmul", "half", "limit", "probe"];
    let shaders = SHADERS.iter().filter(|shader| !others.iter().any(|family| shader.name.starts_with(family)));
    let all = shaders.flat_map(|shader| shader.entries.iter().map(|entry| (shader.name, entry.name)));
    // Those of textures run on software adapters alone, and what writes operands of products there where a subgroup has 8 lanes.
    let gpu = Gpu::open(&AdapterChoice::from_env()).unwrap_or_else(|e| panic!("{e}"));
    let (images, eight) = (gpu.caps().images.is_some(), gpu.caps().subgroup == Some(8));
    let runs = |(shader, entry): &(&str, &str)| match (shader.ends_with("_image"), *entry) {
        (true, "forward_image") => images && eight,
        (image, _) => images || !image,
    };
    let missing = all.filter(|entry| !ran.contains(entry) && runs(entry));
    let missing: Vec<_> = missing.collect();
    assert!(missing.is_empty(), "no case runs {missing:?}");
}

#[test]
fn every_kernel_that_can_be_chosen_agrees_with_its_twin() {
    let products = kernel_names().filter(|name| !name.contains("_f16_") && !name.contains("_f32_"));
    let products = products.filter(|name| *name != "matmul_image").map(|kernel| (vec![kernel], ["linear", "mlp"]));
    let attention = ["attention_subgroup", "attention_tile", "attention_uniform"].map(|family| {
        let kernels = SHADERS.iter().map(|shader| shader.name).filter(|name| name.starts_with(family));
        (kernels.collect(), ["attention"; 2])
    });
    for (kernels, cases) in products.chain(attention) {
        let choices = Arc::new(Choices::everywhere(kernels.iter().copied()));
        // As on a GPU: several candidates.
        let gpu = |caps: &Caps| Caps { choices: Arc::clone(&choices), software: false, ..caps.without_images() };
        let wanted = |name: &str| cases.iter().any(|case| name.starts_with(case));
        let ran = run_some(gpu, &EngineOptions::default(), wanted);
        for kernel in kernels {
            // Those of 8 lanes run where a subgroup has as many.
            let shader = kernel.trim_end_matches("_split");
            assert!(ran.iter().any(|(ran, _)| *ran == shader) || kernel.contains("subgroup"), "{kernel}: {ran:?}");
        }
    }
}

#[test]
fn f16_operands_cost_their_rounding_and_no_more() {
    let choice = AdapterChoice { precision: Precision::F16, ..AdapterChoice::from_env() };
    let portable = AdapterChoice { kernels: Kernels::Portable, ..choice.clone() };
    assert!(Gpu::open(&portable).is_err_and(|refused| refused.to_string().contains("--kernels portable")));
    let gpu = match Gpu::open(&choice) {
        Ok(gpu) => Arc::new(gpu),
        Err(refused) => {
            assert!(std::env::var_os("MVD_PRECISION").is_none(), "{refused}");
            let said = refused.to_string();
            return assert!(
                said.contains("--precision f16 needs cooperative matrices") && said.contains("leave it at f32")
            );
        }
    };
    let (mut products, mut attentions) = (0, 0);
    for checked in [false, true] {
        for case in cases() {
            let outcome = check(&gpu, gpu.caps(), &case, &EngineOptions { checked }).unwrap();
            for node in &outcome.nodes {
                let rounds = node.kernel.is_some_and(|kernel| kernel.contains("_f16_"));
                let attends = node.node.starts_with("attention");
                products += usize::from(rounds && !attends);
                attentions += usize::from(rounds && attends);
                let tolerance = if rounds { 3e-3 } else { case.tolerance };
                assert!(node.relative <= tolerance, "{}: {node:?}", case.name);
            }
            assert!(outcome.differences.iter().all(|d| d.1 <= DIFFERENCE_TOLERANCE), "{outcome:?}");
        }
    }
    assert!(products > 50 && attentions > 20, "{products}, {attentions}");
    // Whole steps against PyTorch's f32.
    let rows = mvd::selftest::check_embedded(&gpu).unwrap().0;
    for (part, count, most) in [(": grad ", 150, 1e-2), (": output.", 8, 2e-3), (": loss", 15, 1e-3)] {
        let found: Vec<_> = rows.iter().filter(|row| row.name.contains(part)).collect();
        assert!(found.len() >= count && found.iter().all(|row| row.relative <= most), "{found:#?}");
    }
}

#[test]
fn bounds_checks_change_nothing() {
    run(Caps::clone, &EngineOptions { checked: true });
}

#[test]
fn whole_steps_agree_with_pytorch_whatever_the_kernels() {
    for kernels in [Kernels::Fastest, Kernels::Buffers, Kernels::Portable] {
        let choice = AdapterChoice { kernels, ..AdapterChoice::from_env() };
        let gpu = Arc::new(Gpu::open(&choice).unwrap_or_else(|e| panic!("{e}")));
        let report = mvd::selftest::check_embedded(&gpu).unwrap();
        assert!(report.0.len() > 100 && report.failed() == 0, "{kernels:?}: {report}");
    }
}

#[test]
fn planned_memory_is_what_the_adapter_gives() {
    for workload in workloads().iter().filter(|w| !w.name.ends_with("from-base")) {
        for recompute in [false, true] {
            let gpu = Arc::new(Gpu::open(&AdapterChoice::from_env()).unwrap_or_else(|e| panic!("{e}")));
            let mut rec = Recorder::new(gpu.caps().clone());
            rec.set_recompute(recompute);
            workload.record(&mut rec).unwrap();
            let plan = Plan::new(rec);
            let planned = plan.summary().total_bytes() as f64;
            let before = gpu.allocated().unwrap();
            let mut engine = Engine::new(&gpu, plan, &EngineOptions::default()).unwrap();
            for phase in [Phase::Begin, Phase::Micro, Phase::Update] {
                engine.run(phase, &StepValues::default()).unwrap();
            }
            engine.wait().unwrap();
            let taken = (gpu.allocated().unwrap() - before) as f64;
            assert!((taken / planned - 1.0).abs() < 0.05, "{}: {taken} bytes, planned {planned}", workload.name);
        }
    }
}
