//! The file as it was when it was opened.
//!
//! It stays open, so that it may be moved or removed meanwhile. Whenever its end is reached, its length and time of
//! modification are compared: a file that was written to is an error, so that it never gives a different answer.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

/// A regular file, with the length and time that it had when it was opened.
#[derive(Debug)]
pub(super) struct Snapshot {
    file: File,
    length: u64,
    modified: Option<SystemTime>,
}

/// Reads a snapshot once, from its first byte to its last.
#[derive(Debug)]
pub(super) struct SnapshotReader {
    snapshot: Arc<Snapshot>,
    offset: u64,
}

impl Snapshot {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        Ok(Self { file, length: metadata.len(), modified: modified(&metadata) })
    }

    /// Reads at `offset`. Reads 0 bytes only at its end.
    pub(super) fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let left = usize::try_from(self.length.saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        if left == 0 {
            self.check()?;
            return Ok(0);
        }
        match self.file.read_at(&mut buffer[..wanted], offset)? {
            0 if wanted > 0 => Err(shortened()),
            read => Ok(read),
        }
    }

    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn reader(self: &Arc<Self>) -> SnapshotReader {
        SnapshotReader { snapshot: Arc::clone(self), offset: 0 }
    }

    /// Checks that the file was not written to.
    pub(super) fn check(&self) -> io::Result<()> {
        let metadata = self.file.metadata()?;
        if metadata.len() == self.length && modified(&metadata) == self.modified {
            return Ok(());
        }
        Err(io::Error::other(format!(
            "it was written to while it was read ({} bytes at first, {} now); stop what writes to it, \
             or follow it as it grows with `tail -c +1 -f FILE | millrace up --recording -`",
            self.length,
            metadata.len()
        )))
    }
}

/// The error for a file that has become shorter.
pub(super) fn shortened() -> io::Error {
    io::Error::other(
        "it was cut short while it was read; stop what writes to it and run the command again",
    )
}

fn modified(metadata: &Metadata) -> Option<SystemTime> {
    metadata.modified().ok()
}

impl Read for SnapshotReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.snapshot.read_at(buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}
