//! Locks on files: one process at a time. The system releases them however a process ends.

use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind};
use std::ops::Deref;
use std::path::Path;
use std::thread;
use std::time::Duration;

/// Tries for a second in all: a process that was just killed, or a program that one of its threads was starting, lets go a moment later.
const TRIES: usize = 20;
const PAUSE: Duration = Duration::from_millis(50);

/// A locked file.
#[derive(Debug)]
pub(crate) struct Locked(File);

impl Locked {
    /// Locks a file; nothing if another process holds it. On file systems that know no locks, warns and goes on without.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(file: File, path: &Path) -> io::Result<Option<Locked>> {
        for tried in 1.. {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if tried < TRIES => thread::sleep(PAUSE),
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {
                    log::warn!(
                        "{}: this file system has no locks; see that no other process works here",
                        path.display()
                    );
                    break;
                }
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        Ok(Some(Locked(file)))
    }
}

impl Deref for Locked {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

impl Drop for Locked {
    /// Closing is not enough: a child between fork and exec still has the file, and with it the lock.
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a child between fork and exec does to a lock: the file stays open.
    #[test]
    fn a_lock_ends_though_the_file_is_still_open_elsewhere() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let open = || File::options().write(true).open(file.path()).unwrap();
        let held = open();
        let inherited = held.try_clone().unwrap();
        let lock = Locked::new(held, file.path()).unwrap().unwrap();
        assert!(Locked::new(open(), file.path()).unwrap().is_none());
        drop(lock);
        assert!(Locked::new(open(), file.path()).unwrap().is_some());
        drop(inherited);
    }
}
