//! The store: what the agent must not forget, on disk. An agent that is killed at
//! any moment leaves either what was there before or what was to be there.
//!
//! It is written before what it says is done (a hook, a promotion), so that the next
//! agent knows of everything that may have been done.

mod journal;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::journal::Journal;
use crate::promotion::Memory;

/// Version of the file. One that is higher was written by a newer agent.
const VERSION: u32 = 1;

const FILE: &str = "state.json";
const NEW: &str = "state.json.new";
/// Where a file goes that cannot be read, for a person to look at.
const BROKEN: &str = "state.json.broken";

/// All that is remembered. Times are milliseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    version: u32,
    /// By name of the service.
    pub services: BTreeMap<String, KeptService>,
    /// By name of the backend.
    pub backends: BTreeMap<String, KeptBackend>,
}

/// What is remembered of a service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptService {
    /// Who is promoted; only with warm or cold standbys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promotion: Option<Memory>,
    /// When takeovers and failbacks were, as far as they count for the budget.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spent: Vec<u64>,
}

/// What is remembered of a backend.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptBackend {
    /// What an operator wants of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Maintenance>,
    /// How often it died.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub damping: Option<KeptDamping>,
}

/// An operator keeps a backend from serving.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Maintenance {
    /// Disabled, and not only drained.
    pub disabled: bool,
    /// The operator's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it ends by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
}

/// The penalty of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptDamping {
    /// How much it was.
    pub penalty: f64,
    /// When.
    pub at: u64,
    /// Whether the backend was damped.
    pub damped: bool,
}

/// The store does not work.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The directory or a file in it cannot be used.
    #[error("{path}: cannot {action}: {source}: make it writable, or write another agent.state")]
    Unusable {
        /// Which.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The file is none of ours, or damaged.
    #[error("{path}: cannot be read: {reason}")]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// The directory, and what was written there last.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
    written: Option<Vec<u8>>,
}

impl Store {
    /// Opens the store in `directory`, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// The directory cannot be made or written.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let mut builder = fs::DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(directory);
        made.map_err(|source| StoreError::Unusable {
            path: directory.to_owned(),
            action: "make it",
            source,
        })?;
        let store = Self {
            directory: directory.to_owned(),
            written: None,
        };
        // Better now than in the middle of a takeover.
        Self::write(&store.path(NEW), b"")?;
        Ok(store)
    }

    /// What an earlier agent left; none: there was none.
    ///
    /// # Errors
    ///
    /// There is something that cannot be read. It is put aside, and the next
    /// [`Self::save`] begins anew.
    pub fn load(&mut self) -> Result<Option<Kept>, StoreError> {
        let path = self.path(FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(StoreError::Unusable {
                    path,
                    action: "read it",
                    source,
                });
            }
        };
        let reason = match serde_json::from_slice::<Kept>(&bytes) {
            Ok(kept) if kept.version == VERSION => {
                self.written = Some(bytes);
                return Ok(Some(kept));
            }
            Ok(kept) => format!("it has version {}, not {VERSION}", kept.version),
            Err(error) => error.to_string(),
        };
        let broken = self.path(BROKEN);
        let path = match fs::rename(&path, &broken) {
            Ok(()) => broken,
            // It will be replaced; the person has the words at least.
            Err(_) => path,
        };
        Err(StoreError::Broken { path, reason })
    }

    /// Writes `kept`, if it is not what is there. When it returns, it is on the disk.
    ///
    /// # Errors
    ///
    /// The disk does not take it; what was there is there still.
    pub fn save(&mut self, mut kept: Kept) -> Result<(), StoreError> {
        kept.version = VERSION;
        let path = self.path(FILE);
        let bytes = serde_json::to_vec_pretty(&kept).map_err(|error| StoreError::Broken {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        if self.written.as_ref() == Some(&bytes) {
            return Ok(());
        }
        let new = self.path(NEW);
        Self::write(&new, &bytes)?;
        let renamed = fs::rename(&new, &path);
        // Without this the name may still be that of the old file after a crash.
        let synced = renamed.and_then(|()| File::open(&self.directory)?.sync_all());
        synced.map_err(|source| StoreError::Unusable {
            path,
            action: "replace it",
            source,
        })?;
        self.written = Some(bytes);
        Ok(())
    }

    /// The file of past events.
    #[must_use]
    pub fn journal(&self) -> Journal {
        Journal::new(self.path("events.jsonl"))
    }

    fn write(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let mut options = File::options();
        let options = options.create(true).write(true).truncate(true).mode(0o600);
        let written = options.open(path).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
        written.map_err(|source| StoreError::Unusable {
            path: path.to_owned(),
            action: "write it",
            source,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

#[cfg(test)]
mod tests;
