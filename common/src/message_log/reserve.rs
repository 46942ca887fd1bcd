//! Room on the disk that is kept for the log itself.
//!
//! A log on a full disk can neither be opened, because RocksDB writes what is in its write-ahead log to table files then, nor
//! forget what Kafka has. So a file beside the database holds room for that. It is removed when the log cannot be
//! opened because the disk is full, and made again when there is room again. While it is missing, nothing is to be added to
//! the log.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use nix::fcntl::posix_fallocate;

use super::Error;
use crate::disk;

/// The file in the log's directory; RocksDB does not look at it.
const FILE: &str = "reserve";
/// At most this part of the disk is reserved.
const PART_OF_DISK: u64 = 8;

/// The reserved room.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    bytes: u64,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Reserved,
    /// It is not there, or it was used.
    Missing,
    /// This directory or file system does not allow it. The log does without.
    Impossible,
}

impl Reserve {
    /// Looks for the file in the log's directory. It has as many bytes as opening the log may write, or an eighth of a small
    /// disk.
    pub(super) fn of(directory: &Path, most: u64) -> Self {
        let bytes = disk::total(directory).map_or(most, |total| most.min(total / PART_OF_DISK));
        let path = directory.join(FILE);
        let is_there = path.metadata().is_ok_and(|found| found.len() >= bytes);
        Self { path, bytes, state: if is_there { State::Reserved } else { State::Missing } }
    }

    /// Makes the file if it is missing and half as much again is free. Returns whether the log may be added to: not while
    /// the disk is full.
    pub(super) fn take(&mut self) -> bool {
        let has_room = || disk::free(&self.path).is_none_or(|free| free >= self.bytes / 2 * 3);
        if self.state == State::Missing && has_room() {
            self.state = match self.allocate() {
                Ok(()) => State::Reserved,
                Err(error) => {
                    self.remove();
                    match error.kind() {
                        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => State::Missing,
                        _ => {
                            tracing::warn!(%error, path = %self.path.display(), "no room can be reserved for the message log");
                            State::Impossible
                        }
                    }
                }
            };
        }
        self.state != State::Missing
    }

    fn allocate(&self) -> std::io::Result<()> {
        let file = File::create(&self.path)?;
        let bytes = i64::try_from(self.bytes).unwrap_or(i64::MAX);
        posix_fallocate(&file, 0, bytes)?;
        file.sync_all()
    }

    /// Opens the log by `open`. If that fails because the disk is full, it is tried again without the reserve.
    pub(super) fn or_give_up<T>(
        &mut self,
        open: impl Fn() -> Result<T, Error>,
    ) -> Result<T, Error> {
        match open() {
            Err(error) if error.lacks_room() && self.path.exists() => {
                tracing::warn!(%error, bytes = self.bytes, "the disk is full; the room that is reserved for the message log is used");
                self.remove();
                self.state = State::Missing;
                open()
            }
            outcome => outcome,
        }
    }

    fn remove(&self) {
        if let Err(error) = fs::remove_file(&self.path)
            && error.kind() != ErrorKind::NotFound
        {
            tracing::warn!(%error, path = %self.path.display(), "the reserved room cannot be given back");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_reserved_once_and_used_when_the_log_cannot_be_opened_on_a_full_disk() {
        let directory = tempfile::tempdir().unwrap();
        let mut reserve = Reserve::of(directory.path(), 1 << 20);
        let file = directory.path().join(FILE);
        assert!(reserve.take());
        assert_eq!(file.metadata().unwrap().len(), 1 << 20);
        assert_eq!(Reserve::of(directory.path(), 1 << 20).state, State::Reserved);

        assert!(reserve.or_give_up(|| Err::<(), _>(Error::Latched)).is_err());
        assert!(file.exists(), "it is another error");
        // As if there was never so much.
        reserve.bytes = 1 << 62;
        let path = directory.path().to_owned();
        let full = || match file.exists() {
            true => Err(Error::NoRoomToRepair { path: path.clone(), bytes: 1 }),
            false => Ok(()),
        };
        reserve.or_give_up(full).unwrap();
        assert!(!file.exists() && !reserve.take(), "the disk is still full");
        reserve.bytes = 1 << 20;
        assert!(reserve.take() && file.exists(), "there is room again");
    }
}
