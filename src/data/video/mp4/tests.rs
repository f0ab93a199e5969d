//! Real files, whole and tampered with.

use super::*;

fn clip(name: &str) -> Vec<u8> {
    std::fs::read(format!("assets/clips/{name}.mp4")).unwrap()
}

fn parse_bytes(bytes: &[u8]) -> Parsed<Track> {
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, bytes).unwrap();
    parse(&mut file)
}

/// Where the payload of the first box of a kind starts.
fn payload(bytes: &[u8], kind: &[u8; 4]) -> usize {
    bytes.windows(4).position(|w| w == kind).unwrap() + 4
}

fn set(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

#[test]
fn a_codec_that_is_not_read_is_named() {
    let mut bytes = clip("baseline");
    // After version, flags, count and the entry's size; the first `avc1` of the file is a brand.
    let at = payload(&bytes, b"stsd") + 12;
    bytes[at..at + 4].copy_from_slice(b"hev1");
    let error = parse_bytes(&bytes).unwrap_err().reason;
    assert!(error.contains("hev1") && error.contains("ffmpeg"), "{error}");
}

#[test]
fn lying_tables_and_boxes_are_errors() {
    let cases: [(&[u8; 4], usize, u32, &str); 6] = [
        (b"stsz", 8, u32::MAX, "stsz claims"),
        (b"stsz", 4, u32::MAX, "truncated mp4"),
        (b"stsz", 12, u32::MAX, "truncated mp4"),
        (b"stco", 8, u32::MAX, "truncated mp4"),
        (b"stts", 4, u32::MAX, "stts claims"),
        (b"trak", 0, u32::MAX, "claims"),
    ];
    for (kind, at, value, expected) in cases {
        let mut bytes = clip("high_bframes");
        let at = payload(&bytes, kind) + at;
        set(&mut bytes, at, value);
        let error = parse_bytes(&bytes).unwrap_err().reason;
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn fragments_have_the_frames_of_the_whole_file() {
    let (whole, fragmented) = (clip("high_bframes"), clip("fragmented"));
    let (a, b) = (parse_bytes(&whole).unwrap(), parse_bytes(&fragmented).unwrap());
    assert_eq!((a.samples.len(), &a.descriptions), (b.samples.len(), &b.descriptions));
    for (x, y) in a.samples.iter().zip(&b.samples) {
        assert_eq!((x.size, x.sync), (y.size, y.sync));
        assert!(whole[x.offset..][..x.size] == fragmented[y.offset..][..y.size]);
    }
    // Cut within a fragment: the frames before it are left.
    let cut = parse_bytes(&fragmented[..b.samples[15].offset + 3]).unwrap();
    assert_eq!(cut.samples, b.samples[..15]);
    // Runs of any number of frames of no bytes.
    let mut bytes = fragmented.clone();
    let at = payload(&bytes, b"trun");
    let flags = be32(&bytes, at).unwrap() as u32;
    set(&mut bytes, at, flags & !0xf00);
    set(&mut bytes, at + 4, u32::MAX);
    let error = parse_bytes(&bytes).map(|track| track.samples.len());
    assert!(error.as_ref().is_err_and(|e| e.reason.contains("without a size")) || error.is_ok_and(|n| n < bytes.len()));
}

#[test]
fn a_cut_file_has_the_frames_before_the_cut() {
    let whole = clip("high_bframes");
    let samples = parse_bytes(&whole).unwrap().samples;
    // The index comes last in this file; moved to the front, everything lies further back.
    let moov = payload(&whole, b"moov") - 8;
    let (front, size) = (payload(&whole, b"ftyp") - 8, whole.len() - moov);
    let ftyp = be32(&whole, front).unwrap();
    let mut faststart = [&whole[..ftyp], &whole[moov..], &whole[ftyp..moov]].concat();
    let stco = payload(&faststart, b"stco");
    for row in 0..be32(&faststart, stco + 4).unwrap() {
        let at = stco + 8 + 4 * row;
        let place = be32(&faststart, at).unwrap() + size;
        set(&mut faststart, at, place as u32);
    }
    let moved = parse_bytes(&faststart).unwrap();
    assert_eq!((moved.samples.len(), moved.missing), (samples.len(), 0));
    for kept in [1, 7, 23] {
        let cut = parse_bytes(&faststart[..moved.samples[kept].offset + 1]).unwrap();
        assert_eq!((cut.samples.len(), cut.missing), (kept, samples.len() - kept));
    }
    let error = parse_bytes(&faststart[..moved.samples[0].offset + 1]).unwrap_err().reason;
    assert!(error.contains("not one whole frame"), "{error}");
}

#[test]
fn edits_end_too() {
    let mut bytes = clip("high_bframes");
    let all = parse_bytes(&bytes).unwrap();
    assert!(all.samples.iter().all(|s| s.shown));
    // Half of the length that the edit shows.
    let at = payload(&bytes, b"elst") + 8;
    let length = be32(&bytes, at).unwrap() as u32;
    set(&mut bytes, at, length / 2);
    let half = parse_bytes(&bytes).unwrap();
    assert_eq!(half.samples.iter().filter(|s| s.shown).count(), 12);
    let last = half.samples.iter().filter(|s| s.shown).map(|s| s.time).max();
    assert!(half.samples.iter().filter(|s| !s.shown).all(|s| Some(s.time) > last));
}

#[test]
fn colours_are_read_from_the_container() {
    let at = |kind: &[u8; 4], matrix: u8, range: u8| colour(&[&kind[..], &[0, 1, 0, 1, 0, matrix], &[range]].concat());
    assert_eq!(at(b"nclx", 1, 128), Some(Colour { matrix: 1, full_range: true }));
    assert_eq!(at(b"nclx", 6, 0), Some(Colour { matrix: 6, full_range: false }));
    assert_eq!(at(b"nclc", 9, 0), Some(Colour { matrix: 9, full_range: false }));
    assert_eq!(at(b"prof", 1, 0), None);
    assert_eq!(colour(b"nclx"), None);
}

#[test]
fn padding_after_the_boxes_of_a_level_is_no_error() {
    let whole = clip("high_bframes");
    let expected = parse_bytes(&whole).unwrap().samples;
    // A `udta` whose boxes end in a zero, as some cameras write it.
    let mut bytes = whole.clone();
    let moov = payload(&bytes, b"moov") - 8;
    let size = be32(&bytes, moov).unwrap();
    let udta = [0, 0, 0, 12, b'u', b'd', b't', b'a', 0, 0, 0, 0];
    bytes.splice(moov + size..moov + size, udta);
    set(&mut bytes, moov, (size + udta.len()) as u32);
    assert_eq!(parse_bytes(&bytes).unwrap().samples.len(), expected.len());
    let mut bytes = whole;
    bytes.extend([0; 40]);
    assert_eq!(parse_bytes(&bytes).unwrap().samples, expected);
}

#[test]
fn without_an_edit_list_every_frame_is_shown() {
    let mut bytes = clip("high_bframes");
    let at = payload(&bytes, b"edts");
    bytes[at - 4..at].copy_from_slice(b"free");
    // Negative composition offsets, as version 1 tables have them.
    let (ctts, rows) = (payload(&bytes, b"ctts"), be32(&bytes, payload(&bytes, b"ctts") + 4).unwrap());
    for row in 0..rows {
        let at = ctts + 12 + 8 * row;
        let shift = be32(&bytes, at).unwrap() as i32 - 100_000;
        set(&mut bytes, at, shift as u32);
    }
    let samples = parse_bytes(&bytes).unwrap().samples;
    assert!(samples.iter().all(|s| s.shown) && samples.iter().any(|s| s.time < 0));
}
