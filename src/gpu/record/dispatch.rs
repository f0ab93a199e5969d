//! Describing one dispatch: an entry point, what is bound to it, its sizes and constants.

use super::node::{Command, Dispatch, Node};
use super::recorder::Recorder;
use super::tensor::Tensor;
use crate::gpu::caps::Caps;
use crate::gpu::shader::{BindingKind, ParamKind, Shader};

impl Recorder {
    /// The first shader of the node recorded last: the kernel that an operation chose.
    pub fn last_kernel(&self) -> Option<&'static str> {
        self.nodes.iter().rev().find_map(Node::kernel)
    }

    /// Starts a dispatch of entry point `entry` of `shaders/{shader}.wgsl`.
    ///
    /// # Panics
    /// If there is no such shader or entry: a mistake in an operation, which every test run of it shows.
    pub fn dispatch(&mut self, shader: &str, entry: &str) -> DispatchBuilder<'_> {
        let found = Shader::named(shader).unwrap_or_else(|| panic!("no shader {shader}.wgsl"));
        let entry = found.entry(entry).unwrap_or_else(|| panic!("{shader}.wgsl has no entry {entry}"));
        let size = found.params.iter().map(|p| p.offset as usize + 4).max().unwrap_or(0).next_multiple_of(16);
        let params = vec![0; size];
        let dispatch = Dispatch { shader: found, entry, constants: vec![], binds: vec![], params, groups: [1; 3] };
        DispatchBuilder { recorder: self, dispatch }
    }
}

/// One dispatch being described; ends with `groups`.
pub struct DispatchBuilder<'a> {
    recorder: &'a mut Recorder,
    dispatch: Dispatch,
}

impl DispatchBuilder<'_> {
    fn at(&self) -> String {
        format!("{}.wgsl, entry {}", self.dispatch.shader.name, self.dispatch.entry.name)
    }

    /// What the adapter can do.
    pub fn caps(&self) -> &Caps {
        self.recorder.caps()
    }

    /// Binds a tensor to the storage variable `name`. A variable that the entry does not use is an error.
    pub fn bind(mut self, name: &str, tensor: Tensor) -> Self {
        let binding = self.dispatch.entry.bindings.iter().find(|b| b.name == name);
        let binding = binding.unwrap_or_else(|| panic!("{}: no binding {name}", self.at()));
        self.dispatch.binds.push((binding.slot, tensor));
        self
    }

    fn field(&mut self, name: &str, kind: ParamKind, bytes: [u8; 4]) {
        let at = self.at();
        let param = self.dispatch.shader.params.iter().find(|p| p.name == name && p.kind == kind);
        let offset = param.unwrap_or_else(|| panic!("{at}: no params.{name} of type {kind:?}")).offset as usize;
        self.dispatch.params[offset..offset + 4].copy_from_slice(&bytes);
    }

    /// Sets `params.name`, a `u32`.
    ///
    /// # Panics
    /// If the value does not fit 32 bits; tensors of that many elements do not fit any adapter's bindings.
    pub fn u32(mut self, name: &str, value: usize) -> Self {
        let value = u32::try_from(value).unwrap_or_else(|_| panic!("{}: params.{name} = {value}", self.at()));
        self.field(name, ParamKind::U32, value.to_le_bytes());
        self
    }

    /// Sets `params.name`, an `f32`.
    pub fn f32(mut self, name: &str, value: f32) -> Self {
        self.field(name, ParamKind::F32, value.to_le_bytes());
        self
    }

    /// Sets the `override` constant `name`.
    pub fn constant(mut self, name: &'static str, value: impl Into<f64>) -> Self {
        self.dispatch.constants.push((name, value.into()));
        self
    }

    /// Ends the description with the number of workgroups.
    ///
    /// # Panics
    /// If a binding was left out: a mistake in an operation.
    pub fn groups(self, groups: [u32; 3]) {
        let at = self.at();
        for binding in self.dispatch.entry.bindings.iter().filter(|b| b.kind != BindingKind::Uniform) {
            let bound = self.dispatch.binds.iter().any(|(slot, _)| *slot == binding.slot);
            assert!(bound, "{at}: {} is not bound", binding.name);
        }
        let dispatch = Dispatch { groups, ..self.dispatch };
        self.recorder.command(Command::Dispatch(dispatch));
    }
}
