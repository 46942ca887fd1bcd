//! What a collector follows, in a file beside its log: `{"at_ms":…,"sources":["…"]}`. It is written again and again, so that the next
//! start knows whether the leases can have expired meanwhile.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use common::clock::Clock;
use serde::{Deserialize, Serialize};

/// The file.
#[derive(Debug)]
pub struct Last {
    path: PathBuf,
    clock: Clock,
}

/// What is in it.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Followed {
    /// When it was written, in milliseconds since 1970.
    at_ms: i64,
    /// The names of the sources.
    sources: Vec<String>,
}

impl Last {
    /// The one beside the log in this directory.
    pub fn of(log: &Path, clock: Clock) -> Self {
        Self { path: log.join("leases.json"), clock }
    }

    /// The sources; none if they were never written, cannot be read, or were written longer ago.
    pub(super) fn read(&self, at_most: Duration) -> Vec<String> {
        let read = fs::read(&self.path).and_then(|text| Ok(serde_json::from_slice(&text)?));
        let Followed { at_ms, sources } = read.unwrap_or_else(|error: io::Error| {
            if error.kind() != io::ErrorKind::NotFound {
                let path = self.path.display();
                tracing::warn!(%error, %path, "not known what was followed last");
            }
            Followed::default()
        });
        let ago_ms = self.clock.now_ms().saturating_sub(at_ms);
        let is_recent = u128::try_from(ago_ms).is_ok_and(|ago_ms| ago_ms < at_most.as_millis());
        if is_recent { sources } else { Vec::new() }
    }

    /// Replaces them. If that fails the next start follows them later than it could.
    pub(super) fn write<'n>(&self, names: impl Iterator<Item = &'n str>) {
        let sources = names.map(str::to_owned).collect();
        let followed = Followed { at_ms: self.clock.now_ms(), sources };
        let new = self.path.with_extension("new");
        let written = serde_json::to_vec(&followed)
            .map_err(io::Error::from)
            .and_then(|text| fs::write(&new, text))
            .and_then(|()| fs::rename(&new, &self.path));
        if let Err(error) = written {
            tracing::debug!(%error, path = %self.path.display(), "cannot note what is followed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_followed_just_now_is_read_back_and_a_damaged_file_names_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let last = Last::of(directory.path(), Clock::default());
        let (short, long) = (Duration::ZERO, Duration::from_secs(3600));
        assert_eq!(last.read(long), Vec::<String>::new());
        last.write(["a", "b"].into_iter());
        last.write(["b", "c"].into_iter());
        assert_eq!(last.read(long), ["b", "c"]);
        assert_eq!(last.read(short), Vec::<String>::new(), "it is longer ago");
        fs::write(directory.path().join("leases.json"), "[\"b").unwrap();
        assert_eq!(last.read(long), Vec::<String>::new());
    }
}
