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
    /// Whether the collector then left them to others.
    has_left: bool,
    /// The names of the sources.
    sources: Vec<String>,
}

impl Last {
    /// The one beside the log in this directory.
    pub fn of(log: &Path, clock: Clock) -> Self {
        Self { path: log.join("leases.json"), clock }
    }

    /// The sources that were followed at the end, if that is shorter ago than the session timeout, so that nobody else can have
    /// been given them.
    pub(super) fn recent(&self, session_timeout: Duration) -> Vec<String> {
        let Followed { at_ms, has_left, sources } = self.read();
        if has_left || !self.is_within(at_ms, session_timeout) { Vec::new() } else { sources }
    }

    /// The sources that were followed last, if that is shorter ago than `at_most`.
    pub(super) fn within(&self, at_most: Duration) -> Vec<String> {
        let Followed { at_ms, sources, .. } = self.read();
        if self.is_within(at_ms, at_most) { sources } else { Vec::new() }
    }

    /// A clock that was set back makes it look shorter ago than it is, and one that was set back far longer.
    fn is_within(&self, at_ms: i64, at_most: Duration) -> bool {
        u128::from(self.clock.now_ms().abs_diff(at_ms)) < at_most.as_millis()
    }

    /// None if they were never written, or cannot be read.
    fn read(&self) -> Followed {
        let read = fs::read(&self.path).and_then(|text| Ok(serde_json::from_slice(&text)?));
        read.unwrap_or_else(|error: io::Error| {
            if error.kind() != io::ErrorKind::NotFound {
                let path = self.path.display();
                tracing::warn!(%error, %path, "not known what was followed last");
            }
            Followed::default()
        })
    }

    /// Replaces them. If that fails the next start follows them later than it could.
    pub(super) fn write<'n>(&self, names: impl Iterator<Item = &'n str>, has_left: bool) {
        let sources = names.map(str::to_owned).collect();
        let followed = Followed { at_ms: self.clock.now_ms(), has_left, sources };
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
    fn what_was_followed_is_read_back_unless_that_is_long_ago_or_others_have_it() {
        let directory = tempfile::tempdir().unwrap();
        let last = Last::of(directory.path(), Clock::default());
        let (no_time, hour) = (Duration::ZERO, Duration::from_secs(3600));
        let none = Vec::<String>::new();
        assert_eq!((last.recent(hour), last.within(hour)), (none.clone(), none.clone()));
        last.write(["a", "b"].into_iter(), false);
        last.write(["b", "c"].into_iter(), false);
        let both = vec!["b".to_owned(), "c".to_owned()];
        assert_eq!((last.recent(hour), last.within(hour)), (both.clone(), both.clone()));
        assert_eq!((last.recent(no_time), last.within(no_time)), (none.clone(), none.clone()));
        last.write(["b", "c"].into_iter(), true);
        assert_eq!((last.recent(hour), last.within(hour)), (none.clone(), both));
        fs::write(directory.path().join("leases.json"), "[\"b").unwrap();
        assert_eq!(last.within(hour), none, "it is damaged");
    }
}
