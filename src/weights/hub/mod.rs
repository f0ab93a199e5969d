//! Hugging Face repositories by name, through the Hub's own cache: `hf:owner/name`, with `@revision` or `/file` after it.

mod cache;
mod net;
mod transfer;

use std::path::{Path, PathBuf};

use cache::{Folder, yes};
use net::Net;
use transfer::{Wanted, download};

use super::shards::{IN_FOLDER, shards};
use super::{Error, Result};

/// What stands before a repository's name.
const SCHEME: &str = "hf:";
/// Variables by which `huggingface_hub` and `transformers` are kept from the network.
const OFFLINE: [&str; 2] = ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"];
/// Endings of weight files under other names than the usual ones.
const ENDINGS: [&str; 4] = [".safetensors", ".pth", ".pt", ".bin"];

/// What a name says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Name {
    repository: String,
    revision: String,
    file: Option<String>,
}

/// A part of a path that leads nowhere else.
fn plain(part: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
    !part.is_empty() && part != "." && part != ".." && part.chars().all(good)
}

/// What follows `hf:` in a path; none for a path of this machine.
fn after_scheme(path: &Path) -> Option<&str> {
    path.to_str()?.strip_prefix(SCHEME)
}

/// The name of a repository that a path of this machine, where nothing lies, may have been meant for.
pub(super) fn meant(path: &Path) -> Option<String> {
    let text = path.to_str()?;
    let (owner, name) = text.split_once('/')?;
    let file = [".json", ".toml"].iter().chain(&ENDINGS).any(|ending| name.ends_with(ending));
    (plain(owner) && plain(name) && !file).then(|| format!("{SCHEME}{text}"))
}

impl Name {
    fn parse(text: &str) -> Result<Name> {
        let wrong = || Error::Repository {
            repository: text.to_owned(),
            file: None,
            reason: "expected hf:owner/name, hf:owner/name@revision or hf:owner/name/file".to_owned(),
        };
        let mut parts = text.splitn(3, '/');
        let (Some(owner), Some(name)) = (parts.next(), parts.next()) else { return Err(wrong()) };
        let file = parts.next().map(str::to_owned);
        let (name, revision) = name.split_once('@').unwrap_or((name, "main"));
        let inside = file.as_ref().is_none_or(|file| file.split('/').all(plain));
        if !(plain(owner) && plain(name) && plain(revision) && inside) {
            return Err(wrong());
        }
        Ok(Name { repository: format!("{owner}/{name}"), revision: revision.to_owned(), file })
    }

    /// An error about it, or about a file of it.
    fn wrong(&self, file: Option<&str>, reason: String) -> Error {
        Error::Repository { repository: self.repository.clone(), file: file.map(str::to_owned), reason }
    }
}

/// A weight file of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Where it lies in the cache.
    pub path: PathBuf,
    /// A name that stands for the same bytes from now on, with the commit and the file in it.
    pub name: PathBuf,
}

/// The weight file of a repository, in the cache, after a download if need be; none if the path names no repository.
///
/// # Errors
/// A name of another form, a repository or file that there is not or that is closed, no network, a download that broke.
pub(super) fn local(path: &Path) -> Result<Option<Found>> {
    let Some(text) = after_scheme(path) else { return Ok(None) };
    let name = Name::parse(text)?;
    let root = cache::root()
        .ok_or_else(|| name.wrong(None, "this user has no folder for a cache; set HF_HOME to one".to_owned()))?;
    let folder = Folder::of(&root, &name.repository);
    if let Some(found) = cached(&name, &folder) {
        return Ok(Some(found));
    }
    if let Some(key) = OFFLINE.into_iter().find(|key| yes(key)) {
        let cache = folder.path().display();
        return Err(name.wrong(
            name.file.as_deref(),
            format!("no weights of revision {} are in {cache}, and {key} forbids to download them; unset it, or copy them there", name.revision),
        ));
    }
    Download { name: &name, folder: &folder, net: Net::from_env() }.weights().map(Some)
}

