//! The event files of a run, read back by a reader of TFRecord and protobuf that shares nothing with the writer.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mvd::train::log::{RunLog, StepRecord, Validation};

/// CRC-32C bit by bit, masked as TFRecord does.
fn masked_crc(data: &[u8]) -> u32 {
    let mut crc = !0u32;
    for byte in data {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    (!crc).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// One field of a message.
#[derive(Debug, Clone, PartialEq)]
enum Field {
    Varint(u64),
    Fixed64([u8; 8]),
    Bytes(Vec<u8>),
    Fixed32([u8; 4]),
}

fn varint(data: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = data.split_first().expect("a varint is cut");
        *data = rest;
        value |= u64::from(byte & 127) << shift;
        if byte & 128 == 0 {
            return value;
        }
    }
    panic!("a varint of more than 64 bits");
}

fn take<const N: usize>(data: &mut &[u8]) -> [u8; N] {
    let (head, rest) = data.split_first_chunk::<N>().expect("a field is cut");
    *data = rest;
    *head
}

/// A message's fields by number.
fn message(mut data: &[u8]) -> BTreeMap<u64, Vec<Field>> {
    let mut fields: BTreeMap<u64, Vec<Field>> = BTreeMap::new();
    while !data.is_empty() {
        let key = varint(&mut data);
        let field = match key & 7 {
            0 => Field::Varint(varint(&mut data)),
            1 => Field::Fixed64(take(&mut data)),
            2 => {
                let length = varint(&mut data) as usize;
                let (bytes, rest) = data.split_at_checked(length).expect("a field is cut");
                data = rest;
                Field::Bytes(bytes.to_vec())
            }
            5 => Field::Fixed32(take(&mut data)),
            other => panic!("wire type {other}"),
        };
        fields.entry(key >> 3).or_default().push(field);
    }
    fields
}

/// What TensorBoard's `Event` holds of scalars.
#[derive(Debug, Default, PartialEq)]
struct Event {
    wall_time: f64,
    step: u64,
    version: Option<String>,
    /// `SessionLog.status`, 1 for a start.
    session: Option<u64>,
    scalars: Vec<(String, f32)>,
}

fn event(data: &[u8]) -> Event {
    let mut event = Event::default();
    let fields = message(data);
    for (number, values) in &fields {
        assert!(values.len() == 1, "field {number} of an event comes {} times", values.len());
        match (number, &values[0]) {
            (1, Field::Fixed64(bytes)) => event.wall_time = f64::from_le_bytes(*bytes),
            (2, Field::Varint(step)) => event.step = *step,
            (3, Field::Bytes(text)) => event.version = Some(String::from_utf8(text.clone()).unwrap()),
            (5, Field::Bytes(summary)) => event.scalars = scalars(summary),
            (7, Field::Bytes(session)) => match message(session).get(&1).map(Vec::as_slice) {
                Some([Field::Varint(status)]) => event.session = Some(*status),
                other => panic!("a session log of {other:?}"),
            },
            other => panic!("an event with {other:?}"),
        }
    }
    event
}

/// A summary's tags and simple values.
fn scalars(summary: &[u8]) -> Vec<(String, f32)> {
    let entries = message(summary).remove(&1).unwrap_or_default();
    let entry = |field: Field| {
        let Field::Bytes(bytes) = field else { panic!("a summary with {field:?}") };
        let fields = message(&bytes);
        match (fields.get(&1).map(Vec::as_slice), fields.get(&2).map(Vec::as_slice)) {
            (Some([Field::Bytes(tag)]), Some([Field::Fixed32(value)])) => {
                (String::from_utf8(tag.clone()).unwrap(), f32::from_le_bytes(*value))
            }
            other => panic!("a value of {other:?}"),
        }
    };
    entries.into_iter().map(entry).collect()
}

/// The events of a file, every length and checksum held to its data.
fn events(path: &Path) -> Vec<Event> {
    let data = std::fs::read(path).unwrap();
    let (mut rest, mut found) = (data.as_slice(), Vec::new());
    while !rest.is_empty() {
        let length: [u8; 8] = take(&mut rest);
        assert_eq!(u32::from_le_bytes(take(&mut rest)), masked_crc(&length));
        let (record, after) = rest.split_at(u64::from_le_bytes(length) as usize);
        rest = after;
        assert_eq!(u32::from_le_bytes(take(&mut rest)), masked_crc(record));
        found.push(event(record));
    }
    found
}

fn files(run: &Path) -> Vec<PathBuf> {
    let paths = std::fs::read_dir(run).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = paths.filter(|p| p.to_string_lossy().contains(".tfevents.")).collect();
    paths.sort();
    paths
}

fn record(step: usize) -> StepRecord {
    let loss = 1.0 / step as f64;
    let losses = BTreeMap::from([("loss_image".to_owned(), loss), ("loss_video".to_owned(), 2.0 * loss)]);
    StepRecord { step, epoch: step / 10, loss: 3.0 * loss, losses, grad_norm: 0.25, lr: 1e-3, weight_decay: 0.05 }
}

#[test]
fn the_checksum_is_the_known_one() {
    // RFC 3720: 32 bytes of zeros have 0x8a9136aa.
    let expected = 0x8a91_36aau32.rotate_right(15).wrapping_add(0xa282_ead8);
    assert_eq!(masked_crc(&[0; 32]), expected);
}

#[test]
fn every_number_of_a_run_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = RunLog::open(dir.path(), 0, false).unwrap();
    (1..=300).for_each(|step| log.step(&record(step)).unwrap());
    let values = [("top1", 62.5), ("top5", 100.0)].map(|(name, value)| (name.to_owned(), value));
    log.validation(&Validation { step: 300, values: values.into() }).unwrap();
    drop(log);
    let [file] = files(dir.path()).try_into().unwrap();
    let found = events(&file);
    assert_eq!((found[0].version.as_deref(), found.len()), (Some("brain.Event:2"), 302));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!(found.iter().all(|e| (now - 60.0..=now).contains(&e.wall_time)));
    for (step, event) in (1..=300).zip(&found[1..]) {
        let loss = 1.0 / step as f64;
        let expected = [
            ("grad_norm", 0.25),
            ("loss", 3.0 * loss),
            ("loss/image", loss),
            ("loss/video", 2.0 * loss),
            ("lr", 1e-3),
            ("weight_decay", 0.05),
        ];
        let mut got = event.scalars.clone();
        got.sort_by(|a, b| a.0.cmp(&b.0));
        let got: Vec<(&str, f32)> = got.iter().map(|(tag, value)| (tag.as_str(), *value)).collect();
        assert_eq!((event.step, got), (step as u64, expected.map(|(tag, value)| (tag, value as f32)).to_vec()));
    }
    let last = [("val/top1".to_owned(), 62.5), ("val/top5".to_owned(), 100.0)];
    assert_eq!((found[301].step, found[301].scalars.as_slice()), (300, &last[..]));
}

#[test]
fn a_resumed_run_says_from_which_step_the_old_numbers_are_void() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = RunLog::open(dir.path(), 0, false).unwrap();
    (1..=5).for_each(|step| log.step(&record(step)).unwrap());
    let mut log = RunLog::open(dir.path(), 3, false).unwrap();
    (4..=6).for_each(|step| log.step(&record(step)).unwrap());
    drop(log);
    let [first, second] = files(dir.path()).try_into().unwrap();
    assert!(events(&first).iter().all(|e| e.session.is_none()));
    let found = events(&second);
    assert_eq!((found[1].session, found[1].step, found[1].scalars.len()), (Some(1), 4, 0));
    assert_eq!(found[2..].iter().map(|e| e.step).collect::<Vec<_>>(), [4, 5, 6]);
}
