//! Saving, resuming and testing a model go through the host piece by piece: what they add to the process is far less than
//! the model.
#![cfg(target_os = "linux")]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::{mvd, succeed};
use mvd::config::FinetuneConfig;
use mvd::gpu::{AdapterChoice, Gpu};
use mvd::model::Vit;
use mvd::ranks::Ranks;
use mvd::recipes;
use mvd::train::checkpoint::{Checkpoint, RunDir, Which};
use mvd::train::log::StepRecord;
use mvd::train::{Reporter, finetune};
use mvd::weights;

/// What may be added, whatever is saved or read.
const MOST: usize = 256 << 20;

/// `(now, most so far)`: memory of this process, in bytes.
fn resident() -> [usize; 2] {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    ["VmRSS:", "VmHWM:"].map(|field| {
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        1024 * line.trim().trim_end_matches(" kB").parse::<usize>().unwrap()
    })
}

/// What was added at most since the last call, in memory of `now` bytes then.
struct Meter {
    before: usize,
}

impl Meter {
    fn new() -> Self {
        // The most so far becomes what is there now.
        std::fs::write("/proc/self/clear_refs", "5").unwrap();
        Meter { before: resident()[0] }
    }

    /// Holds what was added to what the GPU, which here is the same memory, got meanwhile, and the little more.
    fn expect(&mut self, what: &str, on_gpu: usize) {
        // The kernel counts both loosely.
        let added = resident()[1].saturating_sub(self.before);
        eprintln!("{what}: {} MiB added, {} of them on the GPU", added >> 20, on_gpu >> 20);
        assert!(added <= on_gpu + MOST, "{what}: {added} bytes added for {on_gpu} on the GPU");
        *self = Meter::new();
    }
}

struct Watch {
    meter: Meter,
    /// Bytes of the model.
    model: usize,
    /// Those written before the first step.
    begin: usize,
    saved: usize,
}

impl Reporter for Watch {
    fn start(&mut self, _total: usize, first: usize, _facts: &[String]) {
        self.meter.expect(if first == 0 { "a start from a file" } else { "a resume" }, self.begin);
    }

    fn step(&mut self, _record: &StepRecord, _clips_per_second: f64, _waited: Duration) {
        self.meter = Meter::new();
    }

    fn note(&mut self, text: &str) {
        assert!(text.contains("top1"), "{text}");
        // The tested weights are another model; its activations are small.
        self.meter.expect("a validation, and the best weights kept", self.model);
    }

    fn saved(&mut self, _path: &Path, took: Duration) {
        self.meter.expect(&format!("a checkpoint in {:.1} s", took.as_secs_f64()), 0);
        self.saved += 1;
    }
}

#[test]
fn a_model_is_never_whole_in_host_memory() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    succeed(mvd().args(["synth", "--count", "2"]).arg(dir.join("set")));
    let init = dir.join("base.safetensors");
    succeed(mvd().args(["init", "video"]).arg(&init).args(["--size", "base", "--patch", "16"]));

    let mut config: FinetuneConfig = recipes::finetune("finetune-tiny").unwrap();
    config.model = mvd::config::EncoderKind::Videomae;
    config.encoder = Vit { dim: 768, depth: 12, heads: 12, mlp_ratio: 4 };
    config.data.path = dir.join("set/list.txt");
    config.val.clone_from(&config.data.path);
    (config.data.frames, config.data.stride, config.data.input_size, config.data.patch) = (2, 1, 16, 16);
    (config.optim.batch, config.optim.accumulate, config.optim.steps, config.repeats) = (1, 1, 1, 1);
    (config.init, config.ema, config.save.every) = (init.clone(), 0.9, 1);

    let gpu = Arc::new(Gpu::open(&AdapterChoice::from_env()).unwrap_or_else(|e| panic!("{e}")));
    let model = 4 * weights::open(&init).unwrap().0.elements();
    assert!(model > 300 << 20, "{model} bytes are no large model");
    let run = dir.join("run");
    let train = |config: &FinetuneConfig, dir: &RunDir, from: Option<Checkpoint>, begin: usize| {
        let mut watch = Watch { meter: Meter::new(), model, begin, saved: 0 };
        finetune::train(&gpu, &Ranks::alone(), config, dir, from, &mut watch).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(watch.saved, 1);
    };
    let text = toml::to_string(&config).unwrap();
    // Weights and their average; on resuming both moments too.
    train(&config, &RunDir::planned(&run, &text).unwrap(), None, 2 * model);
    config.optim.steps = 2;
    let (run, _) = RunDir::open(&run).unwrap();
    let newest = run.latest().unwrap();
    train(&config, &run, Some(Checkpoint::load(&newest).unwrap()), 4 * model);

    let mut meter = Meter::new();
    for which in [Which::Newest, Which::Ema, Which::Best] {
        let (tensors, _) = weights::open(run.weights(which).unwrap()).unwrap();
        weights::save(dir.join("copy"), &tensors, &Default::default()).unwrap();
        meter.expect("a conversion", 0);
        assert_eq!(tensors.host().unwrap(), weights::load(dir.join("copy")).unwrap());
        meter = Meter::new();
    }
}
