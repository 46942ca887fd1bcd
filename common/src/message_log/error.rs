//! Errors of the log.

use std::path::PathBuf;

use super::Sequence;

/// Why the log could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory cannot be used.
    #[error("cannot open the message log in {path}: {source}; check that the directory is writable and has space", path = path.display())]
    Open {
        /// The directory.
        path: PathBuf,
        /// What RocksDB says.
        source: rocksdb::Error,
    },
    /// Another process has the log open.
    #[error("another process has the message log in {path} open; two collectors need two directories (log.path)", path = path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// A write or its fsync failed.
    #[error("cannot write the message log: {0}; check the disk's space and health")]
    Write(#[source] rocksdb::Error),
    /// A read failed.
    #[error("cannot read the message log: {0}; check the disk's health")]
    Read(#[source] rocksdb::Error),
    /// A write failed before, and the log has not been reopened.
    #[error("the message log is closed after a write error until it is reopened")]
    Latched,
    /// Another process opened the log after this one had closed it because of a write error.
    #[error(
        "another process has used the message log meanwhile; it is opened anew at the next start"
    )]
    Superseded,
    /// An entry is missing or not in a known format.
    #[error("the entry {sequence} of the message log is damaged; it is skipped at the next start")]
    Damaged {
        /// The entry.
        sequence: Sequence,
    },
    /// One of the log's own values, such as a cursor, is not in the known format.
    #[error(
        "'{name}' of the message log is damaged; move the directory away to start with an empty log"
    )]
    Metadata {
        /// The key in the family `default`.
        name: &'static str,
    },
    /// All epochs are used up: the log was opened about 2²⁴ times.
    #[error(
        "the message log has used up its sequences; move the directory away, once nothing is pending, to start anew"
    )]
    Exhausted,
}

impl Error {
    /// Whether reopening the log and trying again may succeed without anybody changing anything.
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Open { .. }
            | Self::Locked { .. }
            | Self::Write(_)
            | Self::Read(_)
            | Self::Latched => true,
            Self::Superseded | Self::Damaged { .. } | Self::Metadata { .. } | Self::Exhausted => {
                false
            }
        }
    }
}
