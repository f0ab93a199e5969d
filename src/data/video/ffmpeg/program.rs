//! The `ffmpeg` and `ffprobe` programs as processes: their output, their words, and what they are.

use std::io::{BufRead, BufReader, ErrorKind};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::PATIENCE;
use crate::data::error::{Error, Result};

/// Lines of a program's words that are kept, the last ones.
const LINES: usize = 3;
/// How long a program whose output has ended may take to end.
const PARTING: Duration = Duration::from_secs(2);

/// Whether the installed `ffmpeg` is older than 5.1, and has another name for an option; nothing where there is none.
/// A process asks once: what is installed does not change while it runs.
static OLD: OnceLock<Option<bool>> = OnceLock::new();

fn old() -> Option<bool> {
    *OLD.get_or_init(|| {
        let output = Command::new("ffmpeg").arg("-version").stdin(Stdio::null()).stderr(Stdio::null()).output();
        output.ok().map(|output| is_old(&String::from_utf8_lossy(&output.stdout)))
    })
}

/// Whether a program that says this is older than 5.1. Builds from its repository are not.
fn is_old(says: &str) -> bool {
    let version = says.split_whitespace().nth(2).unwrap_or_default().trim_start_matches('n');
    let mut numbers = version.split(['.', '-', '+', '~']).map(|part| part.parse::<u32>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), minor) => (major, minor.unwrap_or(0)) < (5, 1),
        (None, _) => false,
    }
}

/// Whether there is an `ffmpeg` program.
pub(in crate::data) fn is_installed() -> bool {
    old().is_some()
}

/// The option that neither drops nor doubles frames.
pub(in crate::data) fn passthrough() -> [&'static str; 2] {
    if old() == Some(true) { ["-vsync", "passthrough"] } else { ["-fps_mode", "passthrough"] }
}

/// A running program, killed when it is silent too long or no longer wanted.
pub(super) struct Program {
    name: &'static str,
    child: Arc<Mutex<Child>>,
    pub out: BufReader<ChildStdout>,
    alive: Option<Sender<()>>,
    watch: Option<JoinHandle<()>>,
    listener: Option<JoinHandle<Vec<String>>>,
    lost: Arc<AtomicBool>,
}

/// The last lines that a program says, without places in its memory.
fn listen(said: ChildStderr) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in BufReader::new(said).split(b'\n').map_while(std::result::Result::ok) {
        let mut line = String::from_utf8_lossy(&line).trim().to_owned();
        while let Some(at) = line.find(" @ 0x") {
            let end = line[at..].find(']').map_or(line.len(), |len| at + len);
            line.replace_range(at..end, "");
        }
        if !line.is_empty() && !line.starts_with("Last message repeated") && lines.last() != Some(&line) {
            lines.push(line);
            if lines.len() > LINES {
                lines.remove(0);
            }
        }
    }
    lines
}

impl Program {
    /// Starts a program to look at a file; `why` says what for.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub fn start(name: &'static str, path: &Path, why: &str, arguments: impl FnOnce(&mut Command)) -> Result<Program> {
        let mut command = Command::new(name);
        arguments(&mut command);
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.map_err(|error| {
            let reason = match error.kind() {
                ErrorKind::NotFound => "the ffmpeg program, which reads such files, is not installed".to_owned(),
                _ => format!("cannot start {name}: {error}"),
            };
            Error::Program { path: path.to_owned(), reason: joined(why, &reason) }
        })?;
        let (Some(out), Some(said)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(Error::Program { path: path.to_owned(), reason: format!("cannot read what {name} says") });
        };
        let child = Arc::new(Mutex::new(child));
        let (alive, signs) = channel();
        let (watched, lost) = (Arc::clone(&child), Arc::new(AtomicBool::new(false)));
        let is_lost = Arc::clone(&lost);
        let watch = std::thread::spawn(move || {
            let silence = loop {
                match signs.recv_timeout(PATIENCE) {
                    Ok(()) => {}
                    Err(end) => break end,
                }
            };
            if let (RecvTimeoutError::Timeout, Ok(mut child)) = (silence, watched.lock()) {
                is_lost.store(true, Ordering::Relaxed);
                // It may have ended by itself.
                let _ = child.kill();
            }
        });
        let listener = Some(std::thread::spawn(move || listen(said)));
        let out = BufReader::with_capacity(1 << 20, out);
        Ok(Program { name, child, out, alive: Some(alive), watch: Some(watch), listener, lost })
    }

    /// Says that the program is still at work.
    pub fn sign(&self) {
        if let Some(alive) = &self.alive {
            // The watcher ends only with the program.
            let _ = alive.send(());
        }
    }

    /// Waits for a program whose output has ended; what it said, and whether it calls that success.
    pub fn end(&mut self) -> (String, bool) {
        let clock = Instant::now();
        let succeeded = loop {
            let ended = self.child.lock().ok().and_then(|mut child| child.try_wait().ok()).flatten();
            match ended {
                Some(status) => break status.success(),
                None if clock.elapsed() > PARTING => break false,
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        self.stop();
        let lines = self.listener.take().and_then(|listener| listener.join().ok()).unwrap_or_default();
        (lines.join("; "), succeeded)
    }

    /// Whether it was killed for being silent.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// The error of a file of which the program does not give what is expected, in its own words.
    pub fn error(&mut self, path: &Path, reason: &str) -> Error {
        let (said, _) = self.end();
        if self.is_lost() {
            let reason = format!("{} was silent for {} seconds", self.name, PATIENCE.as_secs());
            return Error::Program { path: path.to_owned(), reason };
        }
        let says = if said.is_empty() { String::new() } else { format!("; {} says: {said}", self.name) };
        Error::video(path, format!("{reason}{says}"))
    }

    fn stop(&mut self) {
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

impl Drop for Program {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A reason behind another, if there is one.
pub(super) fn joined(why: &str, reason: &str) -> String {
    if why.is_empty() { reason.to_owned() } else { format!("{why}; {reason}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_apart() {
        for (says, old) in [
            ("ffmpeg version 4.4.2-0ubuntu0.22.04.1 Copyright (c) 2000-2021", true),
            ("ffmpeg version n4.3 Copyright", true),
            ("ffmpeg version 5.0.1 Copyright", true),
            ("ffmpeg version 5.1.9-0+deb12u1 Copyright", false),
            ("ffmpeg version n7.1 Copyright", false),
            ("ffmpeg version 6 Copyright", false),
            ("ffmpeg version N-109468-gd39b34123d Copyright", false),
            ("ffmpeg version 2023-01-01-git-62da0b4a74-full_build Copyright", false),
            ("", false),
        ] {
            assert_eq!(is_old(says), old, "{says}");
        }
    }
}
