//! The program as tests call it.

use std::process::{Command, Stdio};

/// The program, its output piped.
pub fn mvd() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mvd"));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The output of a command that must succeed.
pub fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// The message of a command that must fail.
#[allow(dead_code, reason = "each file of tests compiles this one anew, and not all of them let a command fail")]
pub fn failure(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(!output.status.success(), "{command:?} succeeded");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!text.contains("panicked"), "{text}");
    text
}
