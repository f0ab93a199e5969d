//! Hugging Face repositories by name, against a small server on loopback that answers as the Hub does: an API, redirects
//! of large files to another place, ETags, ranges, tokens; and that cuts, lies and refuses.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use mvd::weights::{self, Tensors};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What the server has and how it misbehaves.
#[derive(Default)]
struct Site {
    /// Files of `owner/name`.
    files: BTreeMap<String, Vec<u8>>,
    /// Wanted of who reads `owner/name`.
    token: Option<&'static str>,
    /// The ETag of every file; by default one of each file's own.
    etag: Option<&'static str>,
    /// Send half of the next body of this file that is over 1 byte.
    cut: Mutex<Option<&'static str>>,
    /// Answer every range over 1 byte with the whole file.
    ignores_ranges: AtomicBool,
    /// Request lines and ranges, in order.
    seen: Mutex<Vec<String>>,
}

struct Request {
    path: String,
    headers: BTreeMap<String, String>,
}

struct Server {
    address: SocketAddr,
    site: Arc<Site>,
    open: Arc<AtomicBool>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.open.store(false, Ordering::SeqCst);
        // Wakes the listener, which then sees that it is closed.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(site: Site) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (site, open) = (Arc::new(site), Arc::new(AtomicBool::new(true)));
    let (theirs, still) = (site.clone(), open.clone());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            if !still.load(Ordering::SeqCst) {
                return;
            }
            let site = theirs.clone();
            // A client that hangs up is none of the server's business.
            std::thread::spawn(move || stream.and_then(|s| site.answer(s)));
        }
    });
    Server { address, site, open }
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
    Ok(Request { path: first.split(' ').nth(1).unwrap_or("").to_owned(), headers })
}

impl Site {
    fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let request = read(&stream)?;
        let range = request.headers.get("range").cloned().unwrap_or_default();
        self.seen.lock().unwrap().push(format!("{} {range}", request.path));
        let host = request.headers.get("host").cloned().unwrap_or_default();
        let authorised = match self.token {
            None => true,
            Some(token) => request.headers.get("authorization") == Some(&format!("Bearer {token}")),
        };
        if let Some(file) = request.path.strip_prefix("/cdn/") {
            return self.send(&mut stream, file, &range, &[]);
        }
        if !request.path.starts_with("/owner/name/") && !request.path.starts_with("/api/models/owner/name/") {
            return plain(&mut stream, "404 Not Found", &[], b"Repository not found");
        }
        if !authorised {
            return plain(&mut stream, "401 Unauthorized", &[], b"Invalid username or password.");
        }
        if request.path == "/api/models/owner/name/revision/main" {
            let siblings: Vec<_> = self.files.keys().map(|f| serde_json::json!({ "rfilename": f })).collect();
            let info = serde_json::json!({ "id": "owner/name", "sha": COMMIT, "siblings": siblings });
            return plain(&mut stream, "200 OK", &["Content-Type: application/json"], info.to_string().as_bytes());
        }
        let Some(file) = request.path.strip_prefix("/owner/name/resolve/main/").filter(|f| self.files.contains_key(*f))
        else {
            return plain(&mut stream, "404 Not Found", &[], b"Entry not found");
        };
        let own = format!("\"{}\"", file.replace(['.', '/'], "-"));
        let etag = self.etag.unwrap_or(&own);
        let commit = format!("X-Repo-Commit: {COMMIT}");
        if file.ends_with(".json") {
            return self.send(&mut stream, file, &range, &[&commit, &format!("ETag: {etag}")]);
        }
        // Large files lie elsewhere.
        let size = format!("X-Linked-Size: {}", self.files[file].len());
        let (linked, location) = (format!("X-Linked-ETag: {etag}"), format!("Location: http://{host}/cdn/{file}"));
        plain(&mut stream, "302 Found", &[&commit, &size, &linked, &location, "ETag: \"pointer\""], b"Found")
    }

    fn send(&self, stream: &mut TcpStream, file: &str, range: &str, headers: &[&str]) -> std::io::Result<()> {
        let whole = &self.files[file];
        let (start, end) = range.strip_prefix("bytes=").and_then(|r| r.split_once('-')).unwrap_or(("0", ""));
        let end = end.parse().map_or(whole.len(), |last: usize| last + 1).min(whole.len());
        let ignored = end > 1 && self.ignores_ranges.load(Ordering::SeqCst);
        let start = if ignored { 0 } else { start.parse().unwrap_or(0).min(end) };
        let body = &whole[start..end];
        let range = format!("Content-Range: bytes {start}-{}/{}", end.saturating_sub(1), whole.len());
        let mut cut = self.cut.lock().unwrap();
        let sent = match cut.take_if(|name| *name == file && body.len() > 1) {
            Some(_) => &body[..body.len() / 2],
            None => body,
        };
        head(stream, "206 Partial Content", &[headers, &[&range]].concat(), body.len())?;
        stream.write_all(sent)
    }
}

