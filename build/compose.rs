//! Composes WGSL from the files of a folder. Lines that begin with `#` are directives:
//!
//! - `#import NAME` stands for `shared/NAME.wgsl`, once a shader;
//! - `#shader NAME KEY=VALUE ..` makes a shader of this file with `$KEY` replaced; a file may have several, and is one shader of
//!   its own name if it has none;
//! - `#list NAME a b ..` names a list of words;
//! - `#each KEY LIST` .. `#end` repeats the lines between for each word of a list, with `$KEY` replaced.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A composed shader, and for each of its lines the file and line it came from.
#[derive(Default)]
pub struct Composed {
    /// Name of the shader.
    pub name: String,
    /// Its WGSL.
    pub text: String,
    /// `(file, line counted from 1)` of each line.
    pub origin: Vec<(PathBuf, usize)>,
}

/// A line and where it stands.
type Line = (String, PathBuf, usize);

/// Every shader of a folder, by file, or a message that names file and line.
pub fn shaders(folder: &Path) -> Result<Vec<Composed>, String> {
    let mut all = Vec::new();
    for file in files(folder)? {
        let lines = lines(&file)?;
        let (heads, body): (Vec<Line>, Vec<Line>) = lines.into_iter().partition(|l| l.0.starts_with("#shader "));
        if heads.is_empty() {
            let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            all.push(compose(folder, name, BTreeMap::new(), &body)?);
        }
        for head in &heads {
            let mut words = head.0.split_whitespace().skip(1);
            let name = words.next().ok_or_else(|| at(head, "expected `#shader NAME KEY=VALUE ..`"))?.to_owned();
            let pairs = words.map(|word| {
                let (key, value) = word.split_once('=').ok_or_else(|| at(head, "expected KEY=VALUE"))?;
                Ok((key.to_owned(), value.to_owned()))
            });
            let keys = pairs.collect::<Result<_, String>>()?;
            all.push(compose(folder, name, keys, &body)?);
        }
    }
    Ok(all)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "wgsl"))
        .collect();
    files.sort();
    Ok(files)
}

fn lines(file: &Path) -> Result<Vec<Line>, String> {
    let text = fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
    Ok(text.lines().enumerate().map(|(i, line)| (line.to_owned(), file.to_owned(), i + 1)).collect())
}

fn at(line: &Line, message: &str) -> String {
    format!("{}:{}: {message}", line.1.display(), line.2)
}

fn compose(folder: &Path, name: String, keys: BTreeMap<String, String>, body: &[Line]) -> Result<Composed, String> {
    let composed = Composed { name, ..Composed::default() };
    let mut composer = Composer { folder, keys, lists: BTreeMap::new(), seen: HashSet::new(), out: composed };
    composer.add(body)?;
    Ok(composer.out)
}

struct Composer<'a> {
    folder: &'a Path,
    keys: BTreeMap<String, String>,
    lists: BTreeMap<String, Vec<String>>,
    seen: HashSet<String>,
    out: Composed,
}

impl Composer<'_> {
    fn add(&mut self, lines: &[Line]) -> Result<(), String> {
        let mut rest = lines;
        while let Some((line, after)) = rest.split_first() {
            rest = after;
            let words: Vec<&str> = line.0.split_whitespace().collect();
            match words[..] {
                ["#import", name] => self.import(line, name)?,
                ["#list", name, ..] => {
                    self.lists.insert(name.to_owned(), words[2..].iter().map(|&word| word.to_owned()).collect());
                }
                ["#each", key, list] => {
                    let block = block(line, rest)?;
                    rest = &rest[block.len() + 1..];
                    let list = self.replaced(line, list)?;
                    let words = self.lists.get(&list).ok_or_else(|| at(line, &format!("no list `{list}`")))?.clone();
                    for word in words {
                        self.keys.insert(key.to_owned(), word);
                        self.add(block)?;
                    }
                    self.keys.remove(key);
                }
                [first, ..] if first.starts_with('#') => {
                    return Err(at(line, &format!("unknown directive `{}`", line.0)));
                }
                _ => self.push(line)?,
            }
        }
        Ok(())
    }

    fn import(&mut self, line: &Line, name: &str) -> Result<(), String> {
        let name = self.replaced(line, name)?;
        if !self.seen.insert(name.clone()) {
            return Ok(());
        }
        let shared = self.folder.join("shared").join(format!("{name}.wgsl"));
        if !shared.is_file() {
            return Err(at(line, &format!("unknown import `{name}`: no {}", shared.display())));
        }
        self.add(&self::lines(&shared)?)
    }

    fn push(&mut self, line: &Line) -> Result<(), String> {
        self.out.text += &self.replaced(line, &line.0)?;
        self.out.text.push('\n');
        self.out.origin.push((line.1.clone(), line.2));
        Ok(())
    }

    /// The text with every `$KEY` replaced; of several keys that fit, the longest.
    fn replaced(&self, line: &Line, text: &str) -> Result<String, String> {
        let mut parts = text.split('$');
        let mut out = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let fits =
                self.keys.iter().filter(|(key, _)| part.starts_with(key.as_str())).max_by_key(|(key, _)| key.len());
            let (key, value) = fits.ok_or_else(|| at(line, &format!("nothing stands for `${part}`")))?;
            out += value;
            out += &part[key.len()..];
        }
        Ok(out)
    }
}

/// The lines up to the `#end` of a block's first line.
fn block<'a>(first: &Line, lines: &'a [Line]) -> Result<&'a [Line], String> {
    let mut depth = 1;
    for (index, line) in lines.iter().enumerate() {
        match line.0.split_whitespace().next() {
            Some("#each") => depth += 1,
            Some("#end") => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Ok(&lines[..index]);
        }
    }
    Err(at(first, "no `#end`"))
}
