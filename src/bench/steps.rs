//! Whole training steps, and where their time goes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use super::{Error, median, recorded};
use crate::demo::Sizes;
use crate::gpu::{Arena, Caps, Engine, EngineOptions, Gpu, NodeTime, Phase, Plan, Recorder, StepValues};
use crate::model::distill::{DistillArch, TeacherArch};
use crate::model::encoder::Family;
use crate::model::step::Pixels;
use crate::model::{self, Grid, Vit};
use crate::op::loss::LossKind;
use crate::train::groups;
use crate::weights::init;

/// A step to be measured.
pub struct Workload {
    /// Its name.
    pub name: &'static str,
    arch: DistillArch,
}

/// One operation's share of a step.
#[derive(Debug, Clone, Serialize)]
pub struct Share {
    /// The operation.
    pub operation: String,
    /// How often it runs.
    pub count: usize,
    /// Milliseconds of all of them.
    pub ms: f64,
    /// FLOPs of all of them, in GFLOP.
    pub gflop: f64,
}

/// One step's figures.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// Which.
    pub name: String,
    /// Clips of a step.
    pub batch: usize,
    /// Seconds from submission to end of a step that is waited for, the median.
    pub seconds: f64,
    /// The least of them: what neighbours on the machine disturb least.
    pub fastest: f64,
    /// Seconds a step with the queue kept full: as many steps submitted as were waited for (on a software adapter one), and the
    /// last waited for. Training runs like this.
    pub queued: f64,
    /// Seconds a step that the host takes to encode and submit it, of the same steps. Where this is near `queued`, the host is
    /// what limits.
    pub host: f64,
    /// Clips a second, by `queued`.
    pub clips_per_second: f64,
    /// FLOPs of the step in GFLOP.
    pub gflop: f64,
    /// FLOPs over `queued`, in GFLOP/s.
    pub gflops: f64,
    /// Dispatches.
    pub dispatches: usize,
    /// Share of `queued` outside kernels: wall time minus the sum of the operations' times. Those are taken in a run of their own,
    /// with a timestamp after each operation, which is written when all before it is done. So an operation's time holds the
    /// barrier before it and its start-up, but no overlap with the next one; the sum may be larger than `queued`, which gives 0.
    pub outside: f64,
    /// MiB that the plan allocates.
    pub mib: f64,
    /// Seconds from recording to the end of the first step, kernels chosen already.
    pub first_step: f64,
    /// Time by operation, longest first.
    pub shares: Vec<Share>,
    /// Time by operation, shapes and kernel, longest first.
    pub each: Vec<Share>,
}

fn vit(dim: usize, depth: usize, heads: usize) -> Vit {
    Vit { dim, depth, heads, mlp_ratio: 4 }
}

/// How many clips a step has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Batch {
    /// As the workload has it.
    #[default]
    Own,
    /// This many.
    Clips(usize),
    /// The largest power of two, 64 at most, whose plan is within so many bytes and within the adapter's limits.
    Within(u64),
}

/// Most clips that `Batch::Within` takes.
const MOST_CLIPS: usize = 64;

/// `bench-tiny`: 256 tokens, 8 clips. `demo`: as the student of both of `mvd demo`, 64 tokens, 8 clips. `small-from-base` and
/// `base-from-base`: ViT-S and ViT-B of two ViT-B at 224 pixels, 16 frames, one clip.
pub fn workloads() -> Vec<Workload> {
    let wide = vit(768, 12, 12);
    let tiny = TeacherArch { vit: vit(192, 6, 3), size: 64, patch: 8, decoder: vit(96, 2, 3), weight: 1.0 };
    let base = |decoder| TeacherArch { vit: wide, size: 224, patch: 16, decoder, weight: 1.0 };
    let arch = |student, grid, teacher, batch, masked| DistillArch {
        student,
        grid,
        image: Some(teacher),
        video: Some(teacher),
        video_family: Family::VideoMae,
        batch,
        masked,
        loss: LossKind::SmoothL1,
        norm_feature: false,
        accumulate: 1,
        drop_path: 0.0,
        pixels: Pixels::Bytes,
    };
    let full_grid = Grid { frames: 16, size: 224, tubelet: 2, patch: 16 };
    let tiny_grid = Grid { frames: 8, size: 64, tubelet: 2, patch: 8 };
    let sizes @ Sizes { size, batch, encoder, decoder, .. } = Sizes::default();
    let demo_grid = sizes.grid();
    let demo = TeacherArch { vit: encoder, size, patch: demo_grid.patch, decoder, weight: 1.0 };
    // Tube masks of .75, .75 and .9: 48 of 64, 12 of 16 and int(.9 * 196) = 176 of 196 patches of a frame.
    vec![
        Workload { name: "bench-tiny", arch: arch(vit(192, 6, 3), tiny_grid, tiny, 8, 4 * 48) },
        Workload { name: "demo", arch: arch(encoder, demo_grid, demo, batch, 4 * 12) },
        Workload { name: "small-from-base", arch: arch(vit(384, 12, 6), full_grid, base(vit(384, 2, 6)), 1, 8 * 176) },
        Workload { name: "base-from-base", arch: arch(wide, full_grid, base(vit(768, 2, 12)), 1, 8 * 176) },
    ]
}

/// The scalars of a first step.
const SCALARS: StepValues = StepValues {
    lr: 1e-4,
    weight_decay: 0.05,
    beta1: 0.9,
    beta2: 0.95,
    eps: 1e-8,
    correction1: 0.1,
    correction2: 0.05,
    clip: 0.0,
    step: 1,
    padding: [0; 3],
};

const PHASES: [Phase; 3] = [Phase::Begin, Phase::Micro, Phase::Update];

