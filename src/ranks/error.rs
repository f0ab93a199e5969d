//! What goes wrong among ranks.

/// What goes wrong among ranks.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program cannot talk to the others.
    #[error(
        "{told_by} says that {size} processes were started together, but this mvd is built without MPI and each would train \
         alone: build it with `cargo build --release --features mpi` (see docs/clusters.md), or start one process"
    )]
    NoFeature {
        /// The variable that says so.
        told_by: &'static str,
        /// Processes.
        size: usize,
    },
    /// MPI found other processes than the launcher started.
    #[error(
        "{told_by} says that {expected} processes were started together, MPI found {found}: mvd is linked to another MPI \
         library than the one whose mpirun started it; build it against that one (MPI_PKG_CONFIG=ompi or mpich), or start it \
         with its own mpirun"
    )]
    OtherLibrary {
        /// The variable that says so.
        told_by: &'static str,
        /// Processes that the launcher started.
        expected: usize,
        /// Processes that MPI knows.
        found: usize,
    },
    /// A rank has another value than rank 0.
    #[error("{}: {what} are not those of rank 0; {advice}", named(ranks))]
    Differ {
        /// What should be the same everywhere.
        what: &'static str,
        /// Where it is not.
        ranks: Vec<usize>,
        /// What can be done.
        advice: &'static str,
    },
    /// A rank sent something of another length than was expected.
    #[error("rank {rank} sent {got} bytes, expected {expected}: all ranks must run the same mvd")]
    Length {
        /// Who sent.
        rank: usize,
        /// Bytes expected.
        expected: usize,
        /// Bytes that came.
        got: usize,
    },
    /// MPI refused.
    #[error("MPI: {0}")]
    Mpi(String),
}

/// `rank 1` or `ranks 1, 3`.
fn named(ranks: &[usize]) -> String {
    let list = ranks.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    if ranks.len() == 1 { format!("rank {list}") } else { format!("ranks {list}") }
}
