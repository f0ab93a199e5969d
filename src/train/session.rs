//! A run's directory, config and checkpoint taken together: making one, going on with one.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::checkpoint::{self, Checkpoint, RunDir};
use super::error::Error;
use crate::config::from_toml;

/// A run that training can start or go on with.
pub struct Session<C> {
    /// Its directory.
    pub dir: RunDir,
    /// Its config.
    pub config: C,
    /// The checkpoint it goes on from, if there is one.
    pub from: Option<Checkpoint>,
}

/// The config of the run at `path`, from its text.
///
/// # Errors
/// A key is missing, unknown or of another type.
pub fn parse<C: DeserializeOwned>(path: &Path, text: &str) -> Result<C, Error> {
    Ok(from_toml(text, &path.join("config.toml").display().to_string())?)
}

impl<C: Serialize + DeserializeOwned> Session<C> {
    /// Makes the run directory of a new run.
    ///
    /// # Errors
    /// It exists and is not empty, or cannot be written to.
    pub fn create(path: &Path, config: C) -> Result<Self, Error> {
        Ok(Session { dir: RunDir::create(path, &toml::to_string(&config)?)?, config, from: None })
    }

    /// A run to go on with; without a checkpoint if it was killed before its first.
    ///
    /// # Errors
    /// There is none, or its files are not what they should be.
    pub fn resume(path: &Path) -> Result<Self, Error> {
        let (dir, text) = RunDir::open(path)?;
        let config = parse(path, &text)?;
        let from = match dir.latest() {
            Ok(newest) => Some(Checkpoint::load(&newest)?),
            Err(checkpoint::Error::None { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        Ok(Session { dir, config, from })
    }

    /// The run at `path` to go on with, or a new one with this config.
    ///
    /// # Errors
    /// As `create` and `resume`; a run of another config is there already.
    pub fn create_or_resume(path: &Path, config: C) -> Result<Self, Error>
    where
        C: PartialEq,
    {
        if !path.join("config.toml").exists() {
            return Self::create(path, config);
        }
        let session = Self::resume(path)?;
        if session.config != config {
            return Err(Error::Other { path: path.to_owned() });
        }
        Ok(session)
    }
}
