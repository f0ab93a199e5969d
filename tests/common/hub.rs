//! A small server on loopback that answers as the Hugging Face Hub does: an API, redirects of large files to another place,
//! ETags that are digests, ranges, tokens; and that cuts, stalls, lies and refuses.

#![allow(dead_code, reason = "each file of tests compiles this one anew, and not all of them let everything fail")]

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::common;

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Files of a repository by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// What goes wrong with the body of a large file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Half of it comes, then the connection is closed.
    Cut,
    /// Half of it comes, then nothing, and the connection stays open.
    Stall,
    /// Half of it comes, the rest a second later.
    Slow,
    /// The whole file comes, whatever range was asked for.
    Whole,
    /// As long as it should be, of other bytes.
    Other,
    /// Shorter by a byte than the file was said to be.
    Short,
    /// 503.
    Busy,
}

/// What the server has and how it misbehaves.
#[derive(Default)]
pub struct Site {
    /// By `owner/name`.
    pub repositories: BTreeMap<String, Files>,
    /// Wanted of who reads them.
    pub token: Option<&'static str>,
    /// Nobody may read them without asking for access.
    pub gated: bool,
    /// The ETag of every file; by default its digest.
    pub etag: Option<&'static str>,
    /// The commit; by default [`COMMIT`].
    pub commit: Option<&'static str>,
    /// What goes wrong with the next bodies, one each.
    pub faults: Mutex<VecDeque<Fault>>,
    /// Large files are said to come, and never do.
    pub silent: bool,
    /// Nothing is ever answered.
    pub mute: bool,
    /// Request lines and ranges, in order.
    pub seen: Mutex<Vec<String>>,
}

pub struct Server {
    address: SocketAddr,
    pub site: Arc<Site>,
    open: Arc<AtomicBool>,
}

struct Request {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.open.store(false, Ordering::SeqCst);
        // Wakes the listener, which then sees that it is closed.
        let _ = TcpStream::connect(self.address);
    }
}

impl Site {
    /// `owner/name` with these files.
    pub fn of(files: impl IntoIterator<Item = (&'static str, Vec<u8>)>) -> Site {
        let files = files.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect();
        Site { repositories: BTreeMap::from([("owner/name".to_owned(), files)]), ..Site::default() }
    }

    pub fn failing(self, faults: impl IntoIterator<Item = Fault>) -> Site {
        Site { faults: Mutex::new(faults.into_iter().collect()), ..self }
    }

    pub fn serve(self) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (site, open) = (Arc::new(self), Arc::new(AtomicBool::new(true)));
        let (theirs, still) = (site.clone(), open.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if !still.load(Ordering::SeqCst) {
                    return;
                }
                let (site, still) = (theirs.clone(), still.clone());
                // A client that hangs up is none of the server's business.
                std::thread::spawn(move || stream.and_then(|s| site.answer(s, &still)));
            }
        });
        Server { address, site, open }
    }

    fn answer(&self, mut stream: TcpStream, open: &AtomicBool) -> std::io::Result<()> {
        let request = read(&stream)?;
        let range = request.headers.get("range").cloned().unwrap_or_default();
        self.seen.lock().unwrap().push(format!("{} {} {range}", request.method, request.path));
        if self.mute {
            return wait(open);
        }
        if let Some(digest) = request.path.strip_prefix("/cdn/") {
            assert!(!request.headers.contains_key("authorization") || self.token.is_some(), "a token for nobody");
            let files = self.repositories.values().flat_map(BTreeMap::values);
            let body = files.into_iter().find(|bytes| self.digest(bytes) == digest);
            return self.body(&mut stream, body.unwrap(), &range, open);
        }
        let commit = self.commit.unwrap_or(COMMIT);
        let cached = request.path.starts_with("/resolve-cache/");
        let asked = request.path.strip_prefix("/resolve-cache").unwrap_or(&request.path);
        let path = asked.strip_prefix("/api/models").unwrap_or(asked);
        let known = self.repositories.iter().find_map(|(name, files)| {
            Some((files, path.strip_prefix(&format!("/{name}/"))?.strip_prefix("re")?.split_once('/')?.1))
        });
        let Some((files, rest)) = known else {
            return plain(&mut stream, "404 Not Found", &["X-Error-Code: RepoNotFound"], b"Repository not found");
        };
        if self.gated {
            let why = ["X-Error-Code: GatedRepo", "X-Error-Message: Access to owner/name is restricted"];
            return plain(&mut stream, "403 Forbidden", &why, b"");
        }
        let wanted = self.token.map(|token| format!("Bearer {token}"));
        if wanted.is_some() && request.headers.get("authorization") != wanted.as_ref() {
            return plain(&mut stream, "401 Unauthorized", &[], b"Invalid username or password.");
        }
        let (revision, file) = rest.split_once('/').unwrap_or((rest, ""));
        if ![commit, "main"].contains(&revision) {
            return plain(&mut stream, "404 Not Found", &["X-Error-Code: RevisionNotFound"], b"");
        }
        if path != asked {
            let siblings: Vec<_> = files.keys().map(|f| serde_json::json!({ "rfilename": f })).collect();
            let info = serde_json::json!({ "sha": commit, "siblings": siblings }).to_string();
            return plain(&mut stream, "200 OK", &["Content-Type: application/json"], info.as_bytes());
        }
        let Some(bytes) = files.get(file) else {
            return plain(&mut stream, "404 Not Found", &["X-Error-Code: EntryNotFound"], b"Entry not found");
        };
        let etag = self.etag.map_or_else(|| self.digest(bytes), str::to_owned);
        if file.ends_with(".json") && !cached {
            // As the Hub sends who wants a small file to its cache of them.
            let location = format!("Location: /resolve-cache{}", request.path);
            return plain(&mut stream, "307 Temporary Redirect", &[&location], b"");
        }
        if file.ends_with(".json") {
            let etag = format!("ETag: W/\"{}\"", &etag[..etag.len().min(40)]);
            let body: &[u8] = if request.method == "HEAD" { b"" } else { bytes };
            head(&mut stream, "200 OK", &[&etag], bytes.len())?;
            return stream.write_all(body);
        }
        // Large files lie elsewhere.
        let host = request.headers.get("host").cloned().unwrap_or_default();
        let headers = [
            format!("X-Linked-Size: {}", bytes.len()),
            format!("X-Linked-ETag: \"{etag}\""),
            format!("Location: http://{host}/cdn/{}", self.digest(bytes)),
            "ETag: \"pointer\"".to_owned(),
        ];
        plain(&mut stream, "302 Found", &headers.each_ref().map(String::as_str), b"")
    }

    fn digest(&self, bytes: &[u8]) -> String {
        Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn body(&self, stream: &mut TcpStream, whole: &[u8], range: &str, open: &AtomicBool) -> std::io::Result<()> {
        let fault = self.faults.lock().unwrap().pop_front();
        let asked = range.strip_prefix("bytes=").and_then(|r| r.strip_suffix('-')).and_then(|r| r.parse().ok());
        let start: usize = asked.filter(|_| fault != Some(Fault::Whole)).unwrap_or(0);
        let mut body = whole[start..].to_vec();
        let content = format!("Content-Range: bytes {start}-{}/{}", whole.len() - 1, whole.len());
        let (status, headers): (_, &[&str]) =
            if start > 0 { ("206 Partial Content", &[&content]) } else { ("200 OK", &[]) };
        match fault {
            Some(Fault::Busy) => return plain(stream, "503 Service Unavailable", &[], b""),
            Some(Fault::Short) => drop(body.pop()),
            Some(Fault::Other) => body.iter_mut().for_each(|byte| *byte ^= 1),
            _ => {}
        }
        head(stream, status, headers, body.len())?;
        let half = body.len() / 2;
        match fault {
            _ if self.silent => wait(open),
            Some(Fault::Cut) => stream.write_all(&body[..half]),
            Some(Fault::Stall) => stream.write_all(&body[..half]).and_then(|()| wait(open)),
            Some(Fault::Slow) => {
                stream.write_all(&body[..half])?;
                std::thread::sleep(Duration::from_secs(1));
                stream.write_all(&body[half..])
            }
            _ => stream.write_all(&body),
        }
    }
}

