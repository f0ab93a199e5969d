//! safetensors files: whole ones, and headers that are given their length and some data.
#![no_main]

mod header;

use std::path::Path;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = mvd::weights::from_bytes(Path::new("fuzz.safetensors"), &header::around(data));
});
