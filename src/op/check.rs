//! Checking operations: each shader against its CPU twin, each twin's gradient against finite differences.

use std::sync::Arc;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::gpu::{
    Arena, Caps, Dtype, Engine, EngineOptions, Gpu, NodeError, ParamSet, Phase, Plan, Recorder, Result, StepValues,
    Tensor, Values,
};

/// A small recording of one operation at one size.
pub struct Case {
    /// Operation and sizes.
    pub name: String,
    /// Largest difference allowed between a shader and its twin, as a share of the tensor's largest value.
    pub tolerance: f64,
    /// The output is a loss that seeds its own gradient.
    root: bool,
    /// Largest gradient of the output.
    gradient: f64,
    build: Box<dyn Fn(&mut Rig) -> Tensor + Send + Sync>,
}

impl Case {
    /// A case whose `build` records from the rig's leaves and returns the output whose gradient is seeded.
    pub fn new(name: impl Into<String>, build: impl Fn(&mut Rig) -> Tensor + Send + Sync + 'static) -> Self {
        Case { name: name.into(), tolerance: 1e-5, root: false, gradient: 1.0, build: Box::new(build) }
    }

    /// A case whose output is one loss that gives its inputs their gradients itself.
    pub fn root(name: impl Into<String>, build: impl Fn(&mut Rig) -> Tensor + Send + Sync + 'static) -> Self {
        Case { root: true, ..Case::new(name, build) }
    }

    /// Seeds a gradient of another size, a power of two.
    pub fn gradient(mut self, largest: f64) -> Self {
        self.gradient = largest;
        self
    }

    /// Allows another tolerance, for sums of many terms.
    pub fn tolerance(mut self, tolerance: f64) -> Self {
        self.tolerance = tolerance;
        self
    }
}

/// Makes the leaves of a case: random, from their names alone.
pub struct Rig {
    /// Where the case records.
    pub rec: Recorder,
    set: ParamSet,
    inputs: Vec<(Tensor, Vec<f64>)>,
    params: Vec<(Tensor, Vec<f64>)>,
}

/// Numbers in [-1, 1) that f32 holds, from a name alone.
pub(super) fn random(name: &str, len: usize) -> Vec<f64> {
    let seed = name.bytes().fold(len as u64, |h, b| h.wrapping_mul(1_099_511_628_211) ^ u64::from(b));
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // Rounded to f32, so that both sides see the same number.
    (0..len).map(|_| f64::from(rng.random_range(-1.0f32..1.0))).collect()
}

impl Rig {
    fn new(caps: Caps) -> Self {
        let mut rec = Recorder::new(caps);
        let set = rec.param_set("case", true);
        Rig { rec, set, inputs: Vec::new(), params: Vec::new() }
    }

    /// An input in [-1, 1) whose gradient is wanted.
    pub fn leaf(&mut self, name: &str, shape: &[usize]) -> Tensor {
        let tensor = self.input(name, shape);
        self.rec.require_grad(tensor);
        tensor
    }

    /// An input in [-1, 1) without gradient.
    pub fn input(&mut self, name: &str, shape: &[usize]) -> Tensor {
        self.input_with(name, shape, random(name, shape.iter().product()))
    }

    /// An f32 input of given values, without gradient.
    pub fn input_with(&mut self, name: &str, shape: &[usize], values: Vec<f64>) -> Tensor {
        let tensor = self.rec.input(name, shape, Dtype::F32);
        self.inputs.push((tensor, values));
        tensor
    }

    /// An index input.
    pub fn index(&mut self, name: &str, shape: &[usize], values: &[u32]) -> Tensor {
        let tensor = self.rec.input(name, shape, Dtype::U32);
        self.inputs.push((tensor, values.iter().map(|&v| f64::from(v)).collect()));
        tensor
    }

