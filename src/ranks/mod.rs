//! Processes that train together: who they are, and sums over them that are the same to the bit whatever library carries
//! the bytes.
//!
//! The sum does not come from `MPI_Allreduce`, whose order depends on the library, the size of the message and the number
//! of ranks. Each rank owns a slice of what is summed: all send it theirs, it adds them up in the order of ranks, starting
//! from 0.0, and sends the result to all. That is the traffic of a ring.

mod error;
mod launch;
mod link;
#[cfg(feature = "mpi")]
mod mpi;
mod wire;

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::time::{Duration, Instant};

pub use error::Error;
pub use launch::Launch;
use link::Alone;
pub use link::{Link, Wait};
pub use wire::Wire;

/// Times the patience of an exchange that ranks wait for what rank 0 does alone: it saves and validates.
const ALONE: u32 = 60;

/// How ranks talk to each other.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The form in which gradients travel.
    pub wire: Wire,
    /// How long a rank may be silent within a step.
    pub patience: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options { wire: Wire::default(), patience: Duration::from_secs(60) }
    }
}

/// All processes of a job, seen from one of them.
pub struct Ranks {
    link: Box<dyn Link>,
    options: Options,
    /// The command that goes on with the run.
    go_on: RefCell<String>,
    /// Time spent in sums.
    spent: Cell<Duration>,
}

impl Ranks {
    /// A process alone.
    pub fn alone() -> Ranks {
        Ranks::over(Box::new(Alone), Options::default())
    }

    /// The processes that a launcher started together. `told` says by which signal this one was told to end, if it was.
    ///
    /// # Errors
    /// There are several, and the program is built without MPI or its MPI library does not find them.
    pub fn start(launch: &Launch, options: Options, told: impl Fn() -> Option<i32> + 'static) -> Result<Ranks, Error> {
        let Launch { size, told_by, .. } = *launch;
        if size == 1 {
            return Ok(Ranks::alone());
        }
        #[cfg(feature = "mpi")]
        {
            let link = mpi::Mpi::start(Box::new(told))?;
            let found = link.size();
            match found == size {
                true => Ok(Ranks::over(Box::new(link), options)),
                false => Err(Error::OtherLibrary { told_by, expected: size, found }),
            }
        }
        #[cfg(not(feature = "mpi"))]
        {
            let _ = (options, told);
            Err(Error::NoFeature { told_by, size })
        }
    }

    /// The processes that a link connects.
    pub fn over(link: Box<dyn Link>, options: Options) -> Ranks {
        Ranks { link, options, go_on: RefCell::default(), spent: Cell::default() }
    }

    /// This process, from 0.
    pub fn rank(&self) -> usize {
        self.link.rank()
    }

    /// How many there are.
    pub fn size(&self) -> usize {
        self.link.size()
    }

    /// The number of this process among those on its host, and how many those are.
    pub fn local(&self) -> (usize, usize) {
        self.link.local()
    }

    /// All ranks, with process and host: launchers name those of a process that fails.
    pub fn named(&self) -> String {
        (0..self.size()).map(|rank| self.link.named(rank)).collect::<Vec<_>>().join(", ")
    }

    /// Whether this is rank 0, which writes files and speaks to people.
    pub fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// Ends all ranks.
    pub fn abort(&self, code: i32) -> ! {
        self.link.abort(code)
    }

    /// States the command that goes on with the run, for the case that a rank is lost.
    pub fn set_go_on(&self, command: String) {
        *self.go_on.borrow_mut() = command;
    }

    /// Time spent in sums so far.
    pub fn spent(&self) -> Duration {
        self.spent.get()
    }

    fn wait(&self, times: u32) -> Wait {
        let command = self.go_on.borrow();
        let advice = match command.is_empty() {
            true => "training had not begun: start again".to_owned(),
            false => format!("go on from the last checkpoint with the same mpirun and `{command}`"),
        };
        Wait { patience: self.options.patience * times, advice }
    }

    /// Exchanges one message with every rank, its own included.
    fn all_to_all(&self, send: &[&[u8]], recv: &mut [Vec<u8>], wait: &Wait) -> Result<(), Error> {
        let own = self.rank();
        recv[own].copy_from_slice(send[own]);
        let mut places: Vec<&mut [u8]> = recv.iter_mut().map(Vec::as_mut_slice).collect();
        self.link.all_to_all(send, &mut places, wait)
    }