fn head(stream: &mut TcpStream, status: &str, headers: &[&str], length: usize) -> std::io::Result<()> {
    let headers: String = headers.iter().map(|h| format!("{h}\r\n")).collect();
    write!(stream, "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n")
}

fn plain(stream: &mut TcpStream, status: &str, headers: &[&str], body: &[u8]) -> std::io::Result<()> {
    head(stream, status, headers, body.len())?;
    stream.write_all(body)
}

fn mvd(endpoint: &str, home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mvd"));
    for key in ["HF_TOKEN", "HF_HUB_CACHE", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env_remove(key).env_remove(key.to_lowercase());
    }
    command.env("HF_ENDPOINT", endpoint).env("HF_HOME", home);
    command
}

impl Server {
    fn mvd(&self, home: &Path) -> Command {
        mvd(&format!("http://{}/", self.address), home)
    }

    fn seen(&self) -> Vec<String> {
        std::mem::take(&mut *self.site.seen.lock().unwrap())
    }
}

fn text(output: Output) -> (bool, String) {
    let all = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&all).into_owned();
    assert!(!text.contains("panicked"), "{text}");
    (output.status.success(), text)
}

fn succeed(command: &mut Command) -> String {
    let (success, text) = text(command.output().unwrap());
    assert!(success, "{text}");
    text
}

fn failure(command: &mut Command) -> String {
    let (success, text) = text(command.output().unwrap());
    assert!(!success, "succeeded: {text}");
    text
}

/// A small image teacher in a file.
fn teacher(dir: &Path) -> Vec<u8> {
    let file = dir.join("teacher.safetensors");
    succeed(mvd("http://127.0.0.1:1", dir).args(["init", "image"]).arg(&file).args(["--size", "32,2,4"]));
    std::fs::read(file).unwrap()
}

