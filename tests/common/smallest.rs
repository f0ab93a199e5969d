//! The smallest runs that are worth something.

use std::path::Path;
use std::process::Command;

use crate::common::{mvd, succeed};

/// Clips and random teachers of the smallest useful size.
pub fn prepare(dir: &Path) {
    succeed(mvd().args(["synth", "--count", "12"]).arg(dir.join("set")));
    for kind in ["image", "video"] {
        succeed(mvd().args(["init", kind]).arg(dir.join(kind)).args(["--size", "32,1,2", "--patch", "16"]));
    }
}

/// A distillation of 12 steps of 4 clips, with a checkpoint every 3.
pub fn distill(dir: &Path, out: &str, threads: &str) -> Command {
    let mut command = mvd();
    command.args(["distill", "--steps", "12", "--batch", "2", "--save-every", "3", "--threads", threads]);
    command.args(["--patch", "16", "--student", "32,2,2", "--decoder", "16,1,1", "--image-teacher-size", "32,1,2"]);
    command.args(["--video-teacher-size", "32,1,2", "--frames", "4", "--stride", "3", "--input-size", "32"]);
    command.args([
        "--mask-ratio",
        "0.5",
        "--lr",
        "0.1",
        "--drop-path",
        "0.2",
        "--accumulate",
        "2",
        "--keep-every",
        "6",
    ]);
    command.arg("--data").arg(dir.join("set/list.txt")).arg("--out").arg(dir.join(out));
    command.arg("--image-teacher").arg(dir.join("image")).arg("--video-teacher").arg(dir.join("video"));
    command
}
