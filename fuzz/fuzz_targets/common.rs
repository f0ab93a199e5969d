//! What the targets share: bytes as a file, and looking at it.

use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::path::PathBuf;

use mvd::data::video;

/// A file of this process's own that holds `bytes`.
pub fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = std::env::temp_dir().join(format!("mvd-fuzz-{}-{name}", std::process::id()));
    std::fs::write(&path, bytes).expect("the folder of temporary files can be written to");
    path
}

/// Opens a video, which must not panic, and decodes some of it, which is others' work and may.
#[allow(dead_code, reason = "the target of lists opens no video")]
pub fn look(name: &str, bytes: &[u8]) {
    if let Ok(mut video) = video::open(&file(name, bytes)) {
        let len = video.len();
        // The fuzzer's own hook ends the process at any panic.
        let hook = take_hook();
        let _ = catch_unwind(AssertUnwindSafe(|| {
            let _ = video.frames(&[0, len / 2, len.saturating_sub(1)]);
        }));
        set_hook(hook);
    }
}