/// The same in two shards with their index.
fn sharded(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    teacher(dir);
    let all = weights::load(dir.join("teacher.safetensors")).unwrap();
    let mut files = BTreeMap::new();
    let mut map = serde_json::Map::new();
    for shard in 0..2 {
        let name = format!("model-0000{}-of-00002.safetensors", shard + 1);
        let part: Tensors = all
            .iter()
            .enumerate()
            .filter(|(i, _)| i % 2 == shard)
            .map(|(_, (n, t))| (n.to_owned(), t.clone()))
            .collect();
        map.extend(part.iter().map(|(tensor, _)| (tensor.to_owned(), name.clone().into())));
        weights::save(dir.join(&name), &part, &BTreeMap::new()).unwrap();
        files.insert(name.clone(), std::fs::read(dir.join(&name)).unwrap());
    }
    let index = serde_json::json!({ "metadata": {}, "weight_map": map });
    files.insert("model.safetensors.index.json".to_owned(), index.to_string().into_bytes());
    files.insert("config.json".to_owned(), br#"{"num_attention_heads": 4, "image_size": 32}"#.to_vec());
    files.insert("README.md".to_owned(), b"a model".to_vec());
    files
}

#[test]
fn a_sharded_repository_is_read_once() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, home) = (dir.path(), dir.path().join("home"));
    let server = serve(Site { files: sharded(dir), ..Site::default() });
    let report = succeed(server.mvd(&home).args(["inspect", "hf:owner/name"]));
    assert!(report.contains("MAE: dim 32, depth 2") && report.contains("safetensors in 2 files"), "{report}");
    assert!(report.contains("4 (config.json, num_attention_heads)"), "{report}");
    let seen = server.seen();
    let bodies = seen.iter().filter(|line| line.starts_with("/cdn/") && line.ends_with("bytes=0-")).count();
    assert_eq!(bodies, 2, "{seen:?}");
    assert!(seen.iter().all(|line| !line.contains("README")), "{seen:?}");

    assert_eq!(report, succeed(server.mvd(&home).args(["inspect", "hf:owner/name"])));
    assert_eq!(server.seen(), Vec::<String>::new(), "all of it is in the cache");
    let written = dir.join("written");
    drop(server);
    succeed(mvd("http://127.0.0.1:1", &home).args(["convert", "hf:owner/name"]).arg(&written).args(["--to", "hf"]));
    let config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(written.join("config.json")).unwrap()).unwrap();
    assert_eq!((&config["num_attention_heads"], &config["image_size"]), (&4.into(), &32.into()));
    assert_eq!(config["architectures"], serde_json::json!(["ViTMAEModel"]), "an encoder alone");
    let got = weights::load(&written).unwrap();
    let expected = weights::load(dir.join("teacher.safetensors")).unwrap();
    assert!(expected.iter().all(|(name, tensor)| got.get(name) == Some(tensor)));
    // The cache is laid out as other programs expect it.
    let repository = home.join("hub/models--owner--name");
    assert_eq!(std::fs::read_to_string(repository.join("refs/main")).unwrap(), COMMIT);
    assert!(repository.join("snapshots").join(COMMIT).join("config.json").is_file());
}

#[test]
fn what_cannot_be_read_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, home) = (dir.path(), dir.path().join("home"));
    let files = BTreeMap::from([("deep/a.safetensors".to_owned(), teacher(dir)), ("b.pth".to_owned(), vec![0; 9])]);
    let server = serve(Site { files, token: Some("secret"), ..Site::default() });
    let inspect = |name: &str| {
        let mut command = server.mvd(&home);
        command.args(["inspect", name]);
        command
    };
    let unknown = failure(&mut inspect("hf:owner/other"));
    assert!(unknown.contains("hf:owner/other: ") && unknown.contains("no such repository at revision main (404)"));
    let closed = failure(&mut inspect("hf:owner/name"));
    assert!(closed.contains("hf:owner/name: ") && closed.contains("(401)") && closed.contains("HF_TOKEN"), "{closed}");
    let wrong = failure(inspect("hf:owner/name").env("HF_TOKEN", "guess"));
    assert!(wrong.contains("(401)") && !wrong.contains("guess"), "{wrong}");
    let with_token = |name: &str| {
        let mut command = inspect(name);
        command.env("HF_TOKEN", "secret");
        command
    };
    let several = failure(&mut with_token("hf:owner/name"));
    assert!(several.contains("got b.pth, deep/a.safetensors; name one: hf:owner/name/FILE"), "{several}");
    let absent = failure(&mut with_token("hf:owner/name/c.pth"));
    assert!(
        absent.contains("hf:owner/name: c.pth: no such file; its weight files: b.pth, deep/a.safetensors"),
        "{absent}"
    );
    let revision = failure(&mut with_token("hf:owner/name@v2/b.pth"));
    assert!(revision.contains("no such repository at revision v2 (404)") || revision.contains("(404)"), "{revision}");
    assert!(succeed(&mut with_token("hf:owner/name/deep/a.safetensors")).contains("MAE: dim 32"));
    let garbage = failure(&mut with_token("hf:owner/name/b.pth"));
    assert!(garbage.contains("b.pth") && garbage.contains("not a usable weight file"), "{garbage}");
    let form = failure(&mut inspect("hf:owner"));
    assert!(form.contains("expected hf:owner/name"), "{form}");

    let address = server.address;
    drop(server);
    let down = failure(mvd(&format!("http://{address}"), &dir.join("empty")).args(["inspect", "hf:owner/name"]));
    assert!(down.contains("hf:owner/name: ") && down.contains("cannot reach http://127.0.0.1:"), "{down}");
}