/// Keeps a connection open, and says nothing, for as long as the server is there.
fn wait(open: &AtomicBool) -> std::io::Result<()> {
    while open.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn read(stream: &TcpStream) -> std::io::Result<Request> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let mut headers = BTreeMap::new();
    for line in lines {
        let line = line?;
        let Some((key, value)) = line.split_once(':') else { break };
        headers.insert(key.to_ascii_lowercase(), value.trim().to_owned());
    }
    let mut words = first.split(' ').map(str::to_owned);
    Ok(Request { method: words.next().unwrap_or_default(), path: words.next().unwrap_or_default(), headers })
}

fn head(stream: &mut TcpStream, status: &str, headers: &[&str], length: usize) -> std::io::Result<()> {
    let headers: String = headers.iter().map(|h| format!("{h}\r\n")).collect();
    write!(stream, "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n")
}

fn plain(stream: &mut TcpStream, status: &str, headers: &[&str], body: &[u8]) -> std::io::Result<()> {
    head(stream, status, headers, body.len())?;
    stream.write_all(body)
}

/// The program with this server for the Hub and this folder for `HF_HOME`, and nothing else of the user's.
pub fn client(endpoint: &str, home: &Path) -> Command {
    let mut command = common::mvd();
    for key in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env_remove(key).env_remove(key.to_lowercase());
    }
    for (key, _) in std::env::vars_os() {
        if key
            .to_str()
            .is_some_and(|key| key.starts_with("HF_") || key.starts_with("HUGGING") || key.contains("OFFLINE"))
        {
            command.env_remove(key);
        }
    }
    command.env("HF_ENDPOINT", endpoint).env("HF_HOME", home);
    command
}

impl Server {
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `mvd COMMAND ARGS...`, with a `/` after the endpoint as people write it.
    pub fn run(&self, home: &Path, args: &[&str]) -> Command {
        let mut command = client(&format!("{}/", self.endpoint()), home);
        command.args(args);
        command
    }

    /// What was asked for since the last look.
    pub fn seen(&self) -> Vec<String> {
        std::mem::take(&mut *self.site.seen.lock().unwrap())
    }

    /// How often a large file's bytes were asked for since the last look, and from where on.
    pub fn ranges(&self) -> Vec<String> {
        let bodies = self.seen().into_iter().filter(|line| line.starts_with("GET /cdn/"));
        bodies.map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect()
    }
}

/// A small image teacher, a few thousand bytes of safetensors.
pub fn teacher(dir: &Path, seed: &str) -> Vec<u8> {
    let file = dir.join(format!("teacher-{seed}.safetensors"));
    common::succeed(common::mvd().args(["init", "image"]).arg(&file).args(["--size", "32,2,4", "--seed", seed]));
    std::fs::read(file).unwrap()
}
