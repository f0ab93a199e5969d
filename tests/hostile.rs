//! Weight files made to harm, given to the program itself: each is refused by name, within a second and 100 MB.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use flate2::Compression;
use flate2::write::DeflateEncoder;

/// Seconds of processor that one file may cost.
const MOST_SECONDS: f64 = 1.0;
/// Bytes of the program at its largest.
const MOST_MEMORY: u64 = 100 << 20;

/// A file of an archive, as its headers describe it.
struct Entry<'a> {
    name: &'a str,
    bytes: &'a [u8],
    /// 0 stored, 8 deflated.
    method: u16,
    /// The size claimed.
    size: u32,
    crc: u32,
}

fn stored<'a>(name: &'a str, bytes: &'a [u8]) -> Entry<'a> {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    Entry { name, bytes, method: 0, size: bytes.len() as u32, crc: crc.sum() }
}

/// A zip file, which may lie about everything but where its entries are.
fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::with_capacity(entries.iter().map(|e| e.bytes.len() + 200).sum());
    let mut central = Vec::new();
    for entry in entries {
        let start = out.len() as u32;
        let mut common = vec![20, 0, 0, 0];
        common.extend(entry.method.to_le_bytes());
        common.extend([0; 4]);
        let packed = if entry.method == 0 { entry.size } else { entry.bytes.len() as u32 };
        for value in [entry.crc, packed, entry.size] {
            common.extend(value.to_le_bytes());
        }
        common.extend((entry.name.len() as u16).to_le_bytes());
        common.extend([0; 2]);
        out.extend([&b"PK\x03\x04"[..], &common, entry.name.as_bytes(), entry.bytes].concat());
        central.extend(
            [&b"PK\x01\x02\x14\0"[..], &common, &[0; 10], &start.to_le_bytes(), entry.name.as_bytes()].concat(),
        );
    }
    let (count, start, size) = (entries.len() as u16, out.len() as u32, central.len() as u32);
    out.extend(central);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend([count.to_le_bytes(), count.to_le_bytes()].concat());
    out.extend([size.to_le_bytes(), start.to_le_bytes()].concat());
    out.extend([0; 2]);
    out
}

/// What a file is, how it is made (one at a time: a child's peak counts its parent's), and what its refusal says.
type Case = (&'static str, Box<dyn Fn() -> Vec<u8>>, &'static str);

fn case(what: &'static str, make: impl Fn() -> Vec<u8> + 'static, expected: &'static str) -> Case {
    (what, Box::new(make), expected)
}

fn pickle(bytes: &[u8]) -> Vec<u8> {
    archive(&[stored("x/data.pkl", bytes)])
}

/// `size` zeros, compressed a thousandfold.
fn bomb(size: usize) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    let zeros = vec![0; 1 << 20];
    (0..size >> 20).for_each(|_| encoder.write_all(&zeros).unwrap());
    encoder.finish().unwrap()
}

/// A pickle's text: `X`, length, bytes.
fn text(bytes: &[u8]) -> Vec<u8> {
    [&b"X"[..], &(bytes.len() as u32).to_le_bytes(), bytes].concat()
}

fn float_storage(key: &[u8], elements: u32) -> Vec<u8> {
    let class = b"ctorch\nFloatStorage\n";
    let elements = [&b"J"[..], &elements.to_le_bytes()].concat();
    [&b"("[..], &text(b"storage"), class, &text(key), &text(b"cpu"), &elements, b"tQ"].concat()
}

/// `{name: tensor, ...}` of whole storages.
fn tensors(named: &[(Vec<u8>, Vec<u8>, u32)]) -> Vec<u8> {
    let mut out = b"\x80\x02}(".to_vec();
    for (name, storage, elements) in named {
        let size = [&b"J"[..], &elements.to_le_bytes(), b"\x85"].concat();
        let call = b"ctorch._utils\n_rebuild_tensor_v2\n(";
        out.extend([&text(name), &call[..], storage, b"K\0", &size, b"K\x01\x85\x89NtR"].concat());
    }
    out.extend(b"u.");
    out
}

fn one_tensor(key: &[u8], elements: u32) -> Vec<u8> {
    tensors(&[(b"w".to_vec(), float_storage(key, elements), elements)])
}

