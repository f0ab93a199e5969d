//! Real checkpoints, and hostile ones.

use std::io::{Cursor, Write as _};
use std::path::Path;
use std::time::Instant;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::super::from_bytes as load;

fn stored_archive(pickle: &[u8], files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, bytes) in [("x/data.pkl", pickle)].iter().chain(files) {
        zip.start_file(*name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn refused(bytes: &[u8]) -> String {
    let clock = Instant::now();
    let Err(error) = load(Path::new("w.pth"), bytes) else { panic!("a hostile file was read") };
    let message = error.to_string();
    assert!(clock.elapsed().as_secs_f64() < 1.0 && message.starts_with("w.pth") && message.len() < 400, "{message}");
    message
}

/// A pickle of `{"w": tensor}` whose storage claims `elements`, of the given shape and strides (rows, columns).
fn one_tensor(elements: i32, shape: [i32; 2], stride: [i32; 2], offset: i32) -> Vec<u8> {
    let mut p =
        b"\x80\x02}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n".to_vec();
    p.extend(b"X\x01\0\0\x000X\x03\0\0\0cpuJ");
    p.extend(elements.to_le_bytes());
    p.extend(b"tQ");
    let int = |p: &mut Vec<u8>, value: i32| {
        p.push(b'J');
        p.extend(value.to_le_bytes());
    };
    int(&mut p, offset);
    for pair in [shape, stride] {
        pair.into_iter().for_each(|value| int(&mut p, value));
        p.push(0x86);
    }
    p.extend(b"\x89NtRs.");
    p
}

#[test]
fn a_checkpoint_of_every_kind() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/weights/kinds.pth");
    let tensors = crate::weights::load(path).unwrap();
    let get = |name: &str| tensors.get(&format!("model.{name}")).unwrap_or_else(|| panic!("{name}"));
    let base: Vec<f32> = (0..24).map(|i| i as f32 / 8.0 - 1.0).collect();
    assert_eq!((&get("blocks.0.weight").shape[..], &get("blocks.0.weight").data), (&[4, 6][..], &base));
    let transposed: Vec<f32> = (0..24).map(|i| base[i % 4 * 6 + i / 4]).collect();
    assert_eq!((&get("transposed").shape[..], &get("transposed").data), (&[6, 4][..], &transposed));
    assert_eq!(get("tail").data, [13, 14, 15, 19, 20, 21].map(|i| base[i]));
    for name in ["half", "bfloat"] {
        assert_eq!(get(name).data, base[..3], "{name}");
    }
    assert_eq!((get("double").data.as_slice(), get("parameter").data.as_slice()), (&base[..4], &base[..5]));
    assert_eq!((get("count").shape.len(), get("count").data[0]), (0, 7.0));
    assert_eq!((&get("empty").shape[..], get("empty").data.len()), (&[0, 3][..], 0));
    assert_eq!(tensors.len(), 9, "the optimiser's state is no weight");
}

#[test]
fn what_would_run_is_refused_by_name() {
    let call = b"\x80\x02cposix\nsystem\nX\x04\0\0\0true\x85R.";
    assert!(refused(&stored_archive(call, &[])).contains("it would run posix.system"));
    let stacked = b"\x80\x04\x8c\x02os\x8c\x06system\x93X\x04\0\0\0true\x85R.";
    assert!(refused(&stored_archive(stacked, &[])).contains("it would run os.system"));
    let eval = b"\x80\x02c__builtin__\neval\nX\x01\0\0\x001\x85R.";
    assert!(refused(&stored_archive(eval, &[])).contains("__builtin__.eval"));
    let instance = b"\x80\x02(cposix\nsystem\no.";
    assert!(refused(&stored_archive(instance, &[])).contains("posix.system"));
    let old = b"\x80\x02(iposix\nsystem\n.";
    assert!(refused(&stored_archive(old, &[])).contains("opcode"));
}

#[test]
fn sizes_that_lie_are_refused() {
    let data = [0u8; 24];
    let file = |pickle: &[u8]| stored_archive(pickle, &[("x/data/0", &data)]);
    let good = load(Path::new("w.pth"), &file(&one_tensor(6, [2, 3], [3, 1], 0))).unwrap();
    assert_eq!(good.get("w").unwrap().shape, [2, 3]);
    for pickle in [
        one_tensor(6, [2, 4], [4, 1], 0),
        one_tensor(6, [2, 3], [3, 1], 1),
        one_tensor(6, [30_000, 30_000], [0, 0], 0),
        one_tensor(600, [20, 30], [30, 1], 0),
        one_tensor(i32::MAX, [i32::MAX, 1], [1, 1], 0),
        one_tensor(6, [-1, 3], [3, 1], 0),
    ] {
        let message = refused(&file(&pickle));
        assert!(message.contains("w: expected a tensor within its storage") || message.contains("size"), "{message}");
    }
    let missing = stored_archive(&one_tensor(6, [2, 3], [3, 1], 0), &[]);
    assert!(refused(&missing).contains("x/data/0"));
}

#[test]
fn what_f32_cannot_be_made_of_is_refused_or_named() {
    let data: Vec<u8> = (0..6u8).flat_map(|i| f32::from(i).to_le_bytes()).collect();
    let good = one_tensor(6, [2, 3], [3, 1], 0);
    let whole = stored_archive(&good, &[("x/data/0", &data), ("x/byteorder", b"little")]);
    assert_eq!(load(Path::new("w.pth"), &whole).unwrap().get("w").unwrap().data, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    let message = refused(&stored_archive(&good, &[("x/data/0", &data), ("x/byteorder", b"big")]));
    assert!(message.contains("expected little-endian numbers, got big"), "{message}");
    // One bit of a value.
    let mut damaged = whole.clone();
    let at = whole.windows(data.len()).position(|bytes| bytes == data).unwrap();
    damaged[at + 9] ^= 1;
    let message = refused(&damaged);
    assert!(message.contains("x/data/0") && message.to_lowercase().contains("checksum"), "{message}");
    let message = refused(&stored_archive(&one_tensor(6, [2, 3], [0, 1], 0), &[("x/data/0", &data)]));
    assert!(message.contains("expanded to [2, 3]"), "{message}");
    // The same bytes as integers elsewhere.
    let tensor = |good: &[u8]| good[b"\x80\x02}X\x01\0\0\0w".len()..good.len() - b"s.".len()].to_vec();
    let (floats, name) = (tensor(&good), b"FloatStorage");
    let at = floats.windows(name.len()).position(|bytes| bytes == name).unwrap();
    let integers = [&floats[..at], b"IntStorage", &floats[at + name.len()..]].concat();
    let pickle = [&b"\x80\x02}(X\x01\0\0\0a"[..], &floats, b"X\x01\0\0\0b", &integers, b"u."].concat();
    let message = refused(&stored_archive(&pickle, &[("x/data/0", &data)]));
    assert!(message.contains("b: ") && message.contains("elements of type I32, which are F32 elsewhere"), "{message}");
}

#[test]
fn bombs_are_refused() {
    // Files marked as compressed, and as of a terabyte.
    let data = [0u8; 24];
    let whole = stored_archive(&one_tensor(6, [2, 3], [3, 1], 0), &[("x/data/0", &data)]);
    let patched = |local: usize, central: usize, value: &[u8]| {
        let mut bytes = whole.clone();
        for at in 0..whole.len() - 4 {
            let field = match &whole[at..at + 4] {
                b"PK\x03\x04" => at + local,
                b"PK\x01\x02" => at + central,
                _ => continue,
            };
            bytes[field..field + value.len()].copy_from_slice(value);
        }
        bytes
    };
    refused(&patched(8, 10, &[8, 0]));
    refused(&patched(22, 24, &[0xfe, 0xff, 0xff, 0xff]));
    refused(&patched(18, 20, &[0xfe, 0xff, 0xff, 0x7f, 0xfe, 0xff, 0xff, 0x7f]));
    // One storage, seen by very many tensors.
    let mut pickle = b"\x80\x02}(".to_vec();
    let one = one_tensor(600, [20, 30], [30, 1], 0);
    let tensor = &one[b"\x80\x02}X\x01\0\0\0w".len()..one.len() - b"s.".len()];
    for i in 0..2000u32 {
        pickle.extend(b"X\x04\0\0\0");
        pickle.extend(format!("{i:04}").as_bytes());
        if i == 0 {
            pickle.extend(tensor);
            pickle.extend(b"q\x01");
        } else {
            pickle.extend(b"h\x01");
        }
    }
    pickle.extend(b"u.");
    let message = refused(&stored_archive(&pickle, &[("x/data/0", &[0; 2400])]));
    assert!(message.contains("more elements in all than the file has bytes"), "{message}");
}

#[test]
fn depth_and_damage_are_refused() {
    let mut deep = b"\x80\x02".to_vec();
    deep.extend(b"]".repeat(100_000));
    deep.extend(b"a".repeat(99_999));
    deep.push(b'.');
    assert!(refused(&stored_archive(&deep, &[])).contains("no tensors"));
    let mut nested = b"\x80\x02".to_vec();
    nested.extend(b"}X\x01\0\0\0a".repeat(50_000));
    nested.extend(b"}".iter());
    nested.extend(b"s".repeat(50_000));
    nested.push(b'.');
    assert!(refused(&stored_archive(&nested, &[])).contains("no tensors"));
    let whole = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/weights/kinds.pth")).unwrap();
    for length in (0..whole.len()).step_by(97) {
        refused(&whole[..length]);
    }
    // Any byte changed: an error or other numbers, never a panic.
    for at in (0..whole.len()).step_by(7) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x55;
        let _ = load(Path::new("w.pth"), &damaged);
    }
    for pickle in [&b"."[..], b"\x80\x02R.", b"\x80\x02(t", b"h\x05.", b"a.", b"u.", b"Q.", b"\x93.", b"2."] {
        refused(&stored_archive(pickle, &[]));
    }
    assert!(refused(b"PK\x03\x04").contains("w.pth"));
}
