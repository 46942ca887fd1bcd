//! The data directory of `up`, which keeps Kafka's log and the collector's message log between runs.
//!
//! ```text
//! DIR/lock         locked while an `up` uses the directory; contains its process id
//! DIR/cluster      the id of the Kafka cluster that the message log belongs to
//! DIR/stack        the name under which this stack's analyzer joins its consumer groups
//! DIR/preset.toml  the preset that runs, if it is one of those in this program
//! DIR/running.json the addresses of a running `up`, for `millrace status`
//! DIR/kafka/       Kafka's data and its server.log
//! DIR/kafka-files/ the files that start Kafka, written at every start
//! DIR/collector/   the collector's message log
//! ```

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use crate::disk;
use crate::presets::Preset;

/// What `up` makes in its directory, and `millrace reset` removes. The lock is last, so that it is held until the rest is
/// removed.
pub const CONTENTS: [&str; 8] = [
    "kafka",
    "kafka-files",
    "collector",
    "cluster",
    "stack",
    "preset.toml",
    "running.json",
    "lock",
];
/// The beginning of the names of temporary directories.
const TEMPORARY: &str = "millrace-up-";

/// Why the directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no home directory, so that there is no default.
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
    /// Another `up` uses it.
    #[error(
        "another `millrace up` ({holder}) uses {path}; stop it, or choose another directory with --data-dir"
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The process that holds the lock, if it is known.
        holder: String,
    },
    /// Its message log belongs to another cluster.
    #[error(
        "the data in {path} belongs to the Kafka cluster {recorded}, but this is {found}: events that wait in {path} would be published to the wrong cluster; use the first cluster, choose another directory with --data-dir, or delete the data with `millrace reset --data-dir {path}`"
    )]
    OtherCluster {
        /// The directory.
        path: PathBuf,
        /// The cluster that it was used with.
        recorded: String,
        /// The cluster that was found now.
        found: String,
    },
}

impl Error {
    /// Whether the same command may succeed later.
    pub const fn retryable(&self) -> bool {
        match self {
            Self::InUse { .. } => true,
            Self::NoHome | Self::Unusable { .. } | Self::OtherCluster { .. } => false,
        }
    }
}

/// A directory that is locked until this is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
    temporary: bool,
}

impl DataDir {
    /// A directory that stays, which is made if it is missing.
    ///
    /// # Errors
    /// When the directory cannot be written to, or another `up` uses it.
    pub fn kept(path: &Path) -> Result<Self, Error> {
        let path = path.to_owned();
        std::fs::create_dir_all(&path).map_err(|source| unusable(&path, source))?;
        let path = path.canonicalize().map_err(|source| unusable(&path, source))?;
        let lock = lock(&path)?;
        Ok(Self { path, _lock: lock, temporary: false })
    }

    /// A directory on a disk that is removed at the end. Also removes directories that a killed `up` has left.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn temporary() -> Result<Self, Error> {
        let root = disk::temporary_root();
        sweep(&root);
        let made = tempfile::Builder::new().prefix(TEMPORARY).tempdir_in(&root);
        let path = made.map_err(|source| unusable(&root, source))?.keep();
        let path = path.canonicalize().map_err(|source| unusable(&path, source))?;
        let lock = lock(&path)?;
        Ok(Self { path, _lock: lock, temporary: true })
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is removed when `up` ends.
    pub const fn is_temporary(&self) -> bool {
        self.temporary
    }

    /// The path of `name` in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file in it, and returns its path.
    ///
    /// # Errors
    /// When the directory cannot be written to.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf, Error> {
        let path = self.join(name);
        std::fs::write(&path, text).map_err(|source| unusable(&self.path, source))?;
        Ok(path)
    }

    /// Binds the directory to the Kafka cluster `id`, or checks that it is bound to this one.
    ///
    /// # Errors
    /// When it is bound to another, or cannot be written to.
    pub fn bind(&self, id: &str) -> Result<(), Error> {
        let recorded = self.recorded("cluster", || id.to_owned())?;
        if recorded == id {
            return Ok(());
        }
        Err(Error::OtherCluster { path: self.path.clone(), recorded, found: id.to_owned() })
    }

    /// The name of this stack in consumer groups. It is drawn at random once and kept, so that two stacks on one cluster
    /// do not fence each other, and a stack that starts again gets its partitions back at once.
    ///
    /// # Errors
    /// When the directory cannot be written to.
    pub fn stack(&self) -> Result<String, Error> {
        self.recorded("stack", || format!("up-{:016x}", rand::random::<u64>()))
    }

    /// The text of the file `name`. If the file is missing or empty, it is written with the text `new`.
    fn recorded(&self, name: &str, new: impl FnOnce() -> String) -> Result<String, Error> {
        let path = self.join(name);
        let said = std::fs::read_to_string(&path).unwrap_or_default();
        if !said.trim().is_empty() {
            return Ok(said.trim().to_owned());
        }
        let text = new();
        let write = || {
            let mut file = tempfile::NamedTempFile::new_in(&self.path)?;
            writeln!(file, "{text}")?;
            file.as_file().sync_all()?;
            file.persist(&path).map_err(|error| error.error)?;
            Ok(())
        };
        write().map_err(|source| unusable(&self.path, source))?;
        Ok(text)
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        if self.temporary {
            // What cannot be removed now is removed by the next run.
            let _stays = std::fs::remove_dir_all(&self.path);
        }
    }
}

