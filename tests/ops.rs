//! Every shader against its CPU twin, every twin's gradient against finite differences.

use std::sync::Arc;

use mvd::gpu::{AdapterChoice, Caps, EngineOptions, Gpu, Kernels};
use mvd::op::{cases, check::check};

fn run(variant: impl Fn(&Caps) -> Caps, options: &EngineOptions) {
    let gpu = Arc::new(Gpu::open(&AdapterChoice::from_env()).unwrap_or_else(|e| panic!("{e}")));
    let caps = variant(gpu.caps());
    let mut failures = Vec::new();
    for case in cases() {
        let outcome = check(&gpu, &caps, &case, options).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        assert!(!outcome.nodes.is_empty(), "{}: nothing was compared", case.name);
        if !outcome.passed() {
            failures.push(format!("{outcome:#?}"));
        }
    }
    assert!(failures.is_empty(), "{} on {}", failures.join("\n"), gpu.describe());
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
