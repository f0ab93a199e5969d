//! A run's directory, config and checkpoint taken together: making one, going on with one.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::checkpoint::{Checkpoint, RunDir};
use super::error::Error;
use crate::config::{
    Change, DataConfig, DistillConfig, FinetuneConfig, PretrainConfig, SaveConfig, TeacherConfig, Which, from_toml,
};
use crate::weights::{self, Pinned};

/// Weights that a config names.
pub struct Source<'a> {
    /// The flag that gives them.
    pub flag: &'static str,
    /// The file, or what stands for one.
    pub path: &'a mut PathBuf,
    /// What is in it, once a run has begun with it.
    pub digest: &'a mut String,
    /// Which of its weights.
    pub which: Which,
    /// Whether they are read before the first step alone.
    pub once: bool,
}

/// What the configs of all kinds of runs have.
pub trait RunConfig: Clone + PartialEq + Serialize + DeserializeOwned {
    /// Its set.
    fn data(&mut self) -> &mut DataConfig;

    /// Its checkpoints.
    fn save(&mut self) -> &mut SaveConfig;

    /// What was changed since the run began.
    fn changes(&mut self) -> &mut Vec<Change>;

    /// Where its data lies.
    fn paths(&mut self) -> Vec<&mut PathBuf>;

    /// Weights that it starts from or learns from.
    fn sources(&mut self) -> Vec<Source<'_>>;

    /// What the run learns: all but where files lie, how they are read, and the story of changes.
    fn core(&self) -> Self {
        let mut core = self.clone();
        core.paths().into_iter().for_each(PathBuf::clear);
        core.sources().into_iter().for_each(|source| source.path.clear());
        core.changes().clear();
        core.data().threads = 0;
        core
    }
}

fn data_paths(data: &mut DataConfig) -> [&mut PathBuf; 3] {
    let DataConfig { path, root, index, .. } = data;
    [path, root, index]
}

impl RunConfig for PretrainConfig {
    fn data(&mut self) -> &mut DataConfig {
        &mut self.data
    }

    fn save(&mut self) -> &mut SaveConfig {
        &mut self.save
    }

    fn changes(&mut self) -> &mut Vec<Change> {
        &mut self.changes
    }

    fn paths(&mut self) -> Vec<&mut PathBuf> {
        data_paths(&mut self.data).into()
    }

    fn sources(&mut self) -> Vec<Source<'_>> {
        Vec::new()
    }
}

impl RunConfig for DistillConfig {
    fn data(&mut self) -> &mut DataConfig {
        &mut self.data
    }

    fn save(&mut self) -> &mut SaveConfig {
        &mut self.save
    }

    fn changes(&mut self) -> &mut Vec<Change> {
        &mut self.changes
    }

    fn paths(&mut self) -> Vec<&mut PathBuf> {
        data_paths(&mut self.data).into()
    }

    fn sources(&mut self) -> Vec<Source<'_>> {
        let teachers = [("--image-teacher", &mut self.image_teacher), ("--video-teacher", &mut self.video_teacher)];
        let source = |(flag, teacher): (_, _)| {
            let teacher: &mut Option<TeacherConfig> = teacher;
            let TeacherConfig { weights, digest, which, .. } = teacher.as_mut()?;
            Some(Source { flag, path: weights, digest, which: *which, once: false })
        };
        teachers.into_iter().filter_map(source).collect()
    }
}

impl RunConfig for FinetuneConfig {
    fn data(&mut self) -> &mut DataConfig {
        &mut self.data
    }

    fn save(&mut self) -> &mut SaveConfig {
        &mut self.save
    }

    fn changes(&mut self) -> &mut Vec<Change> {
        &mut self.changes
    }

    fn paths(&mut self) -> Vec<&mut PathBuf> {
        data_paths(&mut self.data).into_iter().chain([&mut self.val]).collect()
    }

    fn sources(&mut self) -> Vec<Source<'_>> {
        let FinetuneConfig { init, init_digest, init_which, .. } = self;
        vec![Source { flag: "--init", path: init, digest: init_digest, which: *init_which, once: true }]
    }
}

/// Makes paths absolute, so that a run goes on from any folder, and pins the weights: of a file seen for the first time
/// its digest is noted, one of another digest is refused. Once a run has `begun`, what is read once is left alone.
fn settle<C: RunConfig>(config: &mut C, begun: bool) -> Result<(), Error> {
    for path in config.paths().into_iter().filter(|path| !path.as_os_str().is_empty()) {
        *path = std::path::absolute(&*path).map_err(|source| Error::Path { path: path.clone(), source })?;
    }
    for Source { flag, path, digest, which, once } in config.sources() {
        if path.as_os_str().is_empty() || (once && begun) {
            continue;
        }
        let Pinned { path: file, digest: found } = weights::pin(&which.of(path)?.0)?;
        if !digest.is_empty() && *digest != found {
            return Err(Error::OtherWeights { flag, path: file, expected: digest.clone(), found });
        }
        (*path, *digest) = (file, found);
    }
    Ok(())
}

