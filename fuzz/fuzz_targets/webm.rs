//! webm and mkv of any bytes. Run with `cargo +nightly fuzz run webm`.
#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // Without its first bytes it would be taken for something else.
    if bytes.starts_with(&[0x1a, 0x45, 0xdf, 0xa3]) {
        common::look("video.webm", bytes);
    }
});
