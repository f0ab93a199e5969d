// The scalars of one step: `StepValues` in src/gpu/mod.rs.
struct Step {
    lr: f32,
    weight_decay: f32,
    beta1: f32,
    beta2: f32,
    eps: f32,
    correction1: f32,
    correction2: f32,
    clip: f32,
    step: u32,
    padding0: u32,
    padding1: u32,
    padding2: u32,
}
