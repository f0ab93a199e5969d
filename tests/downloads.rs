//! Downloads that go wrong: cut, stalled, of another length, of other bytes, killed, offline; each error with its way out.

mod common;
#[path = "common/hub.rs"]
mod hub;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use common::{failure, mvd, succeed};
use hub::{COMMIT, Fault, Site, client, teacher};

const FILE: &str = "model.safetensors";
const INSPECT: [&str; 2] = ["inspect", "hf:owner/name"];

/// What a command says on standard error.
fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    text
}

/// Where the file lies when it is whole.
fn whole(home: &Path) -> PathBuf {
    home.join("hub/models--owner--name/snapshots").join(COMMIT).join(FILE)
}

/// Bytes in the cache that are not a whole file yet.
fn part(home: &Path) -> Option<u64> {
    let blobs = std::fs::read_dir(home.join("hub/models--owner--name/blobs")).ok()?;
    let part =
        blobs.map(|blob| blob.unwrap().path()).find(|path| path.extension().is_some_and(|e| e == "incomplete"))?;
    Some(std::fs::metadata(part).unwrap().len())
}

#[test]
fn a_download_that_breaks_goes_on_where_it_broke() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, home) = (dir.path(), dir.path().join("home"));
    let bytes = teacher(dir, "0");
    let (half, three) = (bytes.len() / 2, bytes.len() / 2 + bytes.len().div_ceil(2) / 2);
    let server = Site::of([(FILE, bytes.clone())]).failing([Fault::Cut, Fault::Cut, Fault::Busy]).serve();
    let text = said(&mut server.run(&home, &INSPECT));
    assert!(text.contains(&format!("after {half} of {} bytes; trying again", bytes.len())), "{text}");
    assert!(text.contains("503"), "{text}");
    let from = |at: usize| format!("bytes={at}-");
    assert_eq!(server.ranges(), ["".to_owned(), from(half), from(three), from(three)]);
    assert_eq!(std::fs::read(whole(&home)).unwrap(), bytes);
    assert_eq!(part(&home), None);

    // A server that knows no ranges begins anew, and makes no file that passes for whole.
    let server = Site::of([(FILE, bytes.clone())]).failing([Fault::Cut, Fault::Whole]).serve();
    let home = dir.join("other");
    said(&mut server.run(&home, &INSPECT));
    assert_eq!(server.ranges(), ["".to_owned(), from(half)]);
    assert_eq!(std::fs::read(whole(&home)).unwrap(), bytes);
}

#[test]
fn a_killed_download_goes_on_and_two_at_once_are_one() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, home) = (dir.path(), dir.path().join("home"));
    let bytes = teacher(dir, "0");
    let half = bytes.len() as u64 / 2;
    let server = Site::of([(FILE, bytes.clone())]).failing([Fault::Stall]).serve();
    let mut child = server.run(&home, &INSPECT).spawn().unwrap();
    let begun = Instant::now();
    while part(&home) != Some(half) {
        assert!(begun.elapsed() < Duration::from_secs(60), "half of it never came: {:?}", part(&home));
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!whole(&home).exists());
    server.seen();
    succeed(&mut server.run(&home, &INSPECT));
    assert_eq!(server.ranges(), [format!("bytes={half}-")]);
    assert_eq!(std::fs::read(whole(&home)).unwrap(), bytes);

    // What was left is of other bytes: a digest tells.
    let home = dir.join("left");
    let blobs = home.join("hub/models--owner--name/blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    let etag = std::fs::read_link(whole(&dir.join("home"))).unwrap();
    let left = blobs.join(format!("{}.incomplete", etag.file_name().unwrap().to_str().unwrap()));
    std::fs::write(left, vec![7; 100]).unwrap();
    let text = said(&mut server.run(&home, &INSPECT));
    assert!(text.contains("of other bytes; beginning anew"), "{text}");
    assert_eq!(server.ranges(), ["bytes=100-", ""]);
    assert_eq!(std::fs::read(whole(&home)).unwrap(), bytes);

    let home = dir.join("two");
    let server = Site::of([(FILE, bytes)]).failing([Fault::Slow]).serve();
    let children: Vec<_> = (0..2).map(|_| server.run(&home, &INSPECT).spawn().unwrap()).collect();
    for child in children {
        assert!(child.wait_with_output().unwrap().status.success());
    }
    assert_eq!(server.ranges(), [""], "the second waits for the first");
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, home) = (dir.path(), dir.path().join("home"));
    let bytes = teacher(dir, "0");
    let (begun, limit) = (Instant::now(), Duration::from_secs(90));
    let server = Site { silent: true, ..Site::of([(FILE, bytes.clone())]) }.serve();
    let text = failure(server.run(&home, &INSPECT).env("HF_HUB_DOWNLOAD_TIMEOUT", "1"));
    let url = format!("{}/owner/name/resolve/{COMMIT}/{FILE}", server.endpoint());
    let after = format!("after 0 of {} bytes; the same command goes on from there", bytes.len());
    for part in [&url, "nothing came for 1 s (HF_HUB_DOWNLOAD_TIMEOUT), 4 times one after the other", &after] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(server.ranges().len(), 4);
    let server = Site { mute: true, ..Site::default() }.serve();
    let text = failure(server.run(&home, &INSPECT).env("HF_HUB_ETAG_TIMEOUT", "1"));
    assert!(text.contains("gave no answer for 1 s (HF_HUB_ETAG_TIMEOUT)"), "{text}");
    assert!(begun.elapsed() < limit, "{:?}", begun.elapsed());
}

