//! mp4 and mov of any bytes. Run with `cargo +nightly fuzz run mp4`.
#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| common::look("video.mp4", bytes));
