//! The `mvd` program.

fn main() -> std::process::ExitCode {
    // Rust ignores the signal of a closed pipe, and then `mvd bench | head` would end in a panic.
    #[cfg(unix)]
    // SAFETY: no other thread runs yet, and the default action is no function of ours.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
    mvd::cli::main()
}
