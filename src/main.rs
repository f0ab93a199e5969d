//! The `mvd` program.

fn main() -> std::process::ExitCode {
    mvd::cli::main()
}
