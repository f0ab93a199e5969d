//! How bytes get from one rank to another: the one thing that differs between MPI and a process alone.

use std::time::Duration;

use super::error::Error;

/// How long an answer may take, and what to say if it does not come.
#[derive(Debug, Clone)]
pub struct Wait {
    /// The longest time without one.
    pub patience: Duration,
    /// What the user can do then.
    pub advice: String,
}

/// A connection of every rank with every other.
pub trait Link {
    /// This process, from 0.
    fn rank(&self) -> usize;

    /// How many there are.
    fn size(&self) -> usize;

    /// The number of this process among those on its host, and how many those are.
    fn local(&self) -> (usize, usize);

    /// A rank, its process and host, as launchers name processes that fail.
    fn named(&self, rank: usize) -> String;

    /// Sends `send[r]` to every other rank r and fills `recv[r]` with what that rank sends, of as many bytes. The entries
    /// of this rank itself are left alone.
    ///
    /// # Errors
    /// The library refuses. A rank that is gone or does not answer in time ends the job.
    fn all_to_all(&self, send: &[&[u8]], recv: &mut [&mut [u8]], wait: &Wait) -> Result<(), Error>;

    /// Ends all ranks.
    fn abort(&self, code: i32) -> !;
}

/// A process alone.
pub struct Alone;

impl Link for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn local(&self) -> (usize, usize) {
        (0, 1)
    }

    fn named(&self, rank: usize) -> String {
        format!("rank {rank} (process {})", std::process::id())
    }

    fn all_to_all(&self, _send: &[&[u8]], _recv: &mut [&mut [u8]], _wait: &Wait) -> Result<(), Error> {
        Ok(())
    }

    fn abort(&self, code: i32) -> ! {
        std::process::exit(code)
    }
}
