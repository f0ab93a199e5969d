//! What can go wrong between a recording and the GPU.

/// Result of engine calls.
pub type Result<T> = std::result::Result<T, Error>;

/// An engine error; the text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// wgpu found nothing to run on.
    #[error(
        "no GPU adapter found{filter}. Install a driver; on Debian or Ubuntu `apt-get install mesa-vulkan-drivers` \
         brings a software one (lavapipe), see README.md for other systems"
    )]
    NoAdapter {
        /// What restricted the search, if anything.
        filter: String,
    },
    /// `--adapter` names none of those found.
    #[error("no adapter matches `{wanted}`; found: {found}")]
    UnknownAdapter {
        /// The index or part of a name asked for.
        wanted: String,
        /// The adapters there are.
        found: String,
    },
    /// More processes on a host than adapters for them.
    #[error(
        "{processes} processes were started on this host, and there are {adapters} adapters for them: start as many, or list one \
         for each with --adapter, also several times the same (`--adapter 0,0,1,1`); found: {found}"
    )]
    FewAdapters {
        /// Processes.
        processes: usize,
        /// Adapters that may be taken.
        adapters: usize,
        /// The adapters there are.
        found: String,
    },
    /// f16 operands were asked for where they cannot be had.
    #[error(
        "--precision f16 needs cooperative matrices of 8 x 8 or 16 x 16 that multiply f16 and sum f32; adapter {adapter} {reason}: \
         leave it at f32"
    )]
    Precision {
        /// Adapter name.
        adapter: String,
        /// What it lacks.
        reason: String,
    },
    /// f16 operands were asked for without the kernels that take them.
    #[error("--precision f16 needs cooperative matrices, which --kernels portable leaves out: leave one of them away")]
    PortablePrecision,
    /// The driver refused to open the adapter.
    #[error("adapter {adapter} could not be opened: {reason}")]
    Open {
        /// Adapter name.
        adapter: String,
        /// What the driver said.
        reason: String,
    },
    /// A tensor or dispatch exceeds what the adapter takes.
    #[error("{what} needs {needed} {unit}, adapter {adapter} allows {limit} ({name}); try a smaller batch or model")]
    Limit {
        /// The tensor or node.
        what: String,
        /// What it needs.
        needed: u64,
        /// What the adapter allows.
        limit: u64,
        /// Unit of the two numbers.
        unit: &'static str,
        /// wgpu's name of the limit.
        name: &'static str,
        /// Adapter name.
        adapter: String,
    },
    /// An allocation failed.
    #[error(
        "out of GPU memory while allocating {what} ({bytes} bytes, after {allocated} bytes) on {adapter}; \
         try a smaller batch with --accumulate"
    )]
    OutOfMemory {
        /// What was being allocated.
        what: String,
        /// Its size.
        bytes: u64,
        /// What had been allocated before.
        allocated: u64,
        /// Adapter name.
        adapter: String,
    },
    /// The driver reset or lost the device, or a submission never ended.
    #[error("the GPU was lost ({reason}); the last checkpoint is whole, go on with --resume")]
    Lost {
        /// What the driver said.
        reason: String,
    },
    /// wgpu or the driver refused something the plan holds.
    #[error("the driver refused {what}: {reason}")]
    Refused {
        /// Kernel or step.
        what: String,
        /// What it said.
        reason: String,
    },
    /// Host data of another size than the tensor.
    #[error("tensor {tensor} takes {expected} bytes, got {got}")]
    Size {
        /// Tensor name.
        tensor: String,
        /// Bytes it takes.
        expected: usize,
        /// Bytes given.
        got: usize,
    },
    /// No parameter of that name.
    #[error("no parameter {name} in set {set}")]
    NoParam {
        /// Set name.
        set: String,
        /// Parameter name asked for.
        name: String,
    },
}
