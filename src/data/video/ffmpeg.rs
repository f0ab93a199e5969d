//! Videos of any kind through the `ffmpeg` and `ffprobe` programs: frames come over a pipe, as it would show them.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Facts, Frames, Reader, Video, span};
use crate::data::error::{Error, Result};

/// How long a program, or a library, may be silent.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// Pixels of the largest frame that is taken.
pub(super) const LARGEST_FRAME: usize = 1 << 26;

/// What `ffprobe`, or the libraries behind it, says of a video.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    container: String,
    codec: String,
    /// Presentation times in seconds by rank; of some containers unknown.
    times: Vec<Option<f64>>,
    /// Its times are those of frames, so that one can begin at one: mp4, mov, webm, mkv. (In avi they are of packets.)
    seekable: bool,
}

impl Known {
    /// Times may come in any order.
    pub(super) fn new(path: &Path, container: String, codec: String, mut times: Vec<Option<f64>>) -> Result<Known> {
        // The first of several names that a container has; of mp4 it is that of an older one.
        let container = if container == "mov" { "mp4".to_owned() } else { container };
        if times.iter().all(Option::is_some) {
            times.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
        }
        let seekable = seekable(path).map_err(|e| Error::io(path, e))?;
        Ok(Known { container, codec, times, seekable })
    }

    pub(super) fn len(&self) -> usize {
        self.times.len()
    }

    pub(super) fn facts(&self, reader: Reader) -> Facts {
        let times = || self.times.iter().flatten();
        let seconds = times().last().unwrap_or(&0.0) - times().next().unwrap_or(&0.0);
        Facts { container: self.container.clone(), codec: self.codec.clone(), seconds, reader, missing: 0 }
    }

    /// Where to begin for a rank, halfway from the one before; nowhere if times do not tell.
    pub(super) fn seek(&self, rank: usize) -> Option<f64> {
        if !self.seekable {
            return None;
        }
        let before = self.times.get(rank.checked_sub(1)?).copied().flatten()?;
        let own = self.times.get(rank).copied().flatten()?;
        (own > before).then_some((before + own) / 2.0)
    }

    /// Whether a time is that of a rank that can be begun at.
    #[cfg(feature = "ffmpeg")]
    pub(super) fn is_at(&self, rank: usize, time: f64) -> bool {
        let own = self.times.get(rank).copied().flatten();
        self.seek(rank).zip(own).is_some_and(|(from, own)| (time - own).abs() < own - from)
    }

    #[cfg(feature = "ffmpeg")]
    pub(super) fn codec(&self) -> &str {
        &self.codec
    }
}

pub(super) struct External {
    path: PathBuf,
    known: Known,
}

fn seekable(path: &Path) -> std::io::Result<bool> {
    let mut start = [0; 8];
    let count = File::open(path)?.read(&mut start)?;
    Ok(start[..count].starts_with(&[0x1a, 0x45, 0xdf, 0xa3]) || start[4..] == *b"ftyp")
}

/// A running program, killed when it is silent too long or no longer wanted.
struct Program {
    child: Arc<Mutex<Child>>,
    out: BufReader<ChildStdout>,
    alive: Option<Sender<()>>,
    watch: Option<JoinHandle<()>>,
}