fn unusable(path: &Path, source: std::io::Error) -> Error {
    Error::Unusable { path: path.to_owned(), source }
}

/// Locks `path` until the result is dropped, and writes the id of this process into the lock for a second `up` to show.
///
/// # Errors
/// When another `up` uses the directory, or it cannot be written to.
pub fn lock(path: &Path) -> Result<File, Error> {
    let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).clone();
    let mut lock = options.open(path.join("lock")).map_err(|source| unusable(path, source))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // The holder is only shown to the user; if it cannot be read, the lock is held all the same.
            let _silent = lock.read_to_string(&mut holder);
            let holder = match holder.trim() {
                "" => "of an unknown process".to_owned(),
                holder => holder.to_owned(),
            };
            return Err(Error::InUse { path: path.to_owned(), holder });
        }
        Err(TryLockError::Error(source)) => return Err(unusable(path, source)),
    }
    let written = lock.set_len(0).and_then(|()| writeln!(lock, "process {}", std::process::id()));
    written.map_err(|source| unusable(path, source))?;
    Ok(lock)
}

/// Removes the temporary directories of killed `up`s: those whose lock nobody holds.
fn sweep(root: &Path) {
    let Ok(entries) = root.read_dir() else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // A directory without a lock is just being made. Directories of other users cannot be opened or removed.
        if name.starts_with(TEMPORARY)
            && let Ok(lock) = File::open(path.join("lock"))
            && lock.try_lock().is_ok()
        {
            let _stays = std::fs::remove_dir_all(&path);
        }
    }
}

/// The data directory of `--data-dir`, of a preset, or the default one. Each preset has its own, because its events have a shape of
/// their own; that of the default preset is the default one.
///
/// # Errors
/// When there is no home directory.
pub fn path(asked: Option<&Path>, preset: Option<&Preset>) -> Result<PathBuf, Error> {
    if let Some(asked) = asked {
        return Ok(asked.to_owned());
    }
    let default = default_path().ok_or(Error::NoHome)?;
    Ok(match preset {
        Some(preset) if preset.name != Preset::DEFAULT => {
            default.join("presets").join(&preset.name)
        }
        Some(_) | None => default,
    })
}

/// The default data directory.
pub fn default_path() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = set("XDG_DATA_HOME").or_else(|| Some(set("HOME")?.join(".local/share")))?;
    Some(home.join("millrace"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_up_uses_a_directory_at_a_time_and_the_second_is_told_which_process() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("made/when/missing");
        let first = DataDir::kept(&dir).unwrap();
        for _ in 0..2 {
            let error = DataDir::kept(&dir).unwrap_err();
            let own = format!("process {}", std::process::id());
            assert!(error.to_string().contains(&own), "{error}");
        }
        drop(first);
        DataDir::kept(&dir).unwrap();
    }

    #[test]
    fn a_temporary_directory_is_gone_at_the_end_and_lies_on_a_disk() {
        let dir = DataDir::temporary().unwrap();
        let path = dir.path().to_owned();
        assert!(!disk::is_memory(&path) || disk::is_memory(Path::new("/var/tmp")));
        std::fs::write(dir.join("x"), "x").unwrap();
        drop(dir);
        assert!(!path.exists());
    }

    #[test]
    fn what_a_killed_up_left_is_removed_and_what_a_live_one_uses_is_not() {
        let root = tempfile::tempdir().unwrap();
        let [left, used, other] =
            ["millrace-up-left", "millrace-up-used", "other"].map(|name| root.path().join(name));
        for path in [&left, &used, &other] {
            std::fs::create_dir(path).unwrap();
        }
        drop(lock(&left).unwrap());
        drop(lock(&other).unwrap());
        let _held = lock(&used).unwrap();
        sweep(root.path());
        assert_eq!([left, used, other].map(|path| path.exists()), [false, true, true]);
    }

    #[test]
    fn a_directory_stays_with_its_cluster_and_keeps_its_stack_s_name() {
        let place = tempfile::tempdir().unwrap();
        let dir = DataDir::kept(place.path()).unwrap();
        dir.bind("first").unwrap();
        let name = dir.stack().unwrap();
        drop(dir);
        let dir = DataDir::kept(place.path()).unwrap();
        dir.bind("first").unwrap();
        let error = dir.bind("second").unwrap_err().to_string();
        assert!(
            error.contains("first") && error.contains("second") && error.contains("reset"),
            "{error}"
        );
        assert_eq!(dir.stack().unwrap(), name);
        let other = DataDir::temporary().unwrap();
        assert_ne!(other.stack().unwrap(), name);
    }
}
