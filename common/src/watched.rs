//! Values that are made of files, such as tokens and certificates, and made again when the files change.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use xxhash_rust::xxh3::Xxh3Default;

/// How often files are looked at. Kubernetes takes about a minute to bring a changed Secret to a pod.
const EVERY: Duration = Duration::from_secs(2);

/// A value made of files. Clones have the same value.
#[derive(Debug)]
pub struct Watched<T>(watch::Receiver<Arc<T>>);

impl<T> Clone for Watched<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Send + Sync + 'static> Watched<T> {
    /// Makes the value, and makes it again within [`EVERY`] when the files change, until `stop`. While changed files
    /// cannot be used the former value stays, and the log says once why. `what` names the value there.
    ///
    /// # Errors
    /// Those of `make`, the first time.
    pub fn new<E: fmt::Display>(
        what: &'static str,
        files: Vec<PathBuf>,
        make: impl Fn() -> Result<T, E> + Send + 'static,
        stop: &CancellationToken,
    ) -> Result<Self, E> {
        // Before the value is made, so that a change in between is found.
        let mut files = Files { known: digest(&files), files, what, make };
        let (changed, value) = watch::channel(Arc::new((files.make)()?));
        look_repeatedly(stop, move || {
            if let Some(value) = files.look() {
                tracing::info!(what, "has changed and was read again");
                changed.send_replace(Arc::new(value));
            }
        });
        Ok(Self(value))
    }

    /// The value as it is now.
    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.borrow())
    }
}

/// Calls `look`, which may block, every [`EVERY`] until `stop`.
pub(crate) fn look_repeatedly(stop: &CancellationToken, mut look: impl FnMut() + Send + 'static) {
    let looking = async move {
        loop {
            tokio::time::sleep(EVERY).await;
            let looked = tokio::task::spawn_blocking(move || {
                look();
                look
            });
            let Ok(own) = looked.await else { return };
            look = own;
        }
    };
    tokio::spawn(stop.clone().run_until_cancelled_owned(looking));
}

/// Files that are looked at.
struct Files<F> {
    files: Vec<PathBuf>,
    known: u64,
    what: &'static str,
    make: F,
}

impl<F> Files<F> {
    /// The value of changed files, if they have changed and can be used.
    fn look<T, E: fmt::Display>(&mut self) -> Option<T>
    where
        F: Fn() -> Result<T, E>,
    {
        let found = digest(&self.files);
        if found == self.known {
            return None;
        }
        self.known = found;
        match (self.make)() {
            Ok(value) => Some(value),
            Err(error) => {
                tracing::warn!(what = self.what, %error, "what has changed cannot be used, the former stays");
                None
            }
        }
    }
}

/// A hash of the contents of the files; a file that cannot be read is as an empty one, and a folder as the files in it.
pub(crate) fn digest(files: &[PathBuf]) -> u64 {
    let mut hash = Xxh3Default::new();
    for file in files {
        for contents in contents(file) {
            hash.update(&contents.len().to_le_bytes());
            hash.update(&contents);
        }
    }
    hash.digest()
}

fn contents(path: &Path) -> Vec<Vec<u8>> {
    let Ok(folder) = std::fs::read_dir(path) else {
        return vec![std::fs::read(path).unwrap_or_default()];
    };
    let mut files: Vec<_> = folder.flatten().map(|entry| entry.path()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).unwrap_or_default()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_value_follows_its_file_until_the_stop() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        let (file, stop) = (path.clone(), CancellationToken::new());
        let make = move || std::fs::read_to_string(&file).unwrap_or_default().parse::<u32>();
        assert!(Watched::new("number", vec![path.clone()], make.clone(), &stop).is_err());
        std::fs::write(&path, "1").unwrap();
        let watched = Watched::new("number", vec![path.clone()], make, &stop).unwrap();
        assert_eq!(*watched.get(), 1);
        std::fs::write(&path, "2").unwrap();
        let mut changes = watched.0.clone();
        changes.changed().await.unwrap();
        assert_eq!(*watched.get(), 2);
        stop.cancel();
        assert!(changes.changed().await.is_err(), "nobody looks any more");
    }

    #[test]
    fn changed_files_that_cannot_be_used_give_no_value_until_they_can() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        let file = path.clone();
        let make = move || std::fs::read_to_string(&file).unwrap_or_default().parse::<u32>();
        let files = vec![path.clone()];
        let mut files = Files { known: digest(&files), files, what: "number", make };
        assert_eq!(files.look(), None);
        for (text, value) in [("1", Some(1)), ("1", None), ("none", None), ("1", Some(1))] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(files.look(), value, "{text}");
        }
    }
}