/// Whether a path can be opened without a download: it names no repository, or one that the cache has.
///
/// # Errors
/// A name of another form.
pub fn is_local(path: &Path) -> Result<bool> {
    let Some(text) = after_scheme(path) else { return Ok(true) };
    let name = Name::parse(text)?;
    Ok(cache::root().is_some_and(|root| cached(&name, &Folder::of(&root, &name.repository)).is_some()))
}

impl Found {
    fn new(name: &Name, folder: &Folder, commit: &str, file: &str) -> Found {
        let path = folder.snapshot(commit).join(file);
        Found { path, name: format!("{SCHEME}{}@{commit}/{file}", name.repository).into() }
    }
}

/// What the cache has already.
fn cached(name: &Name, folder: &Folder) -> Option<Found> {
    let commit = folder.commit(&name.revision)?;
    let there = |file: &&str| folder.snapshot(&commit).join(file).exists();
    let file = match &name.file {
        Some(file) => Some(file.as_str()).filter(there),
        None => IN_FOLDER.into_iter().find(there),
    };
    Some(Found::new(name, folder, &commit, file?)).filter(|found| complete(&found.path))
}

/// A repository that is downloaded.
struct Download<'a> {
    name: &'a Name,
    folder: &'a Folder,
    net: Net,
}

impl Download<'_> {
    /// The repository's weight file and what belongs to it: its shards, its `config.json`.
    fn weights(&self) -> Result<Found> {
        let name = self.name;
        let info = self.net.info(&name.repository, &name.revision);
        let info = info.map_err(|refusal| name.wrong(None, refusal.reason()))?;
        // It becomes the name of a folder in the cache.
        let commit = info["sha"].as_str().unwrap_or("none");
        if !plain(commit) {
            return Err(name.wrong(None, format!("{} sent an unusable commit, {commit:?}", self.net.endpoint)));
        }
        let files = info["siblings"].as_array().into_iter().flatten();
        let files: Vec<String> = files.filter_map(|file| file["rfilename"].as_str().map(str::to_owned)).collect();
        let chosen = choose(name, &files)?;
        let folder = chosen.rsplit_once('/').map_or("", |(folder, _)| folder);
        let beside = |file: &str| if folder.is_empty() { file.to_owned() } else { format!("{folder}/{file}") };
        let config = beside("config.json");
        if files.contains(&config) {
            self.fetch(commit, &config)?;
        }
        self.fetch(commit, &chosen)?;
        let found = Found::new(name, self.folder, commit, &chosen);
        if chosen.ends_with(".json") {
            for shard in shards(&found.path)?.1 {
                self.fetch(commit, &beside(&shard))?;
            }
        }
        // Last: until then the revision may stand for what the cache has whole.
        self.folder.note(&name.revision, commit)?;
        Ok(found)
    }

    /// Brings one file of a commit into the cache, if it is not there.
    fn fetch(&self, commit: &str, file: &str) -> Result<()> {
        if self.folder.snapshot(commit).join(file).exists() {
            return Ok(());
        }
        let wrong = |reason| self.name.wrong(Some(file), reason);
        let about = self.net.about(&self.name.repository, commit, file).map_err(|refusal| wrong(refusal.reason()))?;
        // It becomes a file's name in the cache.
        if !plain(&about.etag) {
            return Err(wrong(format!("{} sent an unusable ETag, {:?}", self.net.endpoint, about.etag)));
        }
        let blob = self.folder.blob(&about.etag);
        self.folder.made(&blob)?;
        let _lock = self.folder.lock(&about.etag)?;
        if !blob.exists() {
            let url = self.net.url(&self.name.repository, commit, file);
            let name = format!("{SCHEME}{}/{file}", self.name.repository);
            download(&self.net, &Wanted { name: &name, url: &url, revision: commit, about: &about }, &blob, wrong)?;
        }
        self.folder.link(&about.etag, commit, file).map(drop)
    }
}

