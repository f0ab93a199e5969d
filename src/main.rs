//! The `mvd` program.

fn main() -> std::process::ExitCode {
    // Rust ignores the signal of a closed pipe, and then `mvd bench | head` would end in a panic.
    #[cfg(unix)]
    // SAFETY: no other thread runs yet, and the default action is no function of ours.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
    cut_small();
    mvd::cli::main()
}

/// Lets lavapipe, software Vulkan, cut each dispatch into four parts a core, where `LP_NUM_THREADS` does not say otherwise.
/// Its threads take a part each until none is left; by default there is one a core, so that all wait for the slowest core.
fn cut_small() {
    const THREADS: &str = "LP_NUM_THREADS";
    if std::env::var_os(THREADS).is_none() {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        // SAFETY: no other thread runs yet.
        unsafe { std::env::set_var(THREADS, (4 * cores).to_string()) };
    }
}