#[test]
fn a_download_that_is_cut_off_is_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, home) = (dir.path(), dir.path().join("home"));
    let whole = teacher(dir);
    let files = BTreeMap::from([("model.safetensors".to_owned(), whole.clone())]);
    let server = serve(Site { files, cut: Mutex::new(Some("model.safetensors")), ..Site::default() });
    let cut = failure(server.mvd(&home).args(["inspect", "hf:owner/name"]));
    assert!(cut.contains("hf:owner/name: model.safetensors: the download was cut off"), "{cut}");
    server.seen();
    assert!(succeed(server.mvd(&home).args(["inspect", "hf:owner/name"])).contains("MAE: dim 32"));
    let rest = format!("/cdn/model.safetensors bytes={}-", whole.len() / 2);
    assert!(server.seen().contains(&rest), "the half that came is not asked for again");
    let kept = home.join("hub/models--owner--name/snapshots").join(COMMIT).join("model.safetensors");
    assert_eq!(std::fs::read(kept).unwrap(), whole);

    // A server that sends the whole again makes no file that passes for whole.
    let files = BTreeMap::from([("model.safetensors".to_owned(), whole)]);
    let server = serve(Site { files, cut: Mutex::new(Some("model.safetensors")), ..Site::default() });
    let home = dir.join("other");
    failure(server.mvd(&home).args(["inspect", "hf:owner/name"]));
    server.site.ignores_ranges.store(true, Ordering::SeqCst);
    let longer = failure(server.mvd(&home).args(["inspect", "hf:owner/name"]));
    assert!(longer.contains("hf:owner/name: model.safetensors: ") && longer.contains("bytes came"), "{longer}");
    assert!(succeed(server.mvd(&home).args(["inspect", "hf:owner/name"])).contains("MAE: dim 32"));
}

#[test]
fn a_server_cannot_write_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, home) = (dir.path(), dir.path().join("home"));
    let files = BTreeMap::from([("model.safetensors".to_owned(), teacher(dir))]);
    let server = serve(Site { files, etag: Some("\"../../../../out\""), ..Site::default() });
    let text = failure(server.mvd(&home).args(["inspect", "hf:owner/name"]));
    assert!(text.contains("an unusable ETag") && !home.join("hub/models--owner--name/blobs").exists(), "{text}");
    let index = br#"{"weight_map": {"a": "../../../../../out"}}"#.to_vec();
    let server =
        serve(Site { files: BTreeMap::from([("model.safetensors.index.json".to_owned(), index)]), ..Site::default() });
    let text = failure(server.mvd(&home).args(["inspect", "hf:owner/name"]));
    assert!(text.contains("expected shards beside it, got ../../../../../out"), "{text}");
}

#[test]
fn a_teacher_by_name_trains() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, home) = (dir.path(), dir.path().join("home"));
    let files = BTreeMap::from([("model.safetensors".to_owned(), teacher(dir))]);
    let server = serve(Site { files, ..Site::default() });
    succeed(server.mvd(&home).args(["synth", "--count", "4"]).arg(dir.join("set")));
    let mut distill = server.mvd(&home);
    distill.args(["distill", "--steps", "1", "--batch", "2", "--frames", "4", "--stride", "3", "--input-size", "32"]);
    distill.args(["--patch", "8", "--student", "32,1,2", "--decoder", "16,1,1", "--mask-ratio", "0.5"]);
    distill.args(["--image-teacher-size", "32,2,4", "--video-weight", "0", "--image-teacher", "hf:owner/name"]);
    let text = succeed(distill.arg("--data").arg(dir.join("set/list.txt")).arg("--out").arg(dir.join("run")));
    assert!(text.contains("student: "), "{text}");
    // Pinned to the file that was downloaded: what the name stands for may change.
    let config: toml::Table = std::fs::read_to_string(dir.join("run/config.toml")).unwrap().parse().unwrap();
    let of = |key: &str| config["image_teacher"][key].as_str().unwrap().to_owned();
    let weights = of("weights");
    assert!(weights.starts_with(home.to_str().unwrap()) && weights.ends_with("model.safetensors"), "{weights}");
    assert!(of("digest").starts_with("sha256:"), "{config}");
}
