//! `mvd completions` and `mvd man`: all shells, a page of every subcommand.

mod common;

use std::collections::BTreeSet;

use common::{failure, mvd, succeed};

/// The subcommands that a help text lists.
fn subcommands(path: &[&str]) -> Vec<String> {
    let help = succeed(mvd().args(path).arg("--help"));
    let lines = help.lines().skip_while(|line| !line.starts_with("Commands:")).skip(1);
    let lines = lines.take_while(|line| line.starts_with("  "));
    // The name stands in the second column, its words of help further in.
    let names = lines.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn every_shell_completes_every_command() {
    let commands = subcommands(&[]);
    assert!(commands.len() > 20 && commands.contains(&"distill".to_owned()), "{commands:?}");
    for (shell, part) in [
        ("bash", "complete -F _mvd"),
        ("zsh", "#compdef mvd"),
        ("fish", "complete -c mvd"),
        ("elvish", "edit:completion:arg-completer[mvd]"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        let script = succeed(mvd().args(["completions", shell]));
        assert!(script.contains(part), "{shell}: {script}");
        let missing: Vec<_> = commands.iter().filter(|name| !script.contains(name.as_str())).collect();
        assert!(missing.is_empty() && script.contains("image-teacher"), "{shell} lacks {missing:?}");
    }
    let text = failure(mvd().args(["completions", "cmd"]));
    assert!(text.contains("invalid value 'cmd'") && text.contains("powershell"), "{text}");
}

#[test]
fn every_subcommand_has_a_page() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("share/man/man1");
    let text = succeed(mvd().arg("man").arg(&folder));
    assert!(text.contains("wrote mvd.1"), "{text}");
    let mut expected = BTreeSet::from(["mvd.1".to_owned()]);
    for command in subcommands(&[]) {
        expected.insert(format!("mvd-{command}.1"));
        expected.extend(subcommands(&[&command]).into_iter().map(|own| format!("mvd-{command}-{own}.1")));
    }
    assert!(expected.contains("mvd-show-attention.1"), "{expected:?}");
    let pages = std::fs::read_dir(&folder).unwrap().map(|page| page.unwrap().file_name().into_string().unwrap());
    assert_eq!(pages.collect::<BTreeSet<_>>(), expected);
    let page = std::fs::read_to_string(folder.join("mvd-distill.1")).unwrap();
    assert!(page.contains(".TH mvd-distill 1") && page.contains("Train a student from frozen teachers"), "{page}");
    std::fs::write(dir.path().join("file"), "").unwrap();
    let text = failure(mvd().arg("man").arg(dir.path().join("file/man")));
    assert!(text.contains("cannot write the manual to "), "{text}");
}
