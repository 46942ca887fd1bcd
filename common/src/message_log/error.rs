//! Errors of the log.

use std::io;
use std::path::PathBuf;

use rocksdb::ErrorKind;

use super::Sequence;
use super::cipher::KeyId;

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
    /// There is no log.
    #[error("there is no message log in {path}; name the directory that is log.path of the collector, or `collector` in the data directory of `millrace up`", path = path.display())]
    Absent {
        /// The directory.
        path: PathBuf,
    },
    /// The log was written by another version.
    #[error("what is in {path} is no message log of this version; if an older collector wrote it, it is converted when a collector of this version starts with it", path = path.display())]
    OtherFormat {
        /// The directory.
        path: PathBuf,
    },
    /// Its files changed each time it was looked at.
    #[error("the files of the message log in {path} change faster than they can be opened; try again", path = path.display())]
    Changing {
        /// The directory.
        path: PathBuf,
    },
    /// Another process has the log open.
    #[error("another process has the message log in {path} open; two collectors need two directories (log.path)", path = path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The files are damaged, and the disk has too little room to repair them.
    #[error("the files of the message log in {path} are damaged, and repairing them takes {bytes} bytes that the disk does not have; make room", path = path.display())]
    NoRoomToRepair {
        /// The directory.
        path: PathBuf,
        /// How much has to be free.
        bytes: u64,
    },
    /// The file that marks a repair cannot be made or removed.
    #[error("cannot mark a repair of the message log by {path}: {source}; check that the directory is writable", path = path.display())]
    Mark {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The log is encrypted, and no keys were given.
    #[error("the message log in {path} is encrypted; name the file with its keys by log.key_file, or by --key-file of `millrace log`", path = path.display())]
    Encrypted {
        /// The directory.
        path: PathBuf,
    },
    /// A key is not there that was used in the log.
    #[error("the message log in {path} needs the key {id}, which the key file does not have; put it back as a further line of the file: what is encrypted with it cannot be read otherwise", path = path.display())]
    KeyMissing {
        /// The directory.
        path: PathBuf,
        /// Which key.
        id: KeyId,
    },
    /// The log is encrypted, and yet something in it is not.
    #[error("the message log in {path} is marked as encrypted, but holds values that are not; if it was restored from a plain backup, remove the file `encrypted` in it; if a build that knows no encryption has used it, let that build send what waits, and move the directory away", path = path.display())]
    Plain {
        /// The directory.
        path: PathBuf,
    },
    /// The disk has too little room to encrypt a plain log.
    #[error("encrypting the message log in {path} takes {bytes} bytes that the disk does not have; make room, or start without log.key_file until Kafka has taken what waits", path = path.display())]
    NoRoomToEncrypt {
        /// The directory.
        path: PathBuf,
        /// How much has to be free.
        bytes: u64,
    },
    /// A plain log cannot be encrypted because one of its files is damaged.
    #[error("the message log cannot be encrypted, because {file} is damaged; start without log.key_file until Kafka has taken what waits, then move the directory away; if it was encrypted in part, take what waits out by `millrace log export`", file = file.display())]
    NotEncrypted {
        /// The file, or the directory if it is not known which one.
        file: PathBuf,
    },
    /// Damaged files that are kept cannot be encrypted, or it cannot be noted that all is.
    #[error("cannot encrypt {path}, or note that it is: {source}; check that the directory is writable and has space", path = path.display())]
    Seal {
        /// What is to be encrypted.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
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
    pub fn retryable(&self) -> bool {
        match self {
            // Damaged files are repaired at the next start only.
            Self::Open { source, .. } => source.kind() != ErrorKind::Corruption,
            Self::Locked { .. }
            | Self::NoRoomToRepair { .. }
            | Self::NoRoomToEncrypt { .. }
            | Self::Mark { .. }
            | Self::Seal { .. }
            | Self::Write(_)
            | Self::Read(_)
            | Self::Latched
            | Self::Changing { .. } => true,
            Self::Absent { .. }
            | Self::OtherFormat { .. }
            | Self::Encrypted { .. }
            | Self::KeyMissing { .. }
            | Self::NotEncrypted { .. }
            | Self::Plain { .. }
            | Self::Superseded
            | Self::Damaged { .. }
            | Self::Metadata { .. }
            | Self::Exhausted => false,
        }
    }

    /// Whether the cause is that the disk is full.
    pub(super) fn lacks_room(&self) -> bool {
        match self {
            // RocksDB passes the system's error on as text.
            Self::Open { source, .. } | Self::Write(source) => {
                let text = source.to_string();
                ["No space left", "quota exceeded"].iter().any(|why| text.contains(why))
            }
            Self::Seal { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            other => matches!(other, Self::NoRoomToRepair { .. } | Self::NoRoomToEncrypt { .. }),
        }
    }

    /// Whether the cause is that the disk does not have what was written.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Open { source, .. } | Self::Read(source) => {
                source.kind() == ErrorKind::Corruption
            }
            other => matches!(
                other,
                Self::Damaged { .. } | Self::Metadata { .. } | Self::NoRoomToRepair { .. }
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_files_that_cannot_be_encrypted_on_a_full_disk_need_room() {
        let lacks_room = |kind| {
            let source = io::Error::from(kind);
            Error::Seal { path: PathBuf::new(), source }.lacks_room()
        };
        assert!(lacks_room(io::ErrorKind::StorageFull));
        assert!(lacks_room(io::ErrorKind::QuotaExceeded));
        assert!(!lacks_room(io::ErrorKind::PermissionDenied));
    }
}