/// The values of a config by their keys, such as `optim.lr`.
fn flat(config: &impl Serialize) -> Result<Vec<(String, String)>, Error> {
    fn walk(prefix: &str, table: &toml::Table, out: &mut Vec<(String, String)>) {
        for (key, value) in table {
            let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
            match value {
                toml::Value::Table(table) => walk(&key, table, out),
                value => out.push((key, value.to_string())),
            }
        }
    }
    let mut out = Vec::new();
    walk("", &toml::Table::try_from(config)?, &mut out);
    Ok(out)
}

/// What differs from one config to another, beside the story of changes itself.
fn differences<C: RunConfig>(step: usize, before: &C, after: &C) -> Result<Vec<Change>, Error> {
    let bare = |config: &C| {
        let mut config = config.clone();
        config.changes().clear();
        flat(&config)
    };
    let (before, after) = (bare(before)?, bare(after)?);
    let value = |of: &[(String, String)], key: &str| {
        of.iter().find(|(known, _)| known == key).map_or_else(|| "none".to_owned(), |(_, value)| value.clone())
    };
    let gone = before.iter().filter(|(key, _)| !after.iter().any(|(other, _)| other == key));
    let keys = after.iter().chain(gone).map(|(key, _)| key);
    let changes = keys.map(|key| Change { step, key: key.clone(), from: value(&before, key), to: value(&after, key) });
    Ok(changes.filter(|change| change.from != change.to).collect())
}

/// A run that training can start or go on with.
pub struct Session<C> {
    /// Its directory.
    pub dir: RunDir,
    /// Its config.
    pub config: C,
    /// The checkpoint it goes on from, if there is one.
    pub from: Option<Checkpoint>,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// The config of the run at `path`, from its text.
///
/// # Errors
/// A key is missing, unknown or of another type.
pub fn parse<C: DeserializeOwned>(path: &Path, text: &str) -> Result<C, Error> {
    Ok(from_toml(text, &path.join("config.toml").display().to_string())?)
}

impl<C: RunConfig> Session<C> {
    /// A new run, whose directory is made when training begins.
    ///
    /// # Errors
    /// It exists and is not empty; weights that cannot be read.
    pub fn create(path: &Path, mut config: C) -> Result<Self, Error> {
        RunDir::vacant(path)?;
        settle(&mut config, false)?;
        let dir = RunDir::planned(path, &toml::to_string(&config)?)?;
        Ok(Session { dir, config, from: None, notes: Vec::new() })
    }

    /// A run to go on with, from its newest whole checkpoint. If it was stopped before its first, it starts again, and
    /// what it had logged is kept aside.
    ///
    /// # Errors
    /// There is none, its files are not what they should be, or another process trains there.
    pub fn resume(path: &Path) -> Result<Self, Error> {
        let (mut dir, text) = RunDir::open(path)?;
        let config = parse(path, &text)?;
        let from = dir.newest()?.map(|newest| Checkpoint::load(&newest)).transpose()?;
        let mut notes = Vec::new();
        if from.is_none() {
            let kept = dir.set_aside().map_or_else(String::new, |to| {
                format!("; what was logged and kept so far is moved to {}", to.display())
            });
            notes.push(format!("{} has no checkpoint: training starts again at step 0{kept}", path.display()));
        }
        Ok(Session { dir, config, from, notes })
    }

    /// A new run that rank 0 creates, for another rank, which writes nothing there.
    ///
    /// # Errors
    /// Weights that cannot be read.
    pub fn join(path: &Path, mut config: C) -> Result<Self, Error> {
        settle(&mut config, false)?;
        Ok(Session { dir: RunDir::joined(path), config, from: None, notes: Vec::new() })
    }

    /// A run that rank 0 goes on with, for another rank, once rank 0 has opened it.
    ///
    /// # Errors
    /// Its files are not what they should be, or cannot be seen from here.
    pub fn join_resumed(path: &Path) -> Result<Self, Error> {
        let (_, text) = RunDir::read(path)?;
        let (dir, config) = (RunDir::joined(path), parse(path, &text)?);
        let from = dir.newest()?.map(|newest| Checkpoint::load(&newest)).transpose()?;
        Ok(Session { dir, config, from, notes: Vec::new() })
    }

