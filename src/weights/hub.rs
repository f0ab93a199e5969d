//! Hugging Face repositories by name, through the Hub's own cache: `hf:owner/name`, with `@revision` or `/file` after it.

use std::path::{Path, PathBuf};

use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};

use super::file::{IN_FOLDER, shards};
use super::{Error, Result};

/// The Hub itself, where `HF_ENDPOINT` names no other.
const HUB: &str = "https://huggingface.co";
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
    path.to_str()?.strip_prefix("hf:")
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

    fn repo(&self) -> Repo {
        Repo::with_revision(self.repository.clone(), RepoType::Model, self.revision.clone())
    }
}

/// Where repositories are read from and kept, and as whom.
struct Hub {
    endpoint: String,
    cache: Cache,
    api: Api,
}

/// The weight file of a repository, in the cache; none if the path names no repository.
///
/// # Errors
/// A name of another form, a repository or file that there is not or that is closed, no network, a download cut off.
pub(super) fn local(path: &Path) -> Result<Option<PathBuf>> {
    let Some(text) = after_scheme(path) else { return Ok(None) };
    let name = Name::parse(text)?;
    Hub::from_env(&name)?.weights(&name).map(Some)
}

impl Hub {
    /// As `HF_ENDPOINT`, `HF_HOME`, `HF_HUB_CACHE` and `HF_TOKEN` (else the cache's token) say.
    fn from_env(name: &Name) -> Result<Hub> {
        let given = |key: &str| std::env::var(key).ok().filter(|value| !value.is_empty());
        let endpoint = given("HF_ENDPOINT").unwrap_or_else(|| HUB.to_owned()).trim_end_matches('/').to_owned();
        let cache = given("HF_HUB_CACHE").map_or_else(Cache::from_env, |path| Cache::new(path.into()));
        let token = given("HF_TOKEN").or_else(|| cache.token());
        let builder = ApiBuilder::from_cache(cache.clone()).with_endpoint(endpoint.clone()).with_token(token);
        let api = builder.build().map_err(|e| failed(name, None, &endpoint, &e))?;
        Ok(Hub { endpoint, cache, api })
    }

    /// The repository's weight file and what belongs to it: its shards, its `config.json`.
    fn weights(&self, name: &Name) -> Result<PathBuf> {
        let cached = self.cache.repo(name.repo());
        let usual = || IN_FOLDER.iter().find_map(|file| cached.get(file));
        let found = match &name.file {
            Some(file) => cached.get(file),
            None => usual(),
        };
        if let Some(path) = found.filter(|path| complete(path)) {
            return Ok(path);
        }
        let repo = self.api.repo(name.repo());
        let info = repo.info().map_err(|e| failed(name, None, &self.endpoint, &e))?;
        let files: Vec<String> = info.siblings.into_iter().map(|s| s.rfilename).collect();
        let chosen = choose(name, &files)?;
        let folder = chosen.rsplit_once('/').map_or("", |(folder, _)| folder);
        let beside = |file: &str| if folder.is_empty() { file.to_owned() } else { format!("{folder}/{file}") };
        let config = beside("config.json");
        if files.contains(&config) {
            self.fetch(&repo, name, &config)?;
        }
        let path = self.fetch(&repo, name, &chosen)?;
        if chosen.ends_with(".json") {
            for shard in shards(&path)?.1 {
                self.fetch(&repo, name, &beside(&shard))?;
            }
        }
        Ok(path)
    }

    /// One file, from the cache or downloaded with a bar on a terminal; a download that was cut off goes on.
    fn fetch(&self, repo: &ApiRepo, name: &Name, file: &str) -> Result<PathBuf> {
        let failed = |e: &ApiError| failed(name, Some(file), &self.endpoint, e);
        if let Some(path) = self.cache.repo(name.repo()).get(file) {
            return Ok(path);
        }
        let about = self.api.metadata(&repo.url(file)).map_err(|e| failed(&e))?;
        // Both become names of files in the cache.
        for (header, value) in [("ETag", about.etag()), ("X-Repo-Commit", about.commit_hash())] {
            if !plain(value) {
                return Err(wrong(name, file, format!("{} sent an unusable {header}, {value:?}", self.endpoint)));
            }
        }
        let path = repo.download(file).map_err(|e| failed(&e))?;
        let got = std::fs::metadata(&path).map_or(0, |m| m.len());
        if got != about.size() as u64 {
            // Neither kept as if it were whole, nor gone on with.
            let _ = std::fs::remove_file(self.cache.repo(name.repo()).blob_path(about.etag()));
            let _ = std::fs::remove_file(&path);
            return Err(wrong(name, file, format!("the download was cut off: {got} of {} bytes came", about.size())));
        }
        Ok(path)
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
            false => Err(wrong(name, file, format!("no such file; its weight files: {}", listed(&weights)))),
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
            Err(Error::Repository { repository: name.repository.clone(), file: None, reason })
        }
    }
}

fn wrong(name: &Name, file: &str, reason: String) -> Error {
    Error::Repository { repository: name.repository.clone(), file: Some(file.to_owned()), reason }
}

fn failed(name: &Name, file: Option<&str>, endpoint: &str, error: &ApiError) -> Error {
    let what = if file.is_some() { "file" } else { "repository" };
    let revision = &name.revision;
    let reason = match error {
        ApiError::RequestError(inner) => match inner.as_ref() {
            ureq::Error::StatusCode(404) => format!("{endpoint} has no such {what} at revision {revision} (404)"),
            ureq::Error::StatusCode(code @ (401 | 403)) => format!(
                "{endpoint} refuses it ({code}): there is no such {what}, or it is private or gated; \
                 set HF_TOKEN to a token that may read it"
            ),
            ureq::Error::StatusCode(code) => format!("{endpoint} answered {code}"),
            other => format!("cannot reach {endpoint}: {other}"),
        },
        ApiError::IoError(error) => format!("the download was cut off: {error}; the same command goes on with it"),
        ApiError::InvalidResume => {
            "what an earlier download left in the cache is longer than the file; remove it".into()
        }
        other => other.to_string(),
    };
    Error::Repository { repository: name.repository.clone(), file: file.map(str::to_owned), reason }
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