#[test]
fn what_is_not_the_file_is_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, home) = (dir.path(), dir.path().join("home"));
    let bytes = teacher(dir, "0");
    let size = bytes.len();
    let server = Site::of([(FILE, bytes.clone())]).failing([Fault::Short]).serve();
    let text = failure(&mut server.run(&home, &INSPECT));
    assert!(text.contains(&format!("expected {size} bytes, the server sends {}", size - 1)), "{text}");
    server.site.faults.lock().unwrap().push_back(Fault::Other);
    let text = failure(&mut server.run(&home, &INSPECT));
    let etag = "expected sha256:";
    assert!(text.contains(etag) && text.contains("got sha256:") && text.contains("what came is removed"), "{text}");
    assert!(!whole(&home).exists() && part(&home).is_none());
    succeed(&mut server.run(&home, &INSPECT));
    assert_eq!(std::fs::read(whole(&home)).unwrap(), bytes);
}

#[test]
fn offline_takes_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, home) = (dir.path(), dir.path().join("home"));
    let server = Site::of([(FILE, teacher(dir, "0"))]).serve();
    for key in ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"] {
        let text = failure(server.run(&home, &INSPECT).env(key, "1"));
        for part in ["hf:owner/name: no weights of revision main are in", "models--owner--name", key, "unset it"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
    assert_eq!(server.seen(), Vec::<String>::new());
    succeed(server.run(&home, &INSPECT).env("HF_HUB_OFFLINE", "0"));
    server.seen();
    for name in ["hf:owner/name", &format!("hf:owner/name@{COMMIT}"), "hf:owner/name/model.safetensors"] {
        succeed(server.run(&home, &["inspect", name]).env("HF_HUB_OFFLINE", "true"));
        succeed(&mut server.run(&home, &["inspect", name]));
    }
    assert_eq!(server.seen(), Vec::<String>::new(), "what is in the cache is not asked for");
    // Nobody is there.
    let endpoint = server.endpoint();
    drop(server);
    let text = failure(client(&endpoint, &dir.join("empty")).args(INSPECT));
    assert!(
        text.contains("hf:owner/name: no server answers there: cannot reach http://127.0.0.1:")
            && text.contains("HTTPS_PROXY"),
        "{text}"
    );
}

#[test]
fn a_long_download_tells_how_far_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, home) = (dir.path(), dir.path().join("home"));
    let file = dir.join("large.safetensors");
    succeed(mvd().args(["init", "image"]).arg(&file).args(["--size", "192,2,3"]));
    let bytes = std::fs::read(file).unwrap();
    let megabytes = format!(" of {:.1} MB, ", bytes.len() as f64 / 1e6);
    let server = Site::of([(FILE, bytes)]).serve();
    let text = said(&mut server.run(&home, &INSPECT));
    let lines: Vec<&str> =
        text.lines().filter(|l| l.starts_with("downloading hf:owner/name/model.safetensors: ")).collect();
    assert!(lines.len() == 2 && lines.iter().all(|l| l.contains(&megabytes) && l.contains("MB/s")), "{text}");
    let quiet = said(server.run(&dir.join("quiet"), &INSPECT).env("HF_HUB_DISABLE_PROGRESS_BARS", "1"));
    assert!(!quiet.contains("downloading"), "{quiet}");
}
