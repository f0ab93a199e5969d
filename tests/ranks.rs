//! What training by several processes rests on; `tests/ranks.sh` runs it under MPI.

use std::process::Command;
use std::sync::Arc;

use mvd::config::{DistillConfig, FinetuneConfig, PretrainConfig};
use mvd::gpu::{AdapterChoice, Arena, Caps, Engine, EngineOptions, Gpu, Phase, Plan, Recorder, StepValues};
use mvd::op::linear::{self, Linear};
use mvd::recipes;
use mvd::train::groups::LayerDecay;
use mvd::train::{distill, finetune, groups, pretrain};

#[test]
fn gradients_come_in_buckets_and_go_back() {
    let gpu = Arc::new(Gpu::open(&AdapterChoice::from_env()).unwrap_or_else(|e| panic!("{e}")));
    let mut rec = Recorder::new(gpu.caps().clone());
    let set = rec.param_set("model", true);
    let x = rec.input("x", &[4, 8], mvd::gpu::Dtype::F32);
    let dy = rec.input("dy", &[4, 8], mvd::gpu::Dtype::F32);
    let beside = rec.input("beside", &[3], mvd::gpu::Dtype::F32);
    let mut y = x;
    for name in ["first", "second", "third"] {
        let weight = rec.param(set, name, &[8, 8]);
        y = linear::forward(&mut rec, y, &Linear::new(weight, None));
    }
    rec.param(set, "unused", &[8, 8]);
    rec.add_grad(y, dy);
    rec.backward();
    rec.keep(beside);
    let plan = Plan::new(rec);
    assert_eq!(plan.gradient_words(), 3 * 64, "what no node writes is left out");
    let mut engine = Engine::new(&gpu, plan, &EngineOptions::default()).unwrap();
    let some = |seed: usize, len: usize| (0..len).map(|i| ((i * 7 + seed) % 11) as f32 - 5.0).collect::<Vec<f32>>();
    engine.write(x, &some(1, 32)).unwrap();
    engine.write(dy, &some(2, 32)).unwrap();
    engine.write(beside, &[1.0f32, 2.0, 3.0]).unwrap();
    engine.write_params(set, Arena::Weight, |_| Some(&[0.25; 64])).unwrap();

    let values = StepValues::default();
    engine.run(Phase::Micro, &values).unwrap();
    let grads = |engine: &mut Engine| -> Vec<Vec<f32>> {
        engine.read_params(set, Arena::Grad).unwrap().into_iter().take(3).map(|p| p.2).collect()
    };
    let once = grads(&mut engine);
    assert!(once.iter().all(|grad| grad.iter().any(|g| *g != 0.0)));

    let mut exchange = engine.exchange(beside, 64).unwrap();
    assert_eq!(exchange.buckets(), 3);
    engine.run_staged(&values, &mut exchange).unwrap();
    let buckets: Vec<Vec<f32>> = (0..3).map(|b| engine.staged(&mut exchange, b).unwrap()).collect();
    // Accumulated a second time; the last layer is done first, and what is beside comes with the last.
    let doubled = |grad: &Vec<f32>| grad.iter().map(|g| 2.0 * g).collect::<Vec<f32>>();
    assert_eq!(buckets[0], doubled(&once[2]));
    assert_eq!(buckets[1], doubled(&once[1]));
    assert_eq!(buckets[2], [doubled(&once[0]), vec![1.0, 2.0, 3.0]].concat());
    assert!(engine.staged(&mut exchange, 0).is_err(), "asked for twice");

    assert!(engine.write_bucket(&exchange, 1, &[0.0; 3]).is_err());
    let sums: Vec<Vec<f32>> = buckets.iter().map(|b| b.iter().map(|v| v + 1.0).collect()).collect();
    (0..3).for_each(|b| engine.write_bucket(&exchange, b, &sums[b]).unwrap());
    assert_eq!(grads(&mut engine), [&sums[2][..64], &sums[1], &sums[0]]);
    assert_eq!(engine.read(beside).unwrap(), [2.0, 3.0, 4.0]);
    // The buffers serve the next step.
    engine.run_staged(&values, &mut exchange).unwrap();
    let third = engine.staged(&mut exchange, 0).unwrap();
    assert_eq!(third, grads(&mut engine)[2]);

    // What fits is one bucket, in the order of the arena; what is larger than a bucket has its own.
    assert_eq!(engine.exchange(beside, 1).unwrap().buckets(), 3);
    let mut whole = engine.exchange(beside, 192).unwrap();
    assert_eq!(whole.buckets(), 1);
    engine.run_staged(&values, &mut whole).unwrap();
    let staged = engine.staged(&mut whole, 0).unwrap();
    assert_eq!(staged, [grads(&mut engine).concat(), vec![2.0, 3.0, 4.0]].concat());
}

/// A sum of micro-batches is the same wherever it is made only if each adds to a gradient once.
#[test]
fn every_gradient_has_one_share_a_micro_batch() {
    let check = |name: &str, record: &dyn Fn(&mut Recorder)| {
        for recompute in [false, true] {
            let mut rec = Recorder::new(Caps::webgpu_default());
            rec.set_recompute(recompute);
            record(&mut rec);
            let plan = Plan::new(rec);
            assert_eq!(plan.gradients_of_several_nodes(), [""; 0], "{name}");
            assert!(plan.gradient_words() > 0, "{name}");
        }
    };
    for name in ["mae-tiny", "videomae-tiny"] {
        let config: PretrainConfig = recipes::pretrain(name).unwrap();
        let arch = pretrain::arch(&config).unwrap();
        check(name, &|rec| drop(arch.record(rec, groups::pixels(config.kind.family())).unwrap()));
    }
    let config: DistillConfig = recipes::distill("mvd-tiny").unwrap();
    let arch = distill::arch(&config).unwrap();
    check("mvd-tiny", &|rec| drop(arch.record(rec, groups::student).unwrap()));
    let config: FinetuneConfig = recipes::finetune("finetune-tiny").unwrap();
    let arch = finetune::arch(&config).unwrap();
    let layers = LayerDecay { decay: config.layer_decay, depth: config.encoder.depth };
    check("finetune-tiny", &|rec| drop(arch.record(rec, groups::classifier(layers)).unwrap()));
}

/// Several processes never train side by side without knowing of each other.
#[test]
fn a_launcher_is_noticed() {
    let said = |variables: &[(&str, &str)], command: &str| {
        let mut mvd = Command::new(env!("CARGO_BIN_EXE_mvd"));
        let output = mvd.arg(command).envs(variables.iter().copied()).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let expected =
        if cfg!(feature = "mpi") { "only distill, pretrain, finetune share their work" } else { "--features mpi" };
    for variables in [&[("OMPI_COMM_WORLD_SIZE", "2")][..], &[("SLURM_STEP_ID", "0"), ("SLURM_STEP_NUM_TASKS", "4")]] {
        let text = said(variables, "recipes");
        assert!(text.contains(expected) && text.contains(variables[variables.len() - 1].0), "{text}");
    }
}
