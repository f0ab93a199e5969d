//! One process a run: a lock on a file of the run directory.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::lock::Locked;

/// What is locked. It stays empty: Windows lets nobody read a locked file.
pub(super) const LOCK: &str = ".lock";
/// Who holds it.
pub(super) const HOLDER: &str = ".lock-holder";

/// Why a run directory was not locked.
pub(super) enum Refusal {
    /// Another process has it.
    Held(String),
    /// The system said no.
    Io(io::Error),
}

/// Locks a run directory until the value is dropped.
pub(super) fn lock(folder: &Path) -> Result<Locked, Refusal> {
    let path = folder.join(LOCK);
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(Refusal::Io)?;
    let Some(lock) = Locked::new(file, &path).map_err(Refusal::Io)? else {
        let holder = std::fs::read_to_string(folder.join(HOLDER)).unwrap_or_default();
        return Err(Refusal::Held(if holder.is_empty() { "another process".to_owned() } else { holder }));
    };
    std::fs::write(folder.join(HOLDER), this_process()).map_err(Refusal::Io)?;
    Ok(lock)
}

/// The process by number, start of its hold in seconds since 1970, and program.
fn this_process() -> String {
    let program = std::env::args().take(2).collect::<Vec<_>>().join(" ");
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    format!("process {} (`{program}`, since {since} s after 1970)", std::process::id())
}
