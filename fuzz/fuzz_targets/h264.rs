//! Coded frames of any bytes in a sound mp4. Run with `cargo +nightly fuzz run h264`.
#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;

const WHOLE: &[u8] = include_bytes!("../../assets/clips/high_bframes.mp4");

fuzz_target!(|bytes: &[u8]| {
    let Some(mdat) = WHOLE.windows(4).position(|kind| kind == b"mdat") else { return };
    let mut file = WHOLE.to_vec();
    let space = &mut file[mdat + 4..];
    let count = bytes.len().min(space.len() / 2);
    space[..count].copy_from_slice(&bytes[..count]);
    common::look("coded.mp4", &file);
});