    /// The same run, going on with this config: what is another value in it is written into the run's `config.toml` with
    /// the step, once training begins.
    ///
    /// # Errors
    /// Weights that are not those the run began with.
    pub fn with(mut self, mut config: C) -> Result<Self, Error> {
        let step = self.from.as_ref().map_or(0, |from| from.state.step);
        settle(&mut config, self.from.is_some())?;
        let changes = differences(step, &self.config, &config)?;
        if !changes.is_empty() {
            let told = changes.iter().map(|c| format!("{} {} (was {})", c.key, c.to, c.from)).collect::<Vec<_>>();
            self.notes.push(format!("from step {step} on: {}", told.join(", ")));
            config.changes().extend(changes);
            self.dir.set_config(toml::to_string(&config)?);
        }
        self.config = config;
        Ok(self)
    }

    /// The run at `path` to go on with, or a new one with this config. Where its data lies and how many threads read it
    /// may have changed.
    ///
    /// # Errors
    /// As `create` and `resume`; a run of another config is there already.
    pub fn create_or_resume(path: &Path, mut config: C) -> Result<Self, Error> {
        if !path.join("config.toml").exists() {
            return Self::create(path, config);
        }
        let mut session = Self::resume(path)?;
        settle(&mut config, false)?;
        if session.config.core() != config.core() {
            return Err(Error::Other { path: path.to_owned() });
        }
        config.changes().clone_from(session.config.changes());
        session.with(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::OptimConfig;
    use crate::recipes;

    #[test]
    fn changes_are_told_by_key_and_step() {
        let before = recipes::finetune("finetune-tiny").unwrap();
        let mut after = before.clone();
        (after.optim.lr, after.data.path) = (0.5, "/list.txt".into());
        let changes = differences(7, &before, &after).unwrap();
        let change = |key: &str, from: &str, to: &str| Change {
            step: 7,
            key: key.to_owned(),
            from: from.to_owned(),
            to: to.to_owned(),
        };
        assert_eq!(changes, [change("data.path", "\"\"", "\"/list.txt\""), change("optim.lr", "0.016", "0.5")]);
        after.changes = changes;
        let text = toml::to_string(&after).unwrap();
        assert_eq!(from_toml::<FinetuneConfig>(&text, "x").unwrap(), after);
        assert!(before.core() != after.core());
        assert!(before.core() == FinetuneConfig { optim: before.optim.clone(), ..after }.core(), "paths are no core");
    }

    #[test]
    fn a_run_is_gone_on_with_from_elsewhere_but_not_as_another() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        let config = recipes::pretrain("mae-tiny").unwrap();
        Session::create(&path, config.clone()).unwrap().dir.establish().unwrap();
        let mut elsewhere = config.clone();
        (elsewhere.data.path, elsewhere.data.threads) = (dir.path().join("list.txt"), 7);
        let session = Session::create_or_resume(&path, elsewhere.clone()).unwrap();
        assert_eq!((&session.config.data.path, session.config.data.threads), (&elsewhere.data.path, 7));
        drop(session);
        // Whatever made it: its seed, its length.
        for other in [
            PretrainConfig { seed: 1, ..config.clone() },
            PretrainConfig { optim: OptimConfig { steps: 3, ..config.optim.clone() }, ..config },
        ] {
            let text = Session::create_or_resume(&path, other).err().unwrap().to_string();
            assert!(text.contains("holds a run of another configuration"), "{text}");
        }
    }

    #[test]
    fn weights_of_another_digest_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("weights.safetensors");
        std::fs::write(&file, "abc").unwrap();
        let mut config = recipes::distill("mvd-tiny").unwrap();
        for source in config.sources() {
            *source.path = file.clone();
        }
        settle(&mut config, false).unwrap();
        let digest = config.image_teacher.as_ref().unwrap().digest.clone();
        assert!(digest.starts_with("sha256:ba7816bf"), "{digest}");
        settle(&mut config, true).unwrap();
        std::fs::write(&file, "abd").unwrap();
        let text = settle(&mut config, true).unwrap_err().to_string();
        for part in ["--image-teacher", "weights.safetensors", &digest, "sha256:a52d159f"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        // What a classifier starts from is not read again.
        let mut tuning = recipes::finetune("finetune-tiny").unwrap();
        (tuning.init, tuning.init_digest) = (file, digest);
        assert!(settle(&mut tuning, false).is_err());
        settle(&mut tuning, true).unwrap();
    }
}
