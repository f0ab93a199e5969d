//! Every shader against its CPU twin, every twin's gradient against finite differences.

use std::sync::Arc;

use mvd::gpu::{AdapterChoice, EngineOptions, Gpu};
use mvd::op::{cases, check::check};

fn run(portable: bool, options: &EngineOptions) {
    let gpu = Arc::new(Gpu::open(&AdapterChoice::from_env()).unwrap_or_else(|e| panic!("{e}")));
    let caps = if portable { gpu.caps().portable() } else { gpu.caps().clone() };
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
    run(false, &EngineOptions::default());
}

#[test]
fn portable_shaders_agree_with_their_twins() {
    run(true, &EngineOptions::default());
}

#[test]
fn bounds_checks_change_nothing() {
    run(false, &EngineOptions { checked: true });
}
