//! One file from the Hub into the cache: whole or absent, gone on with where it broke, its length and, where the Hub tells it, its
//! SHA-256 checked.

use std::fs::{self, File};
use std::io::{self, IsTerminal, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Instant;

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use ureq::http::HeaderMap;

use super::super::error::io_error;
use super::super::{Error, Result};
use super::cache::yes;
use super::net::{About, Net, Refusal, WAITS, header};
use crate::digest::Digest;
use crate::progress::Pace;

/// Bytes that are read at once.
const PIECE: usize = 256 << 10;
/// Files smaller than this come without a word.
const SMALL: u64 = 1 << 20;
const MB: f64 = 1e6;

/// What is wanted, and what people call it.
pub(super) struct Wanted<'a> {
    pub name: &'a str,
    pub url: &'a str,
    pub revision: &'a str,
    pub about: &'a About,
}

/// Downloads to `blob`, under another name until it is whole.
///
/// # Errors
/// What came is not what the Hub said, or nothing came in several tries; what came so far stays for the next time.
pub(super) fn download(net: &Net, wanted: &Wanted<'_>, blob: &Path, refused: impl Fn(String) -> Error) -> Result<()> {
    let mut part = Part::open(blob)?;
    // What an earlier process left may be of other bytes.
    let mut begun = part.len > 0;
    loop {
        if part.len > wanted.about.size {
            part.restart()?;
        }
        receive(net, wanted, &mut part, &refused)?;
        match part.check(wanted.about) {
            Ok(()) => return part.keep(blob),
            Err(_) if begun => {
                begun = false;
                log::warn!("{}: what an earlier download left is of other bytes; beginning anew", wanted.name);
                part.restart()?;
            }
            Err(reason) => {
                part.discard()?;
                return Err(refused(format!(
                    "{}: {reason}; what came is removed: try again, without a proxy between",
                    wanted.url
                )));
            }
        }
    }
}

/// Receives until the length is that of the file, in several tries.
fn receive(net: &Net, wanted: &Wanted<'_>, part: &mut Part, refused: &impl Fn(String) -> Error) -> Result<()> {
    let size = wanted.about.size;
    let mut told = Told::new(wanted, part.len);
    let mut failures = 0;
    while part.len < size {
        let before = part.len;
        let reason = match once(net, wanted, part, &mut told)? {
            Ok(()) => continue,
            Err(Refusal::Final(reason)) => return Err(refused(format!("{}: {reason}", wanted.url))),
            // The server was there a moment ago.
            Err(Refusal::Passing(reason) | Refusal::Unreachable(reason)) => reason,
        };
        failures = if part.len > before { 0 } else { failures + 1 };
        let Some(wait) = WAITS.get(failures) else {
            let (got, tries) = (part.len, failures);
            return Err(refused(format!(
                "{}: {reason}, {tries} times one after the other, after {got} of {size} bytes; the same command goes on from there",
                wanted.url
            )));
        };
        told.line(&format!("{}: {reason} after {} of {size} bytes; trying again", wanted.name, part.len));
        sleep(*wait);
    }
    told.finish();
    Ok(())
}

