//! Training on several GPUs and machines: each process, or rank, is one `mvd` that `mpirun` or `srun` started.

use std::time::Duration;

use clap::Args;

use super::stop::{BY_SIGNAL, Stop};
use super::{Failure, signal};
use crate::ranks::{Error, Launch, Options, Ranks, Wire};

/// Commands that are shared out among ranks.
const TRAINING: [&str; 3] = ["distill", "pretrain", "finetune"];
/// How long another rank's error waits for rank 0's, which is most often the same and then ends the job.
const BEHIND: Duration = Duration::from_secs(1);

#[derive(Args, Clone)]
pub(super) struct RankArgs {
    /// Under mpirun, the form in which gradients travel: f16 and bf16 halve the traffic, and results are then no longer those of one
    /// process to the bit.
    #[arg(long, value_enum, default_value_t)]
    wire: Wire,
    /// Under mpirun, seconds for which a rank may give no answer within a step.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    rank_timeout: u64,
}

/// Refuses several processes for a command that each would run alone.
pub(super) fn expect_training(command: &str) -> Result<(), Failure> {
    let Launch { size, told_by, .. } = Launch::of_env();
    if size == 1 {
        return Ok(());
    }
    if !cfg!(feature = "mpi") {
        return Err(Error::NoFeature { told_by, size }.into());
    }
    if !TRAINING.contains(&command) {
        let text = format!(
            "{command}: {told_by} says that {size} processes were started together, but only {} share their work: start one",
            TRAINING.join(", ")
        );
        return Err(text.into());
    }
    Ok(())
}

/// Does training work with all processes that were started together. Rank 0 alone writes to standard output. An error of any
/// ends all.
pub(super) fn together(
    args: &RankArgs,
    work: impl FnOnce(&Ranks, &Stop) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let stop = Stop::listen()?;
    let options = Options { wire: args.wire, patience: Duration::from_secs(args.rank_timeout.max(1)) };
    let told = stop.clone();
    let ranks = Ranks::start(&Launch::of_env(), options, move || told.signal())?;
    if !ranks.is_first() {
        silence()?;
    }
    let done = work(&ranks, &stop);
    match done {
        Err(error) if ranks.size() > 1 => match signal(error.as_ref()) {
            // All have stopped after the same step.
            Some(_) if ranks.is_first() => Err(error),
            Some(signal) => {
                drop(ranks);
                std::process::exit(BY_SIGNAL + signal)
            }
            None => {
                if !ranks.is_first() {
                    std::thread::sleep(BEHIND);
                }
                // Told to end meanwhile: another rank has said what is wrong.
                if ranks.is_first() || stop.signal().is_none() {
                    eprintln!("mvd: rank {}: {error}", ranks.rank());
                }
                ranks.abort(1)
            }
        },
        done => done,
    }
}

/// Drops what this process writes to standard output from now on.
#[cfg(unix)]
fn silence() -> Result<(), Failure> {
    use std::os::fd::AsRawFd;
    let nowhere = std::fs::OpenOptions::new().write(true).open("/dev/null")?;
    // SAFETY: both are open files.
    match unsafe { libc::dup2(nowhere.as_raw_fd(), libc::STDOUT_FILENO) } {
        -1 => Err(std::io::Error::last_os_error().into()),
        _ => Ok(()),
    }
}

#[cfg(not(unix))]
fn silence() -> Result<(), Failure> {
    Ok(())
}
