//! `mvd completions` and `mvd man`

use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, Command};
use clap_complete::Shell;

use super::Failure;
use super::report::say;

#[derive(Args)]
pub(super) struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Args)]
pub(super) struct ManArgs {
    /// Folder to write mvd.1 and a page of each subcommand to; it is made if need be.
    dir: PathBuf,
}

/// Prints a shell's completions of the whole program.
pub(super) fn completions(args: &CompletionsArgs, mut command: Command) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "mvd", &mut script);
    Ok(std::io::stdout().write_all(&script)?)
}

/// Writes the manual.
pub(super) fn man(args: &ManArgs, command: Command) -> Result<(), Failure> {
    let failed = |e| format!("cannot write the manual to {}: {e}", args.dir.display());
    std::fs::create_dir_all(&args.dir).map_err(failed)?;
    clap_mangen::generate_to(command, &args.dir).map_err(failed)?;
    say(&format!("wrote mvd.1 and a page of each subcommand to {}", args.dir.display()));
    Ok(())
}
