//! Ranks over MPI, by messages from each to each: so a rank that does not answer is known by its number.

use std::cell::Cell;
use std::time::{Duration, Instant};

use ferrompi::{Communicator, Request, ThreadLevel};

use super::error::Error;
use super::link::{Link, Wait};

/// How often other processes are looked at while one waits for them.
const LOOK: Duration = Duration::from_millis(250);
/// How long a wait asks without a pause.
const BUSY: Duration = Duration::from_millis(5);
/// The pause after that: ranks on a software adapter need the cores.
const PAUSE: Duration = Duration::from_micros(100);
/// How long a wait may take, once this process was told to end, before that is said.
const TOLD: Duration = Duration::from_millis(500);
/// Bytes of the longest message: MPI counts in 32 bits.
const LONGEST: usize = 1 << 30;

/// Where a rank runs.
struct Home {
    host: String,
    process: i32,
    /// Whether it can be seen from here.
    visible: bool,
}

/// The ranks of MPI's world.
pub(super) struct Mpi {
    world: Communicator,
    homes: Vec<Home>,
    told: Box<dyn Fn() -> Option<i32>>,
    /// Whether it was said that this process waits although it was told to end.
    hinted: Cell<bool>,
    /// Finalizes MPI, after all else.
    _mpi: ferrompi::Mpi,
}

impl From<ferrompi::Error> for Error {
    fn from(error: ferrompi::Error) -> Self {
        Error::Mpi(error.to_string())
    }
}

/// Whether a process of this host runs.
fn runs(process: i32) -> bool {
    // SAFETY: no memory is involved; signal 0 is none.
    let found = unsafe { libc::kill(process, 0) } == 0;
    found || std::io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}

impl Mpi {
    /// Starts MPI, which must not have been started before.
    pub fn start(told: Box<dyn Fn() -> Option<i32>>) -> Result<Mpi, Error> {
        let mpi = ferrompi::Mpi::init_thread(ThreadLevel::Funneled)?;
        let world = mpi.world();
        let mut link = Mpi { world, homes: Vec::new(), told, hinted: Cell::new(false), _mpi: mpi };
        let host = link.world.processor_name()?;
        let mut name = [0u8; 256];
        let len = host.len().min(name.len());
        name[..len].copy_from_slice(&host.as_bytes()[..len]);
        let own = [&(std::process::id() as i32).to_le_bytes()[..], &name].concat();
        let mut all = vec![0u8; own.len() * link.size()];
        link.world.allgather(&own, &mut all)?;
        let home = |bytes: &[u8]| {
            let (process, name) = bytes.split_at(4);
            let process = process.try_into().map_or(0, i32::from_le_bytes);
            let name = String::from_utf8_lossy(name).trim_end_matches('\0').to_owned();
            let visible = name == host && runs(process);
            Home { host: name, process, visible }
        };
        link.homes = all.chunks(own.len()).map(home).collect();
        Ok(link)
    }

    /// Ends the job as it cannot go on. Not an error to be handed on: messages are under way that would never end.
    fn lose(&self, what: &str, wait: &Wait) -> ! {
        eprintln!("mvd: rank {}: {what}; {}", self.rank(), wait.advice);
        self.world.abort(1)
    }

    /// Ends the job if one of these ranks is gone, or has been silent for too long.
    fn look(&self, open: &[usize], began: Instant, wait: &Wait) {
        let gone = |rank: &&usize| self.homes.get(**rank).is_some_and(|home| home.visible && !runs(home.process));
        if let Some(rank) = open.iter().find(gone) {
            self.lose(&format!("{} has ended, which ends the job", self.named(*rank)), wait);
        }
        let silent = || open.iter().map(|rank| self.named(*rank)).collect::<Vec<_>>().join(", ");
        if began.elapsed() > wait.patience {
            let seconds = wait.patience.as_secs();
            self.lose(&format!("no answer for {seconds} s (--rank-timeout) from {}", silent()), wait);
        }
        if began.elapsed() > TOLD && (self.told)().is_some() && !self.hinted.replace(true) {
            // A launcher ends the others when one has died; on another host that cannot be seen from here.
            let (rank, silent, advice) = (self.rank(), silent(), &wait.advice);
            eprintln!(
                "mvd: rank {rank}: told to end while it waits for {silent}; if that is because one has died, {advice}"
            );
        }
    }

    /// Waits until all requests are done; each belongs to a rank.
    fn finish(&self, requests: &mut [Request<'_>], of: &[usize], wait: &Wait) -> Result<(), Error> {
        let (began, mut looked, mut progress) = (Instant::now(), Instant::now(), Instant::now());
        let mut left = requests.len();
        while left > 0 {
            match Request::test_any(requests) {
                Ok(Some(_)) => {
                    (left, progress) = (left - 1, Instant::now());
                    continue;
                }
                Ok(None) => {}
                Err(error) => self.lose(&format!("MPI: {error}"), wait),
            }
            if looked.elapsed() > LOOK {
                let open = requests.iter().zip(of).filter(|(request, _)| !request.is_completed());
                let mut open: Vec<usize> = open.map(|(_, rank)| *rank).collect();
                open.sort_unstable();
                open.dedup();
                self.look(&open, began, wait);
                looked = Instant::now();
            }
            if progress.elapsed() > BUSY {
                std::thread::sleep(PAUSE);
            } else {
                std::thread::yield_now();
            }
        }
        Ok(())
    }
}

impl Link for Mpi {
    fn rank(&self) -> usize {
        self.world.rank() as usize
    }

    fn size(&self) -> usize {
        self.world.size() as usize
    }

    fn local(&self) -> (usize, usize) {
        let own = self.homes.get(self.rank()).map_or("", |home| home.host.as_str());
        let here = || self.homes.iter().enumerate().filter(|(_, home)| home.host == own);
        (here().filter(|(rank, _)| *rank < self.rank()).count(), here().count().max(1))
    }

    fn named(&self, rank: usize) -> String {
        let Some(Home { host, process, .. }) = self.homes.get(rank) else { return format!("rank {rank}") };
        format!("rank {rank} (process {process} on {host})")
    }

    fn all_to_all(&self, send: &[&[u8]], recv: &mut [&mut [u8]], wait: &Wait) -> Result<(), Error> {
        let own = self.rank();
        ferrompi::scope(|scope| {
            let (mut requests, mut of) = (Vec::new(), Vec::new());
            for (rank, place) in recv.iter_mut().enumerate().filter(|(rank, _)| *rank != own) {
                for piece in place.chunks_mut(LONGEST) {
                    requests.push(self.world.irecv(scope, piece, rank as i32, 0)?);
                    of.push(rank);
                }
            }
            for (rank, message) in send.iter().enumerate().filter(|(rank, _)| *rank != own) {
                for piece in message.chunks(LONGEST) {
                    requests.push(self.world.isend(scope, piece, rank as i32, 0)?);
                    of.push(rank);
                }
            }
            Ok(self.finish(&mut requests, &of, wait))
        })?
    }

    fn abort(&self, code: i32) -> ! {
        self.world.abort(code)
    }
}

impl Drop for Mpi {
    fn drop(&mut self) {
        // Finalizing waits for the others, who wait for this one.
        if std::thread::panicking() {
            self.world.abort(101);
        }
    }
}
