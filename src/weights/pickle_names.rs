//! Names that a pickle imports: which are data, which belong to other programs, which no checkpoint needs.

/// Names that are data: what PyTorch's checkpoints hold beside tensors, and are passed over.
const INERT: [&str; 22] = [
    "argparse.Namespace",
    "builtins.object",
    "builtins.set",
    "builtins.bytearray",
    "__builtin__.object",
    "__builtin__.set",
    "copyreg._reconstructor",
    "copy_reg._reconstructor",
    "collections.defaultdict",
    "collections.Counter",
    "_codecs.encode",
    "numpy.dtype",
    "numpy.ndarray",
    "numpy.core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy._core.multiarray._reconstruct",
    "torch.Size",
    "torch.device",
    "pathlib.PosixPath",
    "pathlib._local.PosixPath",
    "pathlib.WindowsPath",
];

pub(super) const ORDERED_DICT: &str = "collections.OrderedDict";
pub(super) const REBUILD: [&str; 2] = ["torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor"];
/// Takes the element type as its seventh argument: fp8 and unsigned integers.
pub(super) const REBUILD_TYPED: &str = "torch._utils._rebuild_tensor_v3";
pub(super) const PARAMETER: [&str; 2] =
    ["torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"];

/// The element type of a storage class.
pub(super) fn storage_kind(global: &str) -> Option<&str> {
    let name = global.strip_prefix("torch.").or_else(|| global.strip_prefix("torch.storage."))?;
    name.strip_suffix("Storage")
}

pub(super) fn known(global: &str) -> bool {
    let dtype = |name: &str| {
        ["float", "int", "uint", "bfloat", "bool", "half", "double", "long"].iter().any(|d| name.starts_with(d))
    };
    INERT.contains(&global)
        || global == ORDERED_DICT
        || REBUILD.contains(&global)
        || global == REBUILD_TYPED
        || PARAMETER.contains(&global)
        || storage_kind(global).is_some()
        || global.strip_prefix("torch.").is_some_and(|name| !name.contains('.') && dtype(name))
}

/// Modules that reach the system or the interpreter: no checkpoint of weights needs them.
const HOSTILE: [&str; 17] = [
    "os",
    "posix",
    "nt",
    "posixpath",
    "subprocess",
    "sys",
    "socket",
    "shutil",
    "pty",
    "runpy",
    "importlib",
    "ctypes",
    "pickle",
    "_pickle",
    "code",
    "webbrowser",
    "operator",
];

/// Whether a name is one that a pickle could harm with, were it run. It never is; a file that holds it is refused.
pub(super) fn hostile(global: &str) -> bool {
    let (module, _) = global.split_once('.').unwrap_or((global, ""));
    let builtin = matches!(module, "builtins" | "__builtin__") && !known(global);
    let run = ["eval", "exec", "getattr", "__import__", "compile", "open", "apply", "breakpoint", "input"];
    let of_builtin = builtin && run.iter().any(|name| global.ends_with(&format!(".{name}")));
    of_builtin || HOSTILE.contains(&module)
}
