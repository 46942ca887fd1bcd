//! The directory that outlives `up`: Kafka's log and the collector's message log.
//!
//! ```text
//! DIR/lock         held while an `up` works here
//! DIR/kafka/       Kafka's data and its server.log
//! DIR/kafka-files/ what starts it, written anew at every start
//! DIR/collector/   the collector's message log
//! ```

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// Why the directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No home, hence no default.
    #[error("neither XDG_DATA_HOME nor HOME is set; say where to keep the data with --data-dir")]
    NoHome,
    /// It cannot be made or written to.
    #[error("cannot use the data directory {path}: {source}; choose another with --data-dir")]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Another `up` works in it.
    #[error(
        "another `millrace up` works in {0}; stop it, or choose another directory with --data-dir"
    )]
    InUse(PathBuf),
}

impl Error {
    /// Whether trying again later can help without anybody changing the command.
    pub const fn retryable(&self) -> bool {
        match self {
            Self::InUse(_) => true,
            Self::NoHome | Self::Unusable { .. } => false,
        }
    }
}

/// A directory that is ours until this is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: Option<File>,
    _temporary: Option<TempDir>,
}

impl DataDir {
    /// The user's directory: `asked`, or the default below XDG's data home.
    ///
    /// # Errors
    /// When there is none, it cannot be written to, or another `up` has it.
    pub fn kept(asked: Option<&Path>) -> Result<Self, Error> {
        let path = match asked {
            Some(path) => path.to_owned(),
            None => default_path().ok_or(Error::NoHome)?,
        };
        let unusable = |source| Error::Unusable { path: path.clone(), source };
        std::fs::create_dir_all(&path).map_err(unusable)?;
        let path = path.canonicalize().map_err(unusable)?;
        let unusable = |source| Error::Unusable { path: path.clone(), source };
        let lock = File::create(path.join("lock")).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: Some(lock), _temporary: None }),
            Err(TryLockError::WouldBlock) => Err(Error::InUse(path)),
            Err(TryLockError::Error(source)) => Err(unusable(source)),
        }
    }

    /// A directory that is removed at the end.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn temporary() -> Result<Self, Error> {
        let unusable = |source| Error::Unusable { path: std::env::temp_dir(), source };
        let temporary = tempfile::Builder::new().prefix("millrace-").tempdir().map_err(unusable)?;
        let path = temporary.path().canonicalize().map_err(unusable)?;
        Ok(Self { path, _lock: None, _temporary: Some(temporary) })
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A place in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

fn default_path() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = set("XDG_DATA_HOME").or_else(|| Some(set("HOME")?.join(".local/share")))?;
    Some(home.join("millrace"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_up_works_in_a_directory_at_a_time() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("made/when/missing");
        let first = DataDir::kept(Some(&dir)).unwrap();
        assert!(matches!(DataDir::kept(Some(&dir)), Err(Error::InUse(_))));
        drop(first);
        DataDir::kept(Some(&dir)).unwrap();
    }

    #[test]
    fn a_temporary_directory_is_gone_at_the_end() {
        let dir = DataDir::temporary().unwrap();
        let path = dir.path().to_owned();
        std::fs::write(dir.join("x"), "x").unwrap();
        drop(dir);
        assert!(!path.exists());
    }
}
