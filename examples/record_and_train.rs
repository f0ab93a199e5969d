//! The engine in one page: record a step once, then replay it. `cargo run --release --example record_and_train`
//!
//! A residual MLP learns a random linear map of 64 tokens; the same calls make up every model of this crate.

use std::error::Error;
use std::sync::Arc;

use mvd::gpu::{AdapterChoice, Arena, Dtype, Engine, EngineOptions, Gpu, Phase, Plan, Recorder, StepValues};
use mvd::model::params::Params;
use mvd::model::step;
use mvd::op::loss::{self, LossArgs, LossKind};
use mvd::op::residual::Skip;
use mvd::op::{layer_norm, linear, scalars};
use mvd::weights;

const TOKENS: usize = 64;
const DIM: usize = 32;

fn main() -> Result<(), Box<dyn Error>> {
    let gpu = Arc::new(Gpu::open(&AdapterChoice::from_env())?);
    println!("{}", gpu.describe());

    // Handles only: nothing runs while a step is recorded.
    let mut rec = Recorder::new(gpu.caps().clone());
    let mut params = Params::new(&mut rec, "net", true);
    let norm = params.norm(&mut rec, "norm", DIM);
    let fc1 = params.linear(&mut rec, "fc1", DIM, 4 * DIM, true);
    let fc2 = params.linear(&mut rec, "fc2", 4 * DIM, DIM, true);
    let x = rec.input("x", &[1, TOKENS, DIM], Dtype::F32);
    let target = rec.input("target", &[1, TOKENS, DIM], Dtype::F32);
    let every: Vec<u32> = (0..TOKENS as u32).collect();
    let every = rec.constant_u32("every token", &[1, TOKENS], &every);
    let scalars = scalars::declare(&mut rec);
    let hidden = layer_norm::forward(&mut rec, x, &norm);
    let y = linear::mlp(&mut rec, hidden, [&fc1, &fc2], Skip { x, scale: None });
    let args = LossArgs { kind: LossKind::SmoothL1, weight: 1.0, scale: 1.0, scalars, slot: scalars::LOSS };
    loss::forward(&mut rec, y, target, every, args);
    // Backward pass, gradient norm and AdamW; matrices decay.
    step::finish(&mut rec, &params, scalars, 0.0, |_, shape| (1.0, shape.len() > 1));

    // Memory, pipelines and bind groups, once.
    let mut engine = Engine::new(&gpu, Plan::new(rec), &EngineOptions::default())?;
    let start = weights::init(&params.specs, 0);
    engine.write_params(params.set, Arena::Weight, |name| start.get(name).map(|t| t.data.as_slice()))?;
    let wave = |i: usize, pace: f32| (i as f32 * pace).sin();
    engine.write(x, &(0..TOKENS * DIM).map(|i| wave(i, 0.7)).collect::<Vec<f32>>())?;
    engine.write(target, &(0..TOKENS * DIM).map(|i| wave(i, 0.7) + wave(i % DIM, 1.3)).collect::<Vec<f32>>())?;

    for t in 1..=60u32 {
        let (beta1, beta2) = (0.9f32, 0.95f32);
        let values = StepValues {
            lr: 3e-3,
            weight_decay: 0.05,
            beta1,
            beta2,
            eps: 1e-8,
            correction1: 1.0 - beta1.powi(t as i32),
            correction2: 1.0 - beta2.powi(t as i32),
            step: t,
            ..StepValues::default()
        };
        for phase in [Phase::Begin, Phase::Micro, Phase::Update] {
            engine.run(phase, &values)?;
        }
        if t % 20 == 1 || t == 60 {
            println!("step {t}: loss {:.5}", engine.read(scalars)?[scalars::LOSS]);
        }
    }
    Ok(())
}
