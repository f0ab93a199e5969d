//! The `mvd` program.

fn main() -> std::process::ExitCode {
    // Rust ignores the signal of a closed pipe, and then `mvd bench | head` would end in a panic.
    #[cfg(unix)]
    // SAFETY: no other thread runs yet, and the default action is no function of ours.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
    cut_small();
    #[cfg(target_os = "linux")]
    own_runtime_folder();
    mvd::cli::main()
}

/// Runs lavapipe with four threads a core unless `LP_NUM_THREADS` is set. lavapipe splits a dispatch evenly over its threads, so with
/// one a core every dispatch waits for the slowest core.
fn cut_small() {
    const THREADS: &str = "LP_NUM_THREADS";
    if std::env::var_os(THREADS).is_none() {
        // Of those that train together on this machine, each has its share.
        let cores = mvd::ranks::Launch::of_env().own_cores();
        // SAFETY: no other thread runs yet.
        unsafe { std::env::set_var(THREADS, (4 * cores).to_string()) };
    }
}

/// Names a private folder of this user's as `XDG_RUNTIME_DIR` where the session has none: Mesa's drivers print an error without one.
#[cfg(target_os = "linux")]
fn own_runtime_folder() {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};
    const FOLDER: &str = "XDG_RUNTIME_DIR";
    if std::env::var_os(FOLDER).is_some_and(|folder| std::path::Path::new(&folder).is_dir()) {
        return;
    }
    // SAFETY: no memory is involved.
    let user = unsafe { libc::getuid() };
    let folder = std::env::temp_dir().join(format!("mvd-{user}"));
    // One that is there already may be somebody else's.
    let made = std::fs::DirBuilder::new().mode(0o700).create(&folder);
    let own = |about: std::fs::Metadata| about.is_dir() && about.uid() == user && about.mode() & 0o077 == 0;
    if made.is_ok() || folder.symlink_metadata().is_ok_and(own) {
        // SAFETY: no other thread runs yet.
        unsafe { std::env::set_var(FOLDER, folder) };
    }
}
