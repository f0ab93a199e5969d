//! Lists of any bytes, in both forms. Run with `cargo +nightly fuzz run list`.
#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;
use mvd::data::Dataset;

fuzz_target!(|bytes: &[u8]| {
    for name in ["list.txt", "list.csv"] {
        if let Ok(set) = Dataset::open(&common::file(name, bytes), None) {
            assert_eq!(set.items.iter().count(), set.items.len());
        }
    }
});