    /// A byte input, random.
    pub fn bytes(&mut self, name: &str, shape: &[usize]) -> Tensor {
        let tensor = self.rec.input(name, shape, Dtype::U8);
        let values = random(name, shape.iter().product()).iter().map(|v| ((v + 1.0) * 127.9).floor()).collect();
        self.inputs.push((tensor, values));
        tensor
    }

    /// A parameter in [-1, 1).
    pub fn param(&mut self, name: &str, shape: &[usize]) -> Tensor {
        let tensor = self.rec.param(self.set, name, shape);
        self.params.push((tensor, random(name, shape.iter().product())));
        tensor
    }

    /// `a + b`, with its gradient.
    pub fn sum(&mut self, a: Tensor, b: Tensor) -> Tensor {
        let y = self.rec.sum_of(a, b);
        self.rec.tape(&[a, b], y, move |rec, dy| {
            rec.add_grad(a, dy);
            rec.add_grad(b, dy);
        });
        y
    }

    /// The set that `param` adds to.
    pub fn set(&self) -> ParamSet {
        self.set
    }
}

/// What checking one case found.
#[derive(Debug)]
pub struct Outcome {
    /// The case's name.
    pub name: String,
    /// Shader against twin, each output of each node.
    pub nodes: Vec<NodeError>,
    /// `(leaf, relative error)` of the twins' gradients against finite differences.
    pub differences: Vec<(String, f64)>,
    /// Largest error of `nodes` allowed.
    pub tolerance: f64,
}

/// Largest relative error of a gradient against central differences in f64.
pub const DIFFERENCE_TOLERANCE: f64 = 1e-6;

impl Outcome {
    /// Every error is within its tolerance.
    pub fn passed(&self) -> bool {
        self.nodes.iter().all(|n| n.relative <= self.tolerance)
            && self.differences.iter().all(|(_, e)| *e <= DIFFERENCE_TOLERANCE)
    }
}

struct Built {
    plan: Plan,
    inputs: Vec<(Tensor, Vec<f64>)>,
    params: Vec<(Tensor, Vec<f64>)>,
    /// `(leaf, its gradient, name)`
    leaves: Vec<(Tensor, Tensor, String)>,
    y: Tensor,
    dy: Vec<f64>,
    set: ParamSet,
}

fn build(case: &Case, caps: &Caps) -> Built {
    let mut rig = Rig::new(caps.clone());
    let y = (case.build)(&mut rig);
    rig.rec.keep(y);
    let dy = if case.root { vec![1.0] } else { random("dy", rig.rec.len(y)) };
    let dy: Vec<f64> = dy.iter().map(|dy| case.gradient * dy).collect();
    if case.root {
        rig.rec.backward();
    } else if rig.rec.needs_grad(y) {
        let shape = rig.rec.shape(y).to_vec();
        let seed = rig.input_with("dy", &shape, dy.clone());
        rig.rec.add_grad(y, seed);
        rig.rec.backward();
    }
    let leaves = rig.inputs.iter().chain(&rig.params).filter_map(|(leaf, _)| {
        let grad = rig.rec.grad(*leaf)?;
        rig.rec.needs_grad(*leaf).then(|| (*leaf, grad, rig.rec.name(*leaf).to_owned()))
    });
    let leaves: Vec<_> = leaves.collect();
    for (_, grad, _) in &leaves {
        rig.rec.keep(*grad);
    }
    rig.rec.chunks(rig.set);
    let Rig { rec, set, inputs, params } = rig;
    Built { plan: Plan::new(rec), inputs, params, leaves, y, dy, set }
}

fn start(built: &Built) -> Values {
    let mut values = built.plan.values();
    for (tensor, v) in built.inputs.iter().chain(&built.params) {
        values.set(&built.plan, *tensor, v);
    }
    values
}

