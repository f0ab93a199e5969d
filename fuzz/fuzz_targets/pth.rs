//! PyTorch checkpoints: whole archives, and pickles that are put in one.
#![no_main]

mod archive;

use std::path::Path;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = mvd::weights::from_bytes(Path::new("fuzz.pth"), &archive::around(data));
});
