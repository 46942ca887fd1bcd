//! How far the log was on disk, in a file beside the database.
//!
//! RocksDB cuts its write-ahead log off at the first record that it cannot read, because after a crash that is the torn
//! end, and tells nobody if there was more behind it. This mark tells how much there was. It is written after each fsync
//! of the log and not synced itself, so that after a power cut it may be too low: then less is noticed, and never too much.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::Sequence;

/// The file in the log's directory; RocksDB does not look at it. It has a sequence (big-endian u64) and its CRC32C.
const FILE: &str = "high-water";
const BYTES: usize = 12;

/// The mark. Without one the log works as well, because it only finds damage.
#[derive(Debug)]
pub(super) struct HighWater {
    file: Option<File>,
    last: Option<Sequence>,
}

impl HighWater {
    /// The mark of the log in the directory `path`.
    pub(super) fn open(path: &Path) -> Self {
        let path = path.join(FILE);
        let opened =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let read = opened.and_then(|file| Ok((read(&file)?, file)));
        match read {
            Ok((last, file)) => Self { file: Some(file), last },
            Err(error) => {
                tracing::warn!(%error, "the message log has no high-water mark");
                Self { file: None, last: None }
            }
        }
    }

    /// The last sequence that is known to have been on disk; `None` if it is not known.
    pub(super) const fn last(&self) -> Option<Sequence> {
        self.last
    }

    /// Everything up to `last` is on disk.
    pub(super) fn raise(&mut self, last: Sequence) {
        let Some(file) = &self.file else { return };
        self.last = Some(last);
        if let Err(error) = file.write_all_at(&encode(last), 0) {
            tracing::warn!(%error, "the high-water mark of the message log is not raised any more");
            self.file = None;
        }
    }
}

/// The mark of the log in the directory `path`, which is not changed; `None` if it is not known.
pub(super) fn last(path: &Path) -> Option<Sequence> {
    read(&File::open(path.join(FILE)).ok()?).ok().flatten()
}

fn encode(last: Sequence) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    bytes[..8].copy_from_slice(&last.to_be_bytes());
    let sum = crc32c::crc32c(&bytes[..8]);
    bytes[8..].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// What is in the file; `None` if it is new, or damaged.
fn read(file: &File) -> io::Result<Option<Sequence>> {
    let mut bytes = [0; BYTES];
    match file.read_exact_at(&mut bytes, 0) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let [a, b, c, d, e, f, g, h, ..] = bytes;
    let last = Sequence::from_be_bytes([a, b, c, d, e, f, g, h]);
    if encode(last) == bytes {
        return Ok(Some(last));
    }
    tracing::warn!("the high-water mark of the message log is damaged, and begins anew");
    Ok(None)
}
