//! Room on the disk that is kept for the log itself.
//!
//! A log on a full disk can neither be opened, because RocksDB writes what is in its write-ahead log to table files then, nor
//! forget what Kafka has. So a file beside the database holds room for that. It is removed when the log cannot be
//! opened because the disk is full, and made again when there is room again. While it is missing, nothing is to be added to
//! the log.

use std::fs::{self, File};
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
    is_there: bool,
}

impl Reserve {
    /// Makes or finds the file in the log's directory. It has as many bytes as opening the log may write, or an eighth of a
    /// small disk.
    pub(super) fn of(directory: &Path, most: u64) -> Self {
        let bytes = disk::total(directory).map_or(most, |total| most.min(total / PART_OF_DISK));
        let mut reserve = Self { path: directory.join(FILE), bytes, is_there: false };
        reserve.is_there = reserve.path.metadata().is_ok_and(|found| found.len() >= bytes);
        reserve.take();
        reserve
    }

    /// Whether there is room for the log itself. If there was none, this looks whether there is again: half as much as is
    /// reserved has to be left.
    pub(super) fn take(&mut self) -> bool {
        if !self.is_there && disk::free(&self.path).is_none_or(|free| free >= self.bytes / 2 * 3) {
            match self.allocate() {
                Ok(()) => self.is_there = true,
                Err(error) => {
                    tracing::warn!(%error, path = %self.path.display(), "no room can be reserved for the message log");
                    self.remove();
                }
            }
        }
        self.is_there
    }

    fn allocate(&self) -> std::io::Result<()> {
        let file = File::create(&self.path)?;
        let bytes = i64::try_from(self.bytes).unwrap_or(i64::MAX);
        posix_fallocate(&file, 0, bytes)?;
        file.sync_all()
    }

    /// Opens the log by `open`. If it fails and the disk is full, it is tried again without the reserve.
    pub(super) fn or_give_up<T>(
        &mut self,
        open: impl Fn() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let outcome = open();
        let is_full = || disk::free(&self.path).is_some_and(|free| free < self.bytes);
        match outcome {
            Err(error) if error.may_lack_room() && self.path.exists() && is_full() => {
                tracing::warn!(%error, bytes = self.bytes, "the disk is full; the room that is reserved for the message log is used");
                self.remove();
                open()
            }
            outcome => outcome,
        }
    }

    fn remove(&mut self) {
        self.is_there = false;
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "the reserved room cannot be given back");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Options, Store};
    use super::*;

    #[test]
    fn room_is_reserved_once_and_used_when_the_log_cannot_be_opened_on_a_full_disk() {
        let directory = tempfile::tempdir().unwrap();
        let mut reserve = Reserve::of(directory.path(), 1 << 20);
        let file = directory.path().join(FILE);
        assert_eq!((reserve.is_there, file.metadata().unwrap().len()), (true, 1 << 20));
        assert!(Reserve::of(directory.path(), 1 << 20).is_there, "found at the next start");

        // As if less than that was free.
        reserve.bytes = 1 << 62;
        let full = || Err::<(), _>(Error::Latched);
        assert!(reserve.or_give_up(full).is_err());
        assert!(file.exists(), "it is another error");
        // RocksDB reads this as a file.
        let log = directory.path().join("log");
        fs::create_dir_all(log.join("CURRENT")).unwrap();
        let full = || match file.exists() {
            true => Store::open(&log, &Options::default()).map(|_| ()),
            false => Ok(()),
        };
        reserve.or_give_up(full).unwrap();
        assert!(!file.exists() && !reserve.take(), "the disk is still full");
        reserve.bytes = 1 << 20;
        assert!(reserve.take() && file.exists(), "there is room again");
    }
}