/// Whether everything that a cached weight file points to is there too.
fn complete(path: &Path) -> bool {
    let index = path.extension().is_some_and(|e| e == "json");
    !index || shards(path).is_ok_and(|(_, names)| names.iter().all(|name| path.with_file_name(name).is_file()))
}

/// The weight file among a repository's files.
fn choose(name: &Name, files: &[String]) -> Result<String> {
    let listed = |files: &[&String]| match files {
        [] => "none".to_owned(),
        files => files.iter().map(|f| f.as_str()).collect::<Vec<_>>().join(", "),
    };
    let weights: Vec<&String> = files.iter().filter(|f| ENDINGS.iter().any(|end| f.ends_with(end))).collect();
    if let Some(file) = &name.file {
        return match files.contains(file) && file.split('/').all(plain) {
            true => Ok(file.clone()),
            false => Err(name.wrong(Some(file), format!("no such file; its weight files: {}", listed(&weights)))),
        };
    }
    if let Some(file) = IN_FOLDER.iter().find(|file| files.iter().any(|f| f == *file)) {
        return Ok((*file).to_owned());
    }
    match weights.as_slice() {
        [file] if file.split('/').all(plain) => Ok((*file).clone()),
        several => {
            let reason = format!(
                "expected {} or a single weight file, got {}; name one: hf:{}/FILE",
                IN_FOLDER[0],
                listed(several),
                name.repository
            );
            Err(name.wrong(None, reason))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_what_is_none() {
        let name = |text: &str| Name::parse(text).map(|n| (n.repository, n.revision, n.file));
        let of = |repository: &str, revision: &str, file: Option<&str>| {
            (repository.to_owned(), revision.to_owned(), file.map(str::to_owned))
        };
        assert_eq!(name("facebook/vit-mae-base").unwrap(), of("facebook/vit-mae-base", "main", None));
        assert_eq!(name("a/b@v1.0").unwrap(), of("a/b", "v1.0", None));
        assert_eq!(name("a/b@x/y/z.pth").unwrap(), of("a/b", "x", Some("y/z.pth")));
        for bad in ["", "a", "a/", "/b", "../b", "a/b/../c", "a/b//c", "a/b@", "a/b?x", "a b/c", "a/b/"] {
            let message = name(bad).unwrap_err().to_string();
            assert!(message.contains("expected hf:owner/name"), "{bad}: {message}");
        }
        assert_eq!(after_scheme(Path::new("./hf:a/b")), None);
        assert_eq!(after_scheme(Path::new("hf:a/b")), Some("a/b"));
    }

    #[test]
    fn a_weight_file_is_chosen() {
        let pick = |name: &str, files: &[&str]| {
            let files: Vec<String> = files.iter().map(|f| (*f).to_owned()).collect();
            choose(&Name::parse(name).unwrap(), &files).map_err(|e| e.to_string())
        };
        let both = ["pytorch_model.bin", "README.md", "model.safetensors"];
        assert_eq!(pick("a/b", &both).unwrap(), "model.safetensors");
        assert_eq!(pick("a/b/pytorch_model.bin", &both).unwrap(), "pytorch_model.bin");
        assert_eq!(pick("a/b", &["x.pth", "README.md"]).unwrap(), "x.pth");
        let several = pick("a/b", &["x.pth", "y.pth"]).unwrap_err();
        assert!(several.contains("hf:a/b: expected model.safetensors or a single weight file, got x.pth, y.pth"));
        assert!(pick("a/b", &["README.md"]).unwrap_err().contains("got none"));
        let absent = pick("a/b/z.pth", &["x.pth"]).unwrap_err();
        assert_eq!(absent, "hf:a/b: z.pth: no such file; its weight files: x.pth");
        assert!(pick("a/b", &["../../x.pth"]).is_err());
    }
}