/// Pickles that would run something, which leaves `mark` if it does run.
fn calls(mark: &Path) -> Vec<Case> {
    let command = text(format!("touch {}", mark.display()).as_bytes());
    let old = [&b"\x80\x02cposix\nsystem\n"[..], &command, b"\x85R."].concat();
    let new = [&b"\x80\x04\x8c\x02os\x8c\x06system\x93"[..], &command, b"\x85R."].concat();
    let hidden = [&b"\x80\x02}"[..], &text(b"w"), b"cbuiltins\neval\n", &text(b"1"), b"\x85Rs."].concat();
    let bare = old.clone();
    vec![
        case("posix.system", move || pickle(&old), "it would run posix.system"),
        case("os.system", move || pickle(&new), "it would run os.system"),
        case("eval", move || pickle(&hidden), "it would run builtins.eval"),
        case("without a zip", move || bare.clone(), "a bare pickle"),
    ]
}

/// A file of half a gigabyte of zeros, deflated, which is the pickle or the storage.
fn deflated(storage: bool) -> Vec<u8> {
    let zeros = bomb(512 << 20);
    let good = one_tensor(b"0", 128 << 20);
    let name = if storage { "x/data/0" } else { "x/data.pkl" };
    let entry = Entry { name, bytes: &zeros, method: 8, size: 512 << 20, crc: 0 };
    if storage { archive(&[stored("x/data.pkl", &good), entry]) } else { archive(&[entry]) }
}

/// 2,000 tensors of one element each, of two storages of a megabyte by turns.
fn by_turns() -> Vec<u8> {
    let tensor = |i: usize| {
        let key: &[u8] = if i.is_multiple_of(2) { b"0" } else { b"1" };
        (format!("{i:05}").into_bytes(), float_storage(key, 1 << 18), 1)
    };
    let pickle = tensors(&(0..2000).map(tensor).collect::<Vec<_>>());
    let megabyte = vec![0; 1 << 20];
    archive(&[stored("x/data.pkl", &pickle), stored("x/data/0", &megabyte), stored("x/data/1", &megabyte)])
}

/// Files that grow.
fn bombs() -> Vec<Case> {
    let long = |piece: &'static [u8], times| move || pickle(&[&b"\x80\x02"[..], &piece.repeat(times), b"."].concat());
    let no_text = || pickle(&[&b"\x80\x02"[..], &text(&vec![0xff; 12 << 20]), b"."].concat());
    vec![
        case("pickle bomb", || deflated(false), "expected it uncompressed"),
        case("storage bomb", || deflated(true), "w: expected a tensor within its storage"),
        case("a list made a dict, often", || pickle(&copied_pairs()), "dicts of one list again and again"),
        case("long names", || pickle(&long_names()), "a storage with a name of 1000000 bytes"),
        case("many sizes", || pickle(&many_sizes()), "a tensor of 300000 dimensions"),
        case("many lists", long(b"]\x94", 3 << 20), "opcodes"),
        case("many numbers", long(b"K\x01", 3 << 20), "opcodes"),
        case("12 MB of no text", no_text, "no tensors"),
        case("a pickle of 17 MB", long(b"N", 17 << 20), "expected at most"),
    ]
}

/// `OrderedDict(pairs)` of one list of 100,000 pairs, 50,000 times.
fn copied_pairs() -> Vec<u8> {
    let again = b"h\x00h\x01R0".repeat(50_000);
    let pairs = b"K\x01K\x01\x86".repeat(100_000);
    [&b"\x80\x02ccollections\nOrderedDict\nq\x000]("[..], &pairs, b"e\x85q\x010", &again, b"N."].concat()
}

/// One name of a megabyte, of 100,000 storages.
fn long_names() -> Vec<u8> {
    let id =
        [&b"("[..], &text(b"storage"), b"ctorch\nFloatStorage\n", &text(&[b'k'; 1_000_000]), b"NK\x01tq\x00Q"].concat();
    [&b"\x80\x02"[..], &id, &b"h\x00Q".repeat(100_000), b"."].concat()
}

/// One size of 300,000 dimensions, of 10,000 tensors.
fn many_sizes() -> Vec<u8> {
    let sizes = [&b"("[..], &b"K\x01".repeat(300_000), b"tq\x000"].concat();
    let call =
        [&b"ctorch._utils\n_rebuild_tensor_v2\n("[..], &float_storage(b"0", 1), b"K\0h\x00h\x00\x89NtR"].concat();
    [&b"\x80\x02"[..], &sizes, &call.repeat(10_000), b"."].concat()
}