/// One request and its body. What the disk refuses is the outer error.
fn once(net: &Net, wanted: &Wanted<'_>, part: &mut Part, told: &mut Told) -> Result<std::result::Result<(), Refusal>> {
    let size = wanted.about.size;
    let response = match net.bytes(wanted.url, wanted.revision, part.len) {
        Ok(response) => response,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if response.status() != 206 && part.len > 0 {
        // A server without ranges sends all of it.
        part.restart()?;
    }
    if let Err(reason) = expected(response.headers(), response.status() == 206, part.len, size) {
        return Ok(Err(Refusal::Final(reason)));
    }
    let mut body = response.into_body().into_reader();
    let mut piece = vec![0; PIECE];
    loop {
        let read = match body.read(&mut piece) {
            Ok(0) if part.len < size => return Ok(Err(Refusal::Passing("the download was cut off".into()))),
            Ok(0) => return Ok(Ok(())),
            Ok(read) => read,
            Err(e) => return Ok(Err(Refusal::Passing(net.broken(e)))),
        };
        if part.len + read as u64 > size {
            part.restart()?;
            return Ok(Err(Refusal::Final(format!("expected {size} bytes, got more; what came is removed"))));
        }
        part.write(&piece[..read])?;
        told.at(part.len);
    }
}

/// Holds what an answer says of its body against what was asked for.
fn expected(headers: &HeaderMap, partial: bool, start: u64, size: u64) -> std::result::Result<(), String> {
    if !partial {
        let length = header(headers, "content-length").and_then(|text| text.parse::<u64>().ok());
        return match length.filter(|length| *length != size) {
            Some(length) => Err(format!("expected {size} bytes, the server sends {length}")),
            None => Ok(()),
        };
    }
    let text = header(headers, "content-range").unwrap_or("none");
    let range = text.strip_prefix("bytes ").and_then(|range| range.split_once('-'));
    let from = range.and_then(|(from, _)| from.parse::<u64>().ok());
    let all = text.rsplit_once('/').and_then(|(_, all)| all.parse::<u64>().ok());
    if from == Some(start) && all.is_none_or(|all| all == size) {
        return Ok(());
    }
    Err(format!("expected the bytes from {start} on of {size}, got Content-Range: {text}"))
}

/// What has come so far of a blob.
struct Part {
    path: PathBuf,
    file: File,
    len: u64,
    digest: Digest,
}

impl Part {
    /// What an earlier download left, or nothing yet.
    fn open(blob: &Path) -> Result<Part> {
        let mut name = blob.file_name().unwrap_or_default().to_owned();
        name.push(".incomplete");
        let path = blob.with_file_name(name);
        let options = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = options.map_err(io_error("create", &path))?;
        let mut digest = Digest::default();
        let len = io::copy(&mut file, &mut digest).map_err(io_error("read", &path))?;
        Ok(Part { path, file, len, digest })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(io_error("write", &self.path))?;
        self.digest.add(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }

    fn restart(&mut self) -> Result<()> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map_err(io_error("empty", &self.path))?;
        (self.len, self.digest) = (0, Digest::default());
        Ok(())
    }

    /// Whether it is the file that was told of; the ETags of large files are their SHA-256.
    fn check(&mut self, about: &About) -> std::result::Result<(), String> {
        let got = std::mem::take(&mut self.digest).text();
        let expected = format!("sha256:{}", about.etag.to_ascii_lowercase());
        let is_digest = about.etag.len() == 64 && about.etag.chars().all(|c| c.is_ascii_hexdigit());
        match is_digest && got != expected {
            true => Err(format!("expected {expected}, got {got}")),
            false => Ok(()),
        }
    }

    /// Gives it its name.
    fn keep(self, blob: &Path) -> Result<()> {
        self.file.sync_all().map_err(io_error("write", &self.path))?;
        fs::rename(&self.path, blob).map_err(io_error("rename", &self.path))
    }

    fn discard(self) -> Result<()> {
        fs::remove_file(&self.path).map_err(io_error("remove", &self.path))
    }
}

/// What people see: a bar on a terminal, else a line every half minute, on standard error. `HF_HUB_DISABLE_PROGRESS_BARS` hides both.
struct Told {
    name: String,
    bar: Option<ProgressBar>,
    pace: Option<Pace>,
}

impl Told {
    fn new(wanted: &Wanted<'_>, first: u64) -> Told {
        let size = wanted.about.size;
        let mut told = Told { name: wanted.name.to_owned(), bar: None, pace: None };
        if size < SMALL || yes("HF_HUB_DISABLE_PROGRESS_BARS") {
            return told;
        }
        if io::stderr().is_terminal() {
            let template = "{prefix} {bar:24} {bytes}/{total_bytes} {bytes_per_sec} [{elapsed}, {eta} left]";
            let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = ProgressBar::new(size).with_style(style).with_prefix(told.name.clone());
            told.bar = Some(bar.with_position(first));
        } else {
            told.pace = Some(Pace::new(first as usize, size as usize));
        }
        told
    }

    fn at(&mut self, len: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(len);
        }
        let (step, now) = (len as usize, Instant::now());
        let Some(pace) = &mut self.pace else { return };
        if pace.due(step, now) {
            let (done, all, rate) = (len as f64 / MB, pace.total as f64 / MB, pace.rate(step, now) / MB);
            let left = HumanDuration(pace.left(step, now));
            let text = format!("downloading {}: {done:.1} of {all:.1} MB, {rate:.1} MB/s, {left} left", self.name);
            self.line(&text);
        }
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => drop(writeln!(io::stderr(), "{text}")),
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_to_another_question_is_refused() {
        let check = |partial, (key, value): (&'static str, &str), start| {
            let headers = HeaderMap::from_iter([(key.parse().unwrap(), value.parse().unwrap())]);
            expected(&headers, partial, start, 100)
        };
        assert_eq!(check(false, ("content-length", "100"), 0), Ok(()));
        assert!(
            check(false, ("content-length", "99"), 0).unwrap_err().contains("expected 100 bytes, the server sends 99")
        );
        assert_eq!(check(false, ("date", "today"), 0), Ok(()), "a body that ends with the connection");
        assert_eq!(check(true, ("content-range", "bytes 40-99/100"), 40), Ok(()));
        assert_eq!(check(true, ("content-range", "bytes 40-99/*"), 40), Ok(()));
        for other in ["bytes 0-99/100", "bytes 40-98/99", "bytes", "items 40-99/100"] {
            assert!(check(true, ("content-range", other), 40).unwrap_err().contains(other), "{other}");
        }
    }

    #[test]
    fn what_came_is_kept_and_known_again() {
        let dir = tempfile::tempdir().unwrap();
        let blob = dir.path().join("blob");
        Part::open(&blob).unwrap().write(b"ab").unwrap();
        let mut part = Part::open(&blob).unwrap();
        assert_eq!(part.len, 2);
        part.write(b"c").unwrap();
        // As `sha256sum` has it.
        let etag = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".to_owned();
        assert_eq!(part.check(&About { etag: etag.clone(), size: 3 }), Ok(()));
        part.keep(&blob).unwrap();
        assert_eq!(fs::read(&blob).unwrap(), b"abc");
        assert!(!dir.path().join("blob.incomplete").exists());
        let mut other = Part::open(&dir.path().join("other")).unwrap();
        other.write(b"abd").unwrap();
        let reason = other.check(&About { etag: etag.clone(), size: 3 }).unwrap_err();
        assert!(reason.starts_with(&format!("expected sha256:{etag}, got sha256:a52d159f")), "{reason}");
        assert_eq!(other.check(&About { etag: "v1".to_owned(), size: 3 }), Ok(()), "not a digest");
        other.restart().unwrap();
        other.write(b"abc").unwrap();
        assert_eq!(other.check(&About { etag, size: 3 }), Ok(()));
        other.discard().unwrap();
        assert!(!dir.path().join("other.incomplete").exists());
    }
}
