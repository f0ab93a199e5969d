//! Kernels chosen by timing: kept, listed, cleared, and never a reason to fail.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use mvd::gpu::{
    AdapterChoice, Caps, Dtype, Engine, EngineOptions, Gpu, Phase, Plan, Recorder, StepValues, Tensor, Trial, check,
    store, tune,
};

fn mvd(cache: &Path, args: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mvd"));
    let output = command.args(args).arg("--cache").arg(cache).env_remove("MVD_NO_AUTOTUNE").output().unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (output.status.success(), text)
}

#[test]
fn choices_are_made_once_listed_and_cleared() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let ok = |args: &[&str]| {
        let (ok, text) = mvd(&cache, args);
        assert!(ok, "{args:?}: {text}");
        text
    };
    let tune = ["autotune", "--kernels", "portable", "--only", "demo"];
    let text = ok(&tune);
    let questions = text.lines().filter(|line| line.starts_with("product ")).count();
    assert!(questions > 20 && text.contains("matmul_32x32 "), "{text}");
    assert!(ok(&tune).contains("nothing to choose"));
    let listed = ok(&["autotune", "--list"]);
    assert_eq!(listed.lines().filter(|line| line.starts_with("  product ")).count(), questions, "{listed}");
    // A broken file is named, and the choices are made anew.
    let kernels = std::fs::read_dir(cache.join("kernels")).unwrap().next().unwrap().unwrap().path();
    std::fs::write(&kernels, "no choices").unwrap();
    let (done, text) = mvd(&cache, &["autotune", "--list"]);
    assert!(done && text.contains("expected choices of kernels"), "{text}");
    assert!(ok(&["autotune", "--clear"]).contains("files deleted"));
    assert_eq!(ok(&["autotune", "--list"]), "");
    let (done, text) = mvd(&cache, &["autotune", "--only", "huge"]);
    assert!(!done && text.contains("--only huge"), "{text}");
}

/// Kernels of `double`: the first leaves half of y out, the second sets a constant that its shader does not have.
const KERNELS: [&str; 3] = ["computes half", "does not compile", "doubles"];

/// Records y = 2 x by one of `KERNELS`.
fn double(rec: &mut Recorder, len: usize) -> [Tensor; 2] {
    let x = rec.input("x", &[len], Dtype::F32);
    let trial = Trial {
        alone: Arc::new(move |rec| {
            double(rec, len);
        }),
        kind: "doubling".to_owned(),
        small: Arc::new(|rec| {
            double(rec, 70);
        }),
    };
    let kernel = KERNELS[rec.choose(format!("double {len}"), &KERNELS, trial)];
    let y = rec.transient("y", &[len]);
    rec.keep(y);
    rec.node("double", &[x], &[y], len as f64, |h| h.outputs[0] = h.inputs[0].iter().map(|x| 2.0 * x).collect());
    let dispatch = rec.dispatch("add", "forward").bind("a", x).bind("b", x).bind("y", y);
    let dispatch = dispatch.u32("len", if kernel == "computes half" { len / 2 } else { len });
    let dispatch = if kernel == "does not compile" { dispatch.constant("NO_SUCH", 1.0) } else { dispatch };
    dispatch.groups([len.div_ceil(64) as u32, 1, 1]);
    [x, y]
}

fn doubled(gpu: &Arc<Gpu>, caps: &Caps) -> Vec<f32> {
    let mut rec = Recorder::new(caps.clone());
    let [x, y] = double(&mut rec, 200);
    let mut engine = Engine::new(gpu, Plan::new(rec), &EngineOptions::default()).unwrap();
    engine.write(x, &(0..200).map(|i| i as f32).collect::<Vec<_>>()).unwrap();
    engine.run(Phase::Micro, &StepValues::default()).unwrap();
    engine.read(y).unwrap()
}

#[test]
fn kernels_that_are_wrong_or_do_not_compile_are_left_out_and_named() {
    let expected: Vec<f32> = (0..200).map(|i| 2.0 * i as f32).collect();
    for timed in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let open = || {
            let cache = Some(dir.path().to_owned());
            let choice = AdapterChoice { cache, autotune: true, ..AdapterChoice::from_env() };
            Arc::new(Gpu::open(&choice).unwrap_or_else(|e| panic!("{e}")))
        };
        let gpu = open();
        assert_ne!(doubled(&gpu, gpu.caps()), expected, "the first kernel is wrong");
        let mut rec = Recorder::new(gpu.caps().clone());
        double(&mut rec, 200);
        let found = if timed { tune(&gpu, &rec, |_, _, _, _| ()) } else { check(&gpu, &rec) };
        let caps = found.unwrap().expect("two kernels were left out");
        assert_eq!(doubled(&gpu, &caps), expected, "the third kernel is taken");
        // A later process does not try them again.
        let later = open();
        assert_eq!(doubled(&later, later.caps()), expected);
        let known = store::tuned(dir.path()).unwrap().remove(0);
        assert_eq!(known.refused.keys().collect::<Vec<_>>(), KERNELS[..2].iter().collect::<Vec<_>>());
        assert_eq!(
            known.choices.values().map(|m| m.kernel.as_str()).collect::<Vec<_>>(),
            vec![KERNELS[2]; timed.into()]
        );
        let (ok, listed) = mvd(dir.path(), &["autotune", "--list"]);
        assert!(ok && listed.contains("left out: computes half: doubling: error"), "{listed}");
        assert!(listed.contains("left out: does not compile: ") && listed.contains("NO_SUCH"), "{listed}");
    }
}
