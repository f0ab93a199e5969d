//! What a launcher (`mpirun`, `srun`) says in the environment of each process it starts.

/// One process among those that a launcher started together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Launch {
    /// Number of processes; 1 without a launcher.
    pub size: usize,
    /// Number of processes on this host, where the launcher says it.
    pub local_size: Option<usize>,
    /// The variable that gave the number of processes.
    pub told_by: &'static str,
}

/// Variables of the number of processes: Open MPI, MPICH and Intel MPI, MVAPICH.
const SIZES: [&str; 3] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE"];
const LOCAL_SIZES: [&str; 3] = ["OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "MV2_COMM_WORLD_LOCAL_SIZE"];

impl Launch {
    /// What the environment of this process says.
    pub fn of_env() -> Launch {
        Launch::of(|name| std::env::var(name).ok())
    }

    /// What these variables say.
    fn of(variable: impl Fn(&str) -> Option<String>) -> Launch {
        let number = |name: &str| variable(name)?.trim().parse::<usize>().ok();
        let first = |names: &[&'static str]| names.iter().find_map(|name| Some((number(name)?, *name)));
        // A batch script has the numbers of its job, but only a step of `srun` starts a process for each task.
        let step = || number("SLURM_STEP_ID").and_then(|_| first(&["SLURM_STEP_NUM_TASKS"]));
        // PMIx gives no number of processes; one that is not the first has at least one before it.
        let pmix = || first(&["PMIX_RANK"]).filter(|(rank, _)| *rank > 0).map(|(rank, name)| (rank + 1, name));
        let (size, told_by) = first(&SIZES).or_else(step).or_else(pmix).unwrap_or((1, ""));
        Launch { size: size.max(1), local_size: first(&LOCAL_SIZES).map(|(value, _)| value), told_by }
    }

    /// Cores for this process, of `visible` ones: a launcher that binds its processes shows each its own cores alone, else those
    /// on one host share `all`.
    pub fn cores(&self, visible: usize, all: usize) -> usize {
        match self.local_size {
            Some(sharing) if visible >= all => (visible / sharing.max(1)).max(1),
            _ => visible.max(1),
        }
    }

    /// Cores for this process.
    pub fn own_cores(&self) -> usize {
        let visible = std::thread::available_parallelism().map_or(1, usize::from);
        self.cores(visible, online().unwrap_or(visible))
    }
}

/// Cores of this machine, those included that this process may not use.
#[cfg(unix)]
fn online() -> Option<usize> {
    // SAFETY: no memory is involved.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) }).ok()
}

#[cfg(not(unix))]
fn online() -> Option<usize> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Launch {
        Launch::of(|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn launchers_are_told_by_their_variables() {
        let ompi = of(&[("OMPI_COMM_WORLD_SIZE", "4"), ("OMPI_COMM_WORLD_LOCAL_SIZE", "2")]);
        assert_eq!((ompi.size, ompi.local_size, ompi.told_by), (4, Some(2), SIZES[0]));
        let mpich = of(&[("PMI_SIZE", "2"), ("MPI_LOCALNRANKS", "2")]);
        assert_eq!((mpich.size, mpich.local_size), (2, Some(2)));
        let slurm = of(&[("SLURM_STEP_ID", "0"), ("SLURM_STEP_NUM_TASKS", "8")]);
        assert_eq!(slurm.size, 8);
        assert_eq!(of(&[("PMIX_RANK", "2")]).size, 3, "at least");
    }

    #[test]
    fn one_process_is_no_job() {
        assert_eq!(of(&[]).size, 1);
        assert_eq!(of(&[("SLURM_STEP_NUM_TASKS", "8")]).size, 1, "a batch script");
        assert_eq!(of(&[("PMIX_RANK", "0"), ("PMI_SIZE", "1")]).size, 1);
        assert_eq!(of(&[("PMI_SIZE", "many")]).size, 1);
    }

    #[test]
    fn cores_are_shared_unless_they_are_bound() {
        let two = of(&[("PMI_SIZE", "2"), ("MPI_LOCALNRANKS", "2")]);
        assert_eq!((two.cores(8, 8), two.cores(4, 8), two.cores(1, 1)), (4, 4, 1));
        assert_eq!(of(&[]).cores(8, 8), 8);
    }
}