/// The twins' gradients against central differences along one random direction a leaf.
fn differences(built: &Built) -> Vec<(String, f64)> {
    const STEP: f64 = 1e-5;
    let plan = &built.plan;
    let step = StepValues::default();
    let mut base = start(built);
    plan.run_reference(&mut base, Phase::Micro, &step);
    let mut found = Vec::new();
    for (leaf, grad, name) in &built.leaves {
        let origin = start(built).get(plan, *leaf);
        let direction = random(&format!("direction {name}"), origin.len());
        let at = |scale: f64| -> f64 {
            let mut values = start(built);
            let moved: Vec<f64> = origin.iter().zip(&direction).map(|(o, d)| o + scale * d).collect();
            values.set(plan, *leaf, &moved);
            plan.run_reference(&mut values, Phase::Micro, &step);
            values.get(plan, built.y).iter().zip(&built.dy).map(|(y, dy)| y * dy).sum()
        };
        let numeric = (at(STEP) - at(-STEP)) / (2.0 * STEP);
        let grad: Vec<f64> = base.get(plan, *grad).iter().map(|g| g / plan.loss_scale).collect();
        let analytic: f64 = grad.iter().zip(&direction).map(|(g, d)| g * d).sum();
        let scale = grad.iter().zip(&direction).map(|(g, d)| (g * d).abs()).sum::<f64>().max(1e-3);
        found.push((name.clone(), (numeric - analytic).abs() / scale));
    }
    found
}

/// Runs a case, recorded for these capabilities, on the adapter and on the CPU.
///
/// # Errors
/// What the engine reports.
pub fn check(gpu: &Arc<Gpu>, caps: &Caps, case: &Case, options: &EngineOptions) -> Result<Outcome> {
    let built = build(case, caps);
    let differences = differences(&built);
    let Built { plan, inputs, params, set, .. } = built;
    let mut engine = Engine::new(gpu, plan, options)?;
    for (tensor, values) in &inputs {
        match engine.dtype(*tensor) {
            Dtype::F32 => engine.write(*tensor, &values.iter().map(|&v| v as f32).collect::<Vec<_>>())?,
            Dtype::F16 => engine.write(*tensor, &values.iter().map(|&v| half::f16::from_f64(v)).collect::<Vec<_>>())?,
            Dtype::U32 => engine.write(*tensor, &values.iter().map(|&v| v as u32).collect::<Vec<_>>())?,
            Dtype::U8 => engine.write(*tensor, &values.iter().map(|&v| v as u8).collect::<Vec<_>>())?,
        }
    }
    for (tensor, values) in &params {
        engine.write(*tensor, &values.iter().map(|&v| v as f32).collect::<Vec<_>>())?;
    }
    // Old gradients that `+=` must keep, and moments as after some steps.
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    for arena in [Arena::Grad, Arena::Moment1, Arena::Moment2] {
        let old = engine.params(set).iter().flat_map(|p| &p.parts);
        let old: Vec<(String, Vec<f32>)> =
            old.map(|(name, shape, _)| (name.clone(), noise(&mut rng, shape.iter().product()))).collect();
        engine.write_params(set, arena, |name| old.iter().find(|o| o.0 == name).map(|o| o.1.as_slice()))?;
    }
    let step = StepValues {
        lr: 1e-2,
        weight_decay: 0.05,
        beta1: 0.9,
        beta2: 0.95,
        eps: 1e-8,
        correction1: 1.0 - 0.9f32.powi(3),
        correction2: 1.0 - 0.95f32.powi(3),
        clip: 1.0,
        step: 3,
        ..StepValues::default()
    };
    let mut nodes = Vec::new();
    for phase in [Phase::Begin, Phase::Micro, Phase::Update] {
        nodes.extend(engine.run_checked(phase, &step)?);
    }
    Ok(Outcome { name: case.name.clone(), nodes, differences, tolerance: case.tolerance })
}

/// Positive, so that it can stand for second moments.
fn noise(rng: &mut impl Rng, len: usize) -> Vec<f32> {
    (0..len).map(|_| rng.random_range(0.01f32..0.1)).collect()
}
