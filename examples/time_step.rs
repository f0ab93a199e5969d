//! Where a step's time goes: `cargo run --release --example time_step` times every operation of a tiny distillation.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;

use mvd::gpu::{AdapterChoice, Engine, EngineOptions, Gpu, Phase, Plan, Recorder, StepValues};
use mvd::model::distill::{DistillArch, TeacherArch};
use mvd::model::step::Pixels;
use mvd::model::{Grid, Vit};
use mvd::op::loss::LossKind;
use mvd::train::groups;

fn main() -> Result<(), Box<dyn Error>> {
    let vit = |dim, depth, heads| Vit { dim, depth, heads, mlp_ratio: 4 };
    let teacher = TeacherArch { vit: vit(128, 4, 4), size: 64, patch: 8, decoder: vit(64, 2, 2), weight: 1.0 };
    let arch = DistillArch {
        student: vit(128, 4, 4),
        grid: Grid { frames: 8, size: 64, tubelet: 2, patch: 8 },
        image: Some(teacher),
        video: Some(teacher),
        batch: 8,
        masked: 192,
        loss: LossKind::SmoothL1,
        norm_feature: false,
        accumulate: 1,
        drop_path: 0.0,
        pixels: Pixels::Bytes,
    };
    let gpu = Arc::new(Gpu::open(&AdapterChoice::from_env())?);
    println!("{}", gpu.describe());
    let mut rec = Recorder::new(gpu.caps().clone());
    arch.record(&mut rec, groups::student)?;
    let mut engine = Engine::new(&gpu, Plan::new(rec), &EngineOptions::default())?;
    let mut total: BTreeMap<&str, (usize, f64)> = BTreeMap::new();
    engine.time_nodes(Phase::Micro)?;
    for phase in [Phase::Begin, Phase::Micro, Phase::Update] {
        engine.run(phase, &StepValues::default())?;
        for (name, seconds) in engine.time_nodes(phase)? {
            let entry = total.entry(name).or_default();
            *entry = (entry.0 + 1, entry.1 + seconds);
        }
    }
    let all: f64 = total.values().map(|t| t.1).sum();
    for (name, (count, seconds)) in &total {
        println!("{name:<28} {count:>4} x {:>9.3} ms  {:>5.1} %", seconds / *count as f64 * 1e3, seconds / all * 100.0);
    }
    println!("{:<28} {:>18.1} ms", "one step", all * 1e3);
    Ok(())
}
