//! Signals that end a run after the step at hand: SIGINT (Ctrl-C), SIGTERM, and on Unix SIGUSR1, which `mpirun` hands on to all of its
//! processes, and SIGPIPE, when nobody reads the output any more. A second SIGINT or SIGTERM ends the program at once.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use super::Failure;
use crate::ranks::Launch;
use crate::train::signal_name;

/// What a shell adds to a signal's number for the exit status of a program that it ended.
pub(super) const BY_SIGNAL: i32 = 128;

/// The end of a command by a signal.
#[derive(Debug, thiserror::Error)]
#[error("stopped by {} {what}", signal_name(*signal))]
pub(super) struct Stopped {
    /// The signal.
    pub signal: i32,
    /// After how much, and how to go on.
    pub what: String,
}

/// Whether to stop.
#[derive(Clone, Default)]
pub(super) struct Stop(Arc<AtomicUsize>);

impl Stop {
    /// Listens from now on, in a command that trains.
    pub fn listen() -> Result<Stop, Failure> {
        Stop::listen_in("ends after the step at hand, with a checkpoint; once more ends it at once")
    }

    /// Listens from now on; `said` is printed once a signal has come.
    pub fn listen_in(said: &'static str) -> Result<Stop, Failure> {
        let (stop, again) = (Stop::default(), Arc::new(AtomicBool::new(false)));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal only arms the one that ends at once.
            flag::register_conditional_shutdown(signal, BY_SIGNAL + signal, Arc::clone(&again))?;
            flag::register(signal, Arc::clone(&again))?;
            flag::register_usize(signal, Arc::clone(&stop.0), signal as usize)?;
        }
        #[cfg(unix)]
        for signal in [libc::SIGUSR1, libc::SIGPIPE] {
            flag::register_usize(signal, Arc::clone(&stop.0), signal as usize)?;
        }
        if Launch::of_env().size > 1 {
            // A launcher also ends processes this way when another has failed, and then nothing is saved.
            return Ok(stop);
        }
        let heard = stop.clone();
        // A handler of signals may not print. The thread ends with the program.
        std::thread::spawn(move || {
            while heard.signal().is_none() {
                std::thread::sleep(Duration::from_millis(100));
            }
            let _ = writeln!(std::io::stderr(), "mvd: {said}");
        });
        Ok(stop)
    }

    /// The signal that came, if one did.
    pub fn signal(&self) -> Option<i32> {
        Some(self.0.load(Ordering::Relaxed) as i32).filter(|signal| *signal != 0)
    }
}
