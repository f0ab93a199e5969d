//! The demo at the smallest sizes: a page that stands alone, and a second call that makes nothing twice.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mvd::demo::{self, Options, Progress, Sizes, Steps};
use mvd::gpu::{AdapterChoice, Gpu};
use mvd::model::Vit;
use mvd::train::Reporter;
use mvd::train::log::StepRecord;

#[derive(Default)]
struct Heard {
    stages: Vec<String>,
    shares: Vec<f64>,
    steps: usize,
}

impl Reporter for Heard {
    fn start(&mut self, _total: usize, _first: usize, _facts: &[String]) {}

    fn step(&mut self, _record: &StepRecord, _clips_per_second: f64, _waited: Duration) {
        self.steps += 1;
    }

    fn saved(&mut self, _path: &Path, _took: Duration) {}

    fn note(&mut self, _text: &str) {}
}

impl Progress for Heard {
    fn stage(&mut self, name: &str, part: Range<f64>) {
        self.stages.push(name.to_owned());
        self.shares.extend([part.start, part.end]);
    }
}

#[test]
fn a_demo_ends_in_a_page_and_is_gone_on_with() {
    let gpu = Arc::new(Gpu::open(&AdapterChoice::from_env()).unwrap_or_else(|e| panic!("{e}")));
    let dir = tempfile::tempdir().unwrap();
    let tiny = |dim| Vit { dim, depth: 1, heads: 2, mlp_ratio: 2 };
    let steps = Steps { teacher: 3, student: 3, tuning: 3 };
    let sizes = Sizes { size: 16, train: 24, test: 8, batch: 4, steps, encoder: tiny(32), decoder: tiny(16) };
    let options = Options { out: dir.path().join("demo"), minutes: 0.001, seed: 1, threads: 2, sizes };

    let mut heard = Heard::default();
    let page = demo::run(&gpu, &options, &mut heard).unwrap();
    let html = std::fs::read_to_string(&page).unwrap();
    assert!(
        !html.contains("http:") && !html.contains("https:") && !html.contains("<script") && !html.contains("<link"),
        "something is loaded"
    );
    // Four charts, two reconstructions, the similarities, two attentions.
    assert_eq!(html.matches("<img ").count(), 9);
    assert_eq!(html.matches("src=\"data:image/png;base64,").count(), 9);
    for name in ["from scratch", "pixels only", "student of the image teacher", "student of both"] {
        assert!(html.contains(name) && heard.stages.iter().any(|s| s.contains(name)), "{name}");
    }
    let forward = heard.shares.iter().step_by(2).is_sorted();
    assert!(forward && heard.shares.iter().all(|s| (0.0..=1.0).contains(s)), "{:?}", heard.shares);
    // A budget of nothing trains 6 models and 6 fine-tunings for two steps; pixels only for as long as a student takes.
    assert!((2 * 12..60).contains(&heard.steps), "{}", heard.steps);
    let run = options.out.join("runs/student of both for direction");
    let weights = run.join("checkpoints/step-2/weights.safetensors");
    let before = std::fs::read(&weights).unwrap();

    // One run lost: it alone is made again, to the same bits, whatever the folder is called and whoever decodes.
    std::fs::remove_dir_all(&run).unwrap();
    let mut heard = Heard::default();
    let elsewhere = Options { out: dir.path().join("demo/../demo"), threads: 1, ..options.clone() };
    demo::run(&gpu, &elsewhere, &mut heard).unwrap();
    assert_eq!(heard.steps, 2);
    assert!(before == std::fs::read(&weights).unwrap());

    let other = Options { seed: 2, ..options };
    let text = demo::run(&gpu, &other, &mut heard).unwrap_err().to_string();
    assert!(text.contains("was begun with --minutes 0.001 --seed 1"), "{text}");
}