impl Program {
    fn start(command: &mut Command) -> std::io::Result<Program> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let out = child.stdout.take().ok_or(ErrorKind::BrokenPipe)?;
        let child = Arc::new(Mutex::new(child));
        let (alive, signs) = channel();
        let watched = Arc::clone(&child);
        let watch = std::thread::spawn(move || {
            while signs.recv_timeout(PATIENCE) == Ok(()) {}
            if let (Err(RecvTimeoutError::Timeout), Ok(mut child)) =
                (signs.recv_timeout(Duration::ZERO), watched.lock())
            {
                // It may have ended by itself.
                let _ = child.kill();
            }
        });
        Ok(Program { child, out: BufReader::with_capacity(1 << 20, out), alive: Some(alive), watch: Some(watch) })
    }

    /// Says that the program is still at work.
    fn sign(&self) {
        if let Some(alive) = &self.alive {
            // The watcher ends only with the program.
            let _ = alive.send(());
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.alive = None;
        if let Ok(mut child) = self.child.lock() {
            // What is no longer read need not go on.
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(watch) = self.watch.take() {
            let _ = watch.join();
        }
    }
}

impl External {
    /// A video of which all is known.
    pub fn of(path: &Path, known: &Known) -> Self {
        External { path: path.to_owned(), known: known.clone() }
    }

    /// Lists the video's frames; `why` says why the built-in decoder does not read it.
    pub fn open(path: &Path, why: &str) -> Result<Self> {
        let mut command = Command::new("ffprobe");
        let entries = "packet=pts_time,flags:stream=codec_name:format=format_name";
        command.args(["-v", "error", "-select_streams", "v:0", "-show_entries", entries, "-of", "csv"]);
        let mut program = match Program::start(command.arg("-i").arg(local(path))) {
            Ok(program) => program,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let hint = "the ffmpeg program, which reads such files, is not installed";
                return Err(Error::video(path, format!("{why}; {hint}")));
            }
            Err(error) => return Err(Error::video(path, format!("{why}; cannot start ffprobe: {error}"))),
        };
        let (mut times, mut container, mut codec) = (Vec::new(), String::new(), String::new());
        let mut line = String::new();
        loop {
            line.clear();
            let count = program.out.read_line(&mut line).map_err(|e| Error::video(path, format!("ffprobe: {e}")))?;
            if count == 0 {
                break;
            }
            program.sign();
            let mut fields = line.trim().split(',');
            let mut field = || fields.next().unwrap_or_default();
            match (field(), field(), field()) {
                // D marks what an edit list hides.
                ("packet", time, flags) if !flags.contains('D') => times.push(time.parse().ok()),
                ("stream", name, _) => name.clone_into(&mut codec),
                ("format", name, _) => name.trim_matches('"').clone_into(&mut container),
                _ => {}
            }
        }
        if times.is_empty() {
            return Err(Error::video(path, format!("{why}; ffprobe finds no video in it either")));
        }
        Ok(External { path: path.to_owned(), known: Known::new(path, container, codec, times)? })
    }

    fn broken(&self, reason: impl Into<String>) -> Error {
        Error::video(&self.path, reason.into())
    }

    /// One frame of a PPM stream: width, height, RGB; none at the end.
    fn picture(&self, out: &mut BufReader<ChildStdout>) -> Result<Option<(usize, usize, Vec<u8>)>> {
        let mut header = Vec::new();
        for _ in 0..3 {
            let limit = 64;
            let mut line = Vec::new();
            out.by_ref().take(limit).read_until(b'\n', &mut line).map_err(|e| self.broken(format!("ffmpeg: {e}")))?;
            header.extend(line);
        }
        if header.is_empty() {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(&header);
        let fields: Vec<&str> = text.split_whitespace().collect();
        let size = |at: usize| fields.get(at).and_then(|f| f.parse::<usize>().ok());
        let (Some(&"P6"), Some(width), Some(height), Some(255)) = (fields.first(), size(1), size(2), size(3)) else {
            return Err(self.broken("ffmpeg sent something that is no frame"));
        };
        if width.saturating_mul(height) > LARGEST_FRAME {
            return Err(self.broken(format!("frames of {width} x {height} pixels are too large")));
        }
        let mut rgb = vec![0; 3 * width * height];
        out.read_exact(&mut rgb).map_err(|e| self.broken(format!("ffmpeg ended within a frame: {e}")))?;
        Ok(Some((width, height, rgb)))
    }
}

/// A path that ffmpeg does not take for an option or a protocol.
pub(in crate::data) fn local(path: &Path) -> std::ffi::OsString {
    let mut name = std::ffi::OsString::from("file:");
    name.push(path);
    name
}

impl Video for External {
    fn len(&self) -> usize {
        self.known.len()
    }

    fn facts(&self) -> Facts {
        self.known.facts(Reader::Program)
    }

    fn known(&self) -> Option<Known> {
        Some(self.known.clone())
    }

    fn frames(&mut self, ranks: &[usize]) -> Result<Frames> {
        let span = span(ranks, self.len(), |reason| self.broken(reason))?;
        let Some((first, last)) = span else { return Ok(Frames::none()) };
        let seek = self.known.seek(first);
        let mut command = Command::new("ffmpeg");
        command.args(["-v", "error", "-nostdin", "-threads", "1"]);
        if let Some(seconds) = seek {
            command.args(["-seek_timestamp", "1", "-ss", &format!("{seconds:.6}")]);
        }
        command.arg("-i").arg(local(&self.path)).args(["-map", "0:v:0", "-fps_mode", "passthrough"]);
        command.args(["-f", "image2pipe", "-c:v", "ppm", "-pix_fmt", "rgb24", "-"]);
        let start = Program::start(&mut command);
        let mut program = start.map_err(|e| self.broken(format!("cannot start ffmpeg: {e}")))?;
        let mut at = if seek.is_some() { first } else { 0 };
        let mut frames = Frames { width: 0, height: 0, rgb: vec![Vec::new(); ranks.len()] };
        while at <= last {
            let (width, height, rgb) = self.picture(&mut program.out)?.ok_or_else(|| {
                self.broken(format!("ffmpeg (5.1 or newer is expected) gives no frame {at} of {}", self.len()))
            })?;
            program.sign();
            let wanted: Vec<usize> = (0..ranks.len()).filter(|i| ranks[*i] == at).collect();
            at += 1;
            frames.put(&self.path, &wanted, (width, height), rgb)?;
        }
        Ok(frames)
    }
}
