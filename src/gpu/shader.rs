//! The shaders as `build.rs` checked and reflected them.

/// One `.wgsl` file of `shaders/`, imports resolved.
#[derive(Debug)]
pub struct Shader {
    /// File name without `.wgsl`.
    pub name: &'static str,
    /// Composed WGSL text.
    pub source: &'static str,
    /// Every entry point.
    pub entries: &'static [Entry],
    /// Fields of the uniform `params`.
    pub params: &'static [Param],
}

/// One compute entry point.
#[derive(Debug)]
pub struct Entry {
    /// Function name.
    pub name: &'static str,
    /// Invocations a workgroup, x y z; what an `override` leaves open is given as its default.
    pub workgroup_size: [u32; 3],
    /// Bindings of group 0 that the entry point uses.
    pub bindings: &'static [Binding],
}

/// One binding of group 0.
#[derive(Debug)]
pub struct Binding {
    /// Variable name, by which operations bind tensors.
    pub name: &'static str,
    /// `@binding(slot)`.
    pub slot: u32,
    /// Address space and access.
    pub kind: BindingKind,
}

/// What may be bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BindingKind {
    /// `var<uniform>`
    Uniform,
    /// `var<storage, read>`
    Read,
    /// `var<storage, read_write>`
    ReadWrite,
    /// `texture_storage_2d<rgba32float, read>`
    Image,
}

/// One field of `params`.
#[derive(Debug)]
pub struct Param {
    /// Field name.
    pub name: &'static str,
    /// Offset in bytes.
    pub offset: u32,
    /// Scalar type.
    pub kind: ParamKind,
}

/// Scalar type of a `params` field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParamKind {
    /// `u32`
    U32,
    /// `f32`
    F32,
}

/// Every shader, by name.
pub static SHADERS: &[Shader] = include!(concat!(env!("OUT_DIR"), "/shaders.rs"));

impl Shader {
    /// The shader of that file name.
    pub fn named(name: &str) -> Option<&'static Shader> {
        SHADERS.iter().find(|s| s.name == name)
    }

    /// The entry point of that name.
    pub fn entry(&self, name: &str) -> Option<&'static Entry> {
        self.entries.iter().find(|e| e.name == name)
    }
}