/// Runs a step of one micro-batch; gives its seconds.
pub(super) fn step(engine: &mut Engine) -> Result<f64, Error> {
    let clock = Instant::now();
    for phase in PHASES {
        engine.run(phase, &SCALARS)?;
    }
    engine.wait()?;
    Ok(clock.elapsed().as_secs_f64())
}

/// Seconds a step of `steps` that are submitted without waiting, and what of it the host takes to submit.
fn queued(engine: &mut Engine, steps: usize) -> Result<[f64; 2], Error> {
    let clock = Instant::now();
    for phase in std::iter::repeat_n(PHASES, steps).flatten() {
        engine.run(phase, &SCALARS)?;
    }
    let submitted = clock.elapsed().as_secs_f64();
    engine.wait()?;
    Ok([clock.elapsed().as_secs_f64(), submitted].map(|seconds| seconds / steps as f64))
}

impl Workload {
    /// Records the step.
    ///
    /// # Errors
    /// What the model reports.
    pub fn record(&self, rec: &mut Recorder) -> Result<model::step::Step, Error> {
        Ok(self.arch.record(rec, groups::student)?)
    }

    /// The same of another number of clips.
    ///
    /// # Errors
    /// What the model reports.
    pub fn with_batch(self, batch: Batch, caps: &Caps) -> Result<Workload, Error> {
        let of = |batch| Workload { name: self.name, arch: DistillArch { batch, ..self.arch.clone() } };
        let within = |clips, bytes| {
            let mut rec = Recorder::new(caps.clone());
            of(clips).record(&mut rec)?;
            let plan = Plan::new(rec);
            Ok::<_, Error>(plan.summary().total_bytes() as u64 <= bytes && plan.largest_binding() <= caps.max_binding)
        };
        Ok(match batch {
            Batch::Own => self,
            Batch::Clips(clips) => of(clips),
            Batch::Within(bytes) => {
                let mut clips = 1;
                while clips < MOST_CLIPS && within(2 * clips, bytes)? {
                    clips *= 2;
                }
                of(clips)
            }
        })
    }

    /// Runs it `runs` times after warming up.
    ///
    /// # Errors
    /// What the engine reports.
    pub fn measure(&self, gpu: &Arc<Gpu>, runs: usize) -> Result<Step, Error> {
        let (rec, recorded) = recorded(gpu, |rec| self.record(rec))?;
        let models = || recorded.frozen.iter().map(|frozen| &frozen.params).chain([&recorded.params]);
        let weights: Vec<_> = models().map(|params| (params.set, init(&params.specs, 0))).collect();
        let clock = Instant::now();
        let mut engine = Engine::new(gpu, Plan::new(rec), &EngineOptions::default())?;
        for (set, tensors) in &weights {
            engine.write_params(*set, Arena::Weight, |name| tensors.get(name).map(|t| t.data.as_slice()))?;
        }
        let bytes = (0..engine.elements(recorded.frames) as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8);
        engine.write_bytes(recorded.frames, &bytes.collect::<Vec<u8>>())?;
        // Any valid tokens will do: the first of each clip are visible.
        let (tokens, masked) = (self.arch.grid.len(), self.arch.masked);
        let every =
            |range: std::ops::Range<usize>| (0..self.arch.batch).flat_map(move |_| range.clone().map(|t| t as u32));
        let visible: Vec<u32> = every(0..tokens - masked).collect();
        if let Some(masking) = &recorded.masking {
            masking.write(&engine, &visible, &every(tokens - masked..tokens).collect::<Vec<u32>>())?;
        }
        step(&mut engine)?;
        let first_step = clock.elapsed().as_secs_f64();
        // The engine measures its adapter's speed over the first runs.
        step(&mut engine)?;
        step(&mut engine)?;
        let times = (0..runs).map(|_| step(&mut engine)).collect::<Result<Vec<_>, _>>()?;
        let fastest = times.iter().copied().fold(f64::INFINITY, f64::min);
        let seconds = median(times);
        let [queued, host] = queued(&mut engine, if gpu.caps().software { 1 } else { runs })?;
        let mut nodes = Vec::new();
        for phase in PHASES {
            nodes.extend(engine.time_nodes(phase)?);
        }
        let inside: f64 = nodes.iter().map(|node| node.seconds).sum();
        let operation = |node: &NodeTime| node.name.to_owned();
        let shape = |node: &NodeTime| format!("{} {} {}", node.name, node.shapes, node.kernel.unwrap_or_default());
        let (shares, each) = (shares(&nodes, operation), shares(&nodes, shape));
        let summary = engine.plan().summary();
        Ok(Step {
            name: self.name.to_owned(),
            batch: self.arch.batch,
            seconds,
            fastest,
            queued,
            host,
            clips_per_second: self.arch.batch as f64 / queued,
            gflop: summary.flops / 1e9,
            gflops: summary.flops / queued / 1e9,
            dispatches: summary.dispatches,
            outside: (1.0 - inside / queued).max(0.0),
            mib: summary.total_bytes() as f64 / f64::from(1 << 20),
            first_step,
            shares,
            each,
        })
    }
}

/// The nodes' time by what `key` says of them, longest first.
fn shares(nodes: &[NodeTime], key: impl Fn(&NodeTime) -> String) -> Vec<Share> {
    let mut by_key: BTreeMap<String, Share> = BTreeMap::new();
    for node in nodes {
        let share = by_key.entry(key(node)).or_insert_with_key(|operation| Share {
            operation: operation.clone(),
            count: 0,
            ms: 0.0,
            gflop: 0.0,
        });
        share.count += 1;
        share.ms += 1e3 * node.seconds;
        share.gflop += node.flops / 1e9;
    }
    let mut shares: Vec<Share> = by_key.into_values().collect();
    shares.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    shares
}