    /// What every rank has, in their order; waits as long as rank 0 may be busy alone.
    ///
    /// # Errors
    /// The library refuses.
    pub fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
        self.gather_within(own, ALONE)
    }

    /// The same within a step.
    ///
    /// # Errors
    /// The library refuses.
    pub fn gather_now(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
        self.gather_within(own, 1)
    }

    fn gather_within(&self, own: &[u8], times: u32) -> Result<Vec<Vec<u8>>, Error> {
        let (size, wait) = (self.size(), self.wait(times));
        let mut lengths = vec![vec![0; 8]; size];
        let length = (own.len() as u64).to_le_bytes();
        self.all_to_all(&vec![&length[..]; size], &mut lengths, &wait)?;
        let length = |bytes: &Vec<u8>| bytes.as_slice().try_into().map_or(0, u64::from_le_bytes) as usize;
        let mut all: Vec<Vec<u8>> = lengths.iter().map(|bytes| vec![0; length(bytes)]).collect();
        self.all_to_all(&vec![own; size], &mut all, &wait)?;
        Ok(all)
    }

    /// Waits for all ranks.
    ///
    /// # Errors
    /// The library refuses.
    pub fn barrier(&self) -> Result<(), Error> {
        self.gather(&[]).map(drop)
    }

    /// What rank 0 has.
    ///
    /// # Errors
    /// The library refuses.
    pub fn broadcast(&self, own: &[u8]) -> Result<Vec<u8>, Error> {
        let own = if self.is_first() { own } else { &[] };
        Ok(self.gather(own)?.swap_remove(0))
    }

    /// That all ranks have the same of `what`.
    ///
    /// # Errors
    /// Ranks whose value is another than rank 0's, by number.
    pub fn agree(&self, what: &'static str, own: &[u8], advice: &'static str) -> Result<(), Error> {
        let all = self.gather(own)?;
        let ranks: Vec<usize> = (0..all.len()).filter(|&rank| all[rank] != all[0]).collect();
        if ranks.is_empty() { Ok(()) } else { Err(Error::Differ { what, ranks, advice }) }
    }

    /// The sum of what all ranks have, element by element: `own` are this rank's parts in order, as many on every rank; parts
    /// are added in the order of ranks, from 0.0 on. Gives the same to all.
    ///
    /// # Errors
    /// The library refuses.
    pub fn sum(&self, own: &[Vec<f32>]) -> Result<Vec<f32>, Error> {
        let clock = Instant::now();
        let (size, rank, wire) = (self.size(), self.rank(), self.options.wire);
        let len = own.first().map_or(0, Vec::len);
        let wait = self.wait(1);
        let slices: Vec<Range<usize>> = (0..size).map(|rank| slice(len, rank, size)).collect();
        // One exchange a part: `parts[i][r]` is rank r's part i of this rank's slice.
        let mut parts = Vec::with_capacity(own.len());
        for part in own {
            let mut sent = vec![Vec::new(); size];
            for (message, slice) in sent.iter_mut().zip(&slices) {
                wire.encode(&part[slice.clone()], message);
            }
            let mut received = vec![vec![0; wire.bytes(slices[rank].len())]; size];
            let sent: Vec<&[u8]> = sent.iter().map(Vec::as_slice).collect();
            self.all_to_all(&sent, &mut received, &wait)?;
            parts.push(received);
        }
        let mut sum = vec![0f32; slices[rank].len()];
        for from in 0..size {
            for part in &parts {
                wire.decode(&part[from], |i, value| sum[i] += value);
            }
        }
        let mut message = Vec::new();
        wire.encode(&sum, &mut message);
        let mut sums: Vec<Vec<u8>> = slices.iter().map(|slice| vec![0; wire.bytes(slice.len())]).collect();
        self.all_to_all(&vec![message.as_slice(); size], &mut sums, &wait)?;
        let mut whole = vec![0f32; len];
        for (slice, message) in slices.into_iter().zip(&sums) {
            let part = &mut whole[slice];
            wire.decode(message, |i, value| part[i] = value);
        }
        self.spent.set(self.spent.get() + clock.elapsed());
        Ok(whole)
    }
}

/// The slice of `len` elements that rank `rank` of `size` adds up.
fn slice(len: usize, rank: usize, size: usize) -> Range<usize> {
    let each = len.div_ceil(size.max(1));
    (rank * each).min(len)..((rank + 1) * each).min(len)
}

#[cfg(test)]
mod tests;