/// Files that say they are larger than they are.
fn lies() -> Vec<Case> {
    let good = || one_tensor(b"0", 6);
    let pair = |pickle: &[u8]| archive(&[stored("x/data.pkl", pickle), stored("x/data/0", &[0; 24])]);
    let claimed = move || {
        let good = good();
        archive(&[Entry { size: 0xffff_fff0, ..stored("x/data.pkl", &good) }])
    };
    let storage = || {
        let pickle = one_tensor(b"0", 0x3fff_fffc);
        archive(&[stored("x/data.pkl", &pickle), Entry { size: 0xffff_fff0, ..stored("x/data/0", &[0; 24]) }])
    };
    let entries = move || {
        let mut many = archive(&[stored("x/data.pkl", &good())]);
        let end = many.len() - 22;
        many[end + 8..end + 12].copy_from_slice(&[0xfe; 4]);
        many
    };
    let view = |i: u8| (vec![b'a' + i % 26, b'a' + i / 26], float_storage(b"0", 6), 1 << 30);
    let views = move || pair(&tensors(&(0..100).map(view).collect::<Vec<_>>()));
    vec![
        case("a pickle of 4 GB", claimed, ""),
        case("a storage of 4 GB", storage, "w: "),
        case("65,000 entries", entries, ""),
        case("a tensor of 4 GB", move || pair(&one_tensor(b"0", 1 << 30)), "w: expected a tensor within its storage"),
        case("views of 4 GB", views, "expected a tensor within its storage"),
        case("cut", move || pair(&good())[..200].to_vec(), ""),
    ]
}

/// Values within values, 100,000 deep.
fn depths() -> Vec<Case> {
    const DEEP: usize = 100_000;
    let nested = |open: &'static [u8], middle: &'static [u8], close: &'static [u8], closings: usize| {
        move || pickle(&[&b"\x80\x02"[..], &open.repeat(DEEP), middle, &close.repeat(closings), b"."].concat())
    };
    vec![
        case("lists", nested(b"]", b"", b"a", DEEP - 1), "no tensors"),
        case("dicts", nested(b"}X\x01\0\0\0a", b"}", b"s", DEEP), "no tensors"),
        case("tuples", nested(b"", b")", b"\x85", DEEP), "no tensors"),
        case("marks", nested(b"(", b"", b"t", DEEP), "no tensors"),
        case("calls", nested(b"ccollections\nOrderedDict\n", b")", b"R", DEEP), "no tensors"),
        case("a dict in itself", || pickle(b"\x80\x02}q\x00X\x01\0\0\0ah\x00s."), "no tensors"),
    ]
}

/// Seconds of processor of all children so far, and bytes of the largest.
#[cfg(target_os = "linux")]
fn children() -> (f64, u64) {
    use nix::sys::resource::{UsageWho, getrusage};
    use nix::sys::time::TimeValLike;
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    let time = usage.user_time() + usage.system_time();
    (time.num_microseconds() as f64 / 1e6, usage.max_rss() as u64 * 1024)
}

/// Elsewhere the files are refused, unmeasured.
#[cfg(not(target_os = "linux"))]
fn children() -> (f64, u64) {
    (0.0, 0)
}

#[test]
fn hostile_files_are_refused_by_name_at_once_and_in_little_memory() {
    let dir = tempfile::tempdir().unwrap();
    let mark = dir.path().join("it-ran");
    let path = dir.path().join("hostile.pth");
    for (what, make, expected) in [calls(&mark), lies(), depths(), bombs()].into_iter().flatten() {
        std::fs::write(&path, make()).unwrap();
        let before = children().0;
        let output = Command::new(env!("CARGO_BIN_EXE_mvd")).arg("inspect").arg(&path).output().unwrap();
        let (after, memory) = children();
        let seconds = after - before;
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{what}: {message}");
        assert!(message.contains("hostile.pth") && message.contains(expected), "{what}: {message}");
        assert!(message.len() < 1000 && !message.contains("panicked"), "{what}: {message}");
        assert!(seconds < MOST_SECONDS, "{what}: {seconds:.2} s");
        println!("{what:<32} {seconds:.2} s, largest so far {:.0} MB", memory as f64 / 1e6);
        assert!(memory < MOST_MEMORY, "{what}: {memory} bytes");
    }
    assert!(!mark.exists(), "a pickle was run");
    // Here, for what children take is counted together.
    storages_are_read_once(&path);
}

/// Tensors that take turns with two storages: each storage is read once, and nothing is refused.
fn storages_are_read_once(path: &std::path::Path) {
    std::fs::write(path, by_turns()).unwrap();
    let before = children().0;
    let output = Command::new(env!("CARGO_BIN_EXE_mvd")).arg("inspect").arg(path).output().unwrap();
    let (after, memory) = children();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(after - before < MOST_SECONDS && memory < MOST_MEMORY, "{} s, {memory} bytes", after - before);
}
