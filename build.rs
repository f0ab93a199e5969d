//! Composes, parses, validates and reflects every shader, so that a shader error fails the build with its file and line.
//!
//! `build/compose.rs` says what the directives in shaders are. What comes out is `OUT_DIR/shaders.rs`: a table of
//! `gpu::shader::Shader` values.

#[path = "build/compose.rs"]
mod compose;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, process};

use compose::Composed;

fn main() {
    println!("cargo::rerun-if-changed=shaders");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build");
    let shaders = compose::shaders(Path::new("shaders")).unwrap_or_else(|e| fail(&e));
    let mut table = String::from("&[\n");
    for composed in &shaders {
        let _ = writeln!(table, "{},", reflect(&composed.name, composed));
    }
    table.push(']');
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("shaders.rs");
    fs::write(&out, table).unwrap_or_else(|e| fail(&format!("{}: {e}", out.display())));
}

fn fail(message: &str) -> ! {
    eprintln!("{message}");
    process::exit(1);
}

/// Names the file and line of an error, shows the line, and ends the build.
fn fail_at(composed: &Composed, location: Option<naga::SourceLocation>, message: &str) -> ! {
    let Some(at) = location else { fail(&format!("error in a shader: {message}")) };
    let line = at.line_number as usize - 1;
    let (file, number) = composed.origin.get(line).cloned().unwrap_or_default();
    let source = composed.text.lines().nth(line).unwrap_or_default();
    let column = at.line_position as usize;
    let marker =
        format!("{}{}", " ".repeat(column - 1), "^".repeat((at.length as usize).clamp(1, source.len().max(1))));
    fail(&format!("error: {message}\n --> {}:{number}:{column}\n  | {source}\n  | {marker}", file.display()))
}

fn reflect(name: &str, composed: &Composed) -> String {
    let source = composed.text.as_str();
    let module =
        naga::front::wgsl::parse_str(source).unwrap_or_else(|e| fail_at(composed, e.location(source), e.message()));
    let info = naga::valid::Validator::new(naga::valid::ValidationFlags::all(), naga::valid::Capabilities::all())
        .validate(&module)
        .unwrap_or_else(|e| {
            let mut message = e.as_inner().to_string();
            let mut cause = std::error::Error::source(e.as_inner());
            while let Some(c) = cause {
                let _ = write!(message, ": {c}");
                cause = c.source();
            }
            fail_at(composed, e.location(source), &message)
        });
    let mut entries = String::new();
    for (index, entry) in module.entry_points.iter().enumerate() {
        let usage = info.get_entry_point(index);
        let mut bindings = String::new();
        for (handle, variable) in module.global_variables.iter() {
            if usage[handle].is_empty() {
                continue;
            }
            let Some(binding) = &variable.binding else { continue };
            let kind = match variable.space {
                naga::AddressSpace::Uniform => "Uniform",
                naga::AddressSpace::Storage { access } if access.contains(naga::StorageAccess::STORE) => "ReadWrite",
                naga::AddressSpace::Storage { .. } => "Read",
                naga::AddressSpace::Handle if is_image(&module.types[variable.ty].inner, naga::StorageAccess::LOAD) => {
                    "Image"
                }
                naga::AddressSpace::Handle
                    if is_image(&module.types[variable.ty].inner, naga::StorageAccess::STORE) =>
                {
                    "ImageWrite"
                }
                _ => fail(&format!("{name}: binding {:?} is neither uniform, storage nor image", variable.name)),
            };
            let label = variable.name.clone().unwrap_or_default();
            let _ = write!(
                bindings,
                "Binding {{ name: {label:?}, slot: {}, kind: BindingKind::{kind} }}, ",
                binding.binding
            );
        }
        let _ = write!(
            entries,
            "Entry {{ name: {:?}, workgroup_size: {:?}, bindings: &[{bindings}] }}, ",
            entry.name, entry.workgroup_size
        );
    }
    format!(
        "Shader {{ name: {name:?}, source: {source:?}, entries: &[{entries}], params: &[{}] }}",
        params(name, &module)
    )
}

/// What `Recorder::image` makes: a storage texture of four f32 a texel, to be read or to be written.
fn is_image(ty: &naga::TypeInner, access: naga::StorageAccess) -> bool {
    let class = naga::ImageClass::Storage { format: naga::StorageFormat::Rgba32Float, access };
    *ty == naga::TypeInner::Image { dim: naga::ImageDimension::D2, arrayed: false, class }
}

/// The fields of the uniform named `params`: name, byte offset and scalar type.
fn params(shader: &str, module: &naga::Module) -> String {
    let mut fields = String::new();
    for (_, variable) in module.global_variables.iter() {
        if variable.name.as_deref() != Some("params") {
            continue;
        }
        let naga::TypeInner::Struct { members, .. } = &module.types[variable.ty].inner else {
            fail(&format!("{shader}: `params` is not a struct"))
        };
        for member in members {
            let kind = match module.types[member.ty].inner {
                naga::TypeInner::Scalar(naga::Scalar { kind: naga::ScalarKind::Uint, width: 4 }) => "U32",
                naga::TypeInner::Scalar(naga::Scalar { kind: naga::ScalarKind::Float, width: 4 }) => "F32",
                _ => fail(&format!("{shader}: params.{:?} is neither u32 nor f32", member.name)),
            };
            let label = member.name.clone().unwrap_or_default();
            let _ = write!(fields, "Param {{ name: {label:?}, offset: {}, kind: ParamKind::{kind} }}, ", member.offset);
        }
    }
    fields
}
