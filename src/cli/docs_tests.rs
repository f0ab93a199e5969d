//! What the pages for people say: commands that parse, links that lead somewhere.

use std::path::{Path, PathBuf};

use clap::CommandFactory;

use super::Cli;

fn pages() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages: Vec<PathBuf> =
        std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    pages.extend(["README.md", "ARCHITECTURE.md"].map(|name| root.join(name)));
    pages.retain(|path| path.extension().is_some_and(|ending| ending == "md"));
    pages.sort();
    pages.into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
}

/// The arguments of a line's `mvd`, up to a comment, a pipe or a redirection.
fn command(line: &str) -> Option<Vec<&str>> {
    let words = line.split_whitespace().skip_while(|word| *word != "mvd");
    let words: Vec<_> = words.take_while(|word| !matches!(*word, "#" | "|" | ">" | "&&" | ";")).collect();
    (!words.is_empty()).then_some(words)
}

#[test]
fn every_command_of_the_pages_parses() {
    let mut count = 0;
    for (path, text) in pages() {
        // Every second part lies between fences. What a variable of the shell holds is not known.
        for block in text.split("\n```").skip(1).step_by(2) {
            // A line that ends in a backslash goes on.
            let lines = block.replace("\\\n", " ");
            let complete = |words: &Vec<&str>| !words.iter().any(|word| word.starts_with("$"));
            for words in lines.lines().skip(1).filter_map(command).filter(complete) {
                let parsed = Cli::command().try_get_matches_from(&words);
                assert!(parsed.is_ok(), "{}: `{}`: {}", path.display(), words.join(" "), parsed.unwrap_err());
                count += 1;
            }
        }
    }
    assert!(count >= 30, "{count} commands");
}

#[test]
fn every_link_between_the_pages_leads_somewhere() {
    let mut count = 0;
    for (path, text) in pages() {
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.starts_with("http") {
                continue;
            }
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            assert!(file.exists(), "{}: no {target}", path.display());
            let is_heading = |line: &str| {
                line.starts_with('#') && line.trim_start_matches(['#', ' ']).to_lowercase().replace(' ', "-") == heading
            };
            let found = heading.is_empty() || std::fs::read_to_string(&file).unwrap().lines().any(is_heading);
            assert!(found, "{}: no heading of {target}", path.display());
            count += 1;
        }
    }
    assert!(count >= 20, "{count} links");
}
