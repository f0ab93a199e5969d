//! The scalars of a step.

/// The scalars of one step; the uniform `step` of the shaders that import it.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct StepValues {
    /// Learning rate before a parameter's own scale.
    pub lr: f32,
    /// Decoupled weight decay, for the parameters that decay.
    pub weight_decay: f32,
    /// AdamW's first momentum.
    pub beta1: f32,
    /// AdamW's second momentum.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
    /// `1 - beta1^t` of the step `t` counted from 1.
    pub correction1: f32,
    /// `1 - beta2^t`
    pub correction2: f32,
    /// Largest gradient norm let through; 0 lets all through.
    pub clip: f32,
    /// Step counted from 1; the last dispatch of a step writes it back as a canary.
    pub step: u32,
    /// Fills the uniform to 16-byte words.
    pub padding: [u32; 3],
}

impl Default for StepValues {
    fn default() -> Self {
        bytemuck::Zeroable::zeroed()
    }
}
