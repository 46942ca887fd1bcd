//! What a collector followed last, in a file beside its log: a JSON array of names.

use std::path::{Path, PathBuf};
use std::{fs, io};

/// The file.
#[derive(Debug)]
pub(super) struct Last(PathBuf);

impl Last {
    /// The one beside the log in this directory.
    pub(super) fn of(log: &Path) -> Self {
        Self(log.join("leases.json"))
    }

    /// The names of the sources; none if they were never written, or cannot be read.
    pub(super) fn read(&self) -> Vec<String> {
        let read = fs::read(&self.0).and_then(|text| Ok(serde_json::from_slice(&text)?));
        read.unwrap_or_else(|error: io::Error| {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(%error, path = %self.0.display(), "not known what was followed last");
            }
            Vec::new()
        })
    }

    /// Replaces them. If that fails, the next start without Kafka follows other sources than it could.
    pub(super) fn write<'n>(&self, names: impl Iterator<Item = &'n str>) {
        let new = self.0.with_extension("new");
        let names: Vec<_> = names.collect();
        let written = serde_json::to_vec(&names)
            .map_err(io::Error::from)
            .and_then(|text| fs::write(&new, text))
            .and_then(|()| fs::rename(&new, &self.0));
        if let Err(error) = written {
            tracing::warn!(%error, path = %self.0.display(), "cannot note what is followed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_followed_last_is_read_back_and_a_damaged_file_names_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let last = Last::of(directory.path());
        assert_eq!(last.read(), Vec::<String>::new());
        last.write(["a", "b"].into_iter());
        last.write(["b", "c"].into_iter());
        assert_eq!(Last::of(directory.path()).read(), ["b", "c"]);
        fs::write(directory.path().join("leases.json"), "[\"b").unwrap();
        assert_eq!(last.read(), Vec::<String>::new());
    }
}
