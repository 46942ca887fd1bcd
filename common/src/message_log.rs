//! The hybrid message log: what a collector has received and Kafka has not acknowledged yet.
//!
//! It is *hybrid* because one store serves as two logs (Meyer, Rexachs, Luque, Procedia Computer Science
//! 2014; Psaltis, *Streaming Data*, chapter 2): as the receiver-based log it holds what came in until it is
//! safe, as the sender-based log it holds what was sent until it is acknowledged. A message is safe as soon as one of
//! the two has happened: its fsync, or Kafka's acknowledgement; or when both have, if its source says so.
//!
//! Two threads use it. One has the [`Appender`]: it writes groups of entries and makes them durable. The other has the
//! [`MessageLog`]: it says what is settled, and reads what has to be sent from the disk. Another process looks at the log by
//! a [`View`], which changes nothing.
//!
//! # States of an entry
//!
//! ```text
//!            append            settle
//! (received) ──────▶ a group ─────────────────────▶ (gone)
//!                      │  │                            ▲  ▲
//!                      │  └──▶ deferred ───────────────┘  │ remove (its dead letter
//!                      └─────▶ failed ────────────────────┘ is acknowledged)
//! ```
//!
//! # Invariants
//!
//! - An entry that was there when [`Appender::sync`] returned `Ok` survives any crash, power loss included, until it is
//!   [settled](MessageLog::settle). One for which [`Appender::append`] returned survives a kill of the process.
//! - The move of an entry to another family is one batch, which is on disk when [`MessageLog::settle`] returns.
//! - A [`Sequence`] is never used twice, not even if its entry was never written: every opening starts an
//!   epoch of its own, which is on disk before the first sequence is given out.
//! - Sequences follow each other without holes within an epoch. The watermark only grows.
//! - A source's cursor covers written entries only, because it is written in the same batch as they, or later.
//! - Memory: the ranges that are settled above the watermark, and the sequences of deferred and failed entries.
//!
//! # On disk
//!
//! A RocksDB database of four column families.
//!
//! | family | key | value |
//! |---|---|---|
//! | each | a zero | its name |
//! | `transient` | format byte 2, last sequence of the group, its first sequence (big-endian u64) | format byte 3, CRC32C of the key and what follows, then each entry after its length (u32) |
//! | `deferred` | format byte 1, sequence (big-endian u64) | an entry: format byte 2 (1 is still read), header (postcard), payload |
//! | `failed` | the same | the same, the header with a reason |
//! | `default` | `instance` | random id of this log, 16 hex digits |
//! | | `epoch` | number of openings (big-endian u64) |
//! | | `watermark` | everything below this sequence is settled (big-endian u64) |
//! | | `settled` | the ranges above it that are settled too (postcard) |
//! | | `cursor:` source | where the source resumes; only the source knows what it means. `sealed-cursor:` if it is encrypted |
//! | | `feed:` source | which feed that cursor belongs to. `sealed-feed:` likewise |
//! | | `keys` | of an encrypted log: which keys it needs (postcard) |
//! | | `position:` name | see [`Recovered::positions`] (big-endian i64) |
//!
//! Beside it are the files `high-water`, the last sequence that was on disk, and `reserve`, room on the disk for opening the
//! log when it is full, and the folder `damaged`.
//!
//! With [`Options::keys`] the values of groups, of entries outside of them, of cursors and of feeds are [sealed](cipher) as a whole,
//! each for its family and its key. A file `encrypted` and `keys` say that nothing plain is there. Sequences, positions, what is
//! settled, and the names of sources are plain.
//!
//! A sequence is the epoch (24 bits) and a count (40 bits), so that a scan is in the order of arrival, which
//! random keys would not give. Logs of the format before have entries in `transient`, one a key; they are moved to
//! `deferred` when the log is opened.
//!
//! # Recovery
//!
//! | found | done |
//! |---|---|
//! | no database | one is created, with a new instance id |
//! | write-ahead log ends in a torn record | cut off there (`kPointInTimeRecovery`): it was not synced |
//! | a write-ahead log that is damaged before its end | RocksDB cuts it off there too; what the high-water mark says was on disk is told as a group whose checksum is wrong |
//! | groups from the watermark on | pending again, except for what is settled; the caller finds out which entries reached Kafka |
//! | the last settlement not on disk yet | those entries are pending again, likewise |
//! | a damaged block of a table file | skipped, and its file is kept in the folder `damaged`; the groups in it are told as those whose checksum is wrong |
//! | files that RocksDB cannot open | repaired, see [`Recovered::is_repaired`]; the damaged ones are moved to the folder `lost` |
//! | a group whose checksum is wrong | told when it is read, see [`Page::damaged`] |
//! | an entry of another family that cannot be decoded | skipped, counted in [`Recovered::damaged`] |
//! | values that are plain although there are keys | all is encrypted, and the plain files are replaced |
//! | values of a key that is not there | [`Error::KeyMissing`], which is no damage; [`Error::Encrypted`] without any keys |
//! | an encrypted value that is not what was written for its place | as damage |
//! | a plain value in an encrypted log | [`Error::Plain`], which is no damage |
//! | a full disk | the file `reserve` is removed, and the log is opened in the room that it held |
//! | write error | the log refuses everything that needs the database until [`Appender::reopen`] has succeeded |
//! | used by another process after a write error here | [`Error::Superseded`] |
//! | locked by another process | [`Error::Locked`]: two collectors must not share a log |

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;

mod appender;
mod cipher;
mod directory;
mod error;
mod group;
mod high_water;
mod key;
mod key_file;
mod key_uses;
mod options;
mod page;
mod quarantine;
mod ranges;
mod record;
mod records;
mod recovery;
mod repair;
mod reseal;
mod reserve;
mod sealed_file;
mod sealing;
mod sources;
mod store;
mod takeover;
#[cfg(test)]
mod tests;
mod view;

pub use appender::{Appender, Sync};
pub use cipher::{KeyId, Keyring};
pub use error::Error;
use high_water::HighWater;
pub use key::Sequence;
pub use key_file::KeyFileError;
use key_uses::KeyUses;
pub use options::Options;
pub use page::Page;
pub use ranges::Ranges;
pub use record::Entry;
pub use recovery::Recovered;
use reserve::Reserve;
pub use sealed_file::{SealedFileError, SealedWriter, unseal};
pub use store::Family;
use store::{Batch, Store};
pub use view::{Found, Place, View};

/// When groups of so many bytes were removed, their files are deleted without waiting for a compaction.
const DELETE_FILES_BYTES: u64 = 64 << 20;

/// The log, see the [module](self). Clones are the same log.
#[derive(Debug, Clone)]
pub struct MessageLog(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    options: Options,
    instance: String,
    /// The number of the opening that gave out the sequences.
    epoch: u64,
    /// `None` after a write error, until reopened.
    store: RwLock<Option<Store>>,
    removed: Mutex<Removed>,
    reserve: Mutex<Reserve>,
    /// Which keys are needed; none if the log is plain.
    key_uses: Mutex<KeyUses>,
}

/// What was removed from `transient`. Before the log is opened nothing is known of it, so that it is removed again.
#[derive(Debug, Default, Clone, Copy)]
struct Removed {
    /// How often the database was opened again: what was begun before then says nothing of it.
    reopened: u64,
    /// No group ends below.
    low: Sequence,
    /// Groups that end below are settled, and not counted as held.
    settled: Sequence,
    /// Files with nothing but groups that end below are deleted.
    files: Sequence,
    /// Nothing of groups that end below is in any file.
    merged: Sequence,
    /// Bytes of groups that were removed since the files were deleted.
    bytes: u64,
}

/// What became of entries.
#[derive(Debug)]
pub struct Settlement<'a> {
    /// All that is settled.
    pub settled: &'a Ranges,
    /// Entries that are to be in this family from now on.
    pub moved: &'a [(Family, Sequence, Entry)],
    /// Entries that are not to be in this family any more.
    pub removed: &'a [(Family, Sequence)],
    /// Cursors of sources, for a collector that writes no groups.
    pub cursors: &'a [(Arc<str>, Bytes)],
    /// Positions, see [`Recovered::positions`].
    pub positions: &'a [(String, i64)],
}

impl MessageLog {
    /// Opens the log in the directory `path`, creating it if there is none.
    ///
    /// # Errors
    /// When the directory cannot be used, is locked by another process, or cannot be read.
    pub fn open(path: &Path, options: Options) -> Result<(Self, Appender, Recovered), Error> {
        directory::make(path);
        let mut reserve = Reserve::of(path, options.write_ahead_bytes);
        let high_water = HighWater::open(path);
        let (store, (instance, recovered)) = reserve.or_give_up(|| {
            repair::open(path, &options, |store, is_repaired| {
                recovery::run(store, high_water.last(), is_repaired)
            })
        })?;
        reserve.take();
        let low = recovered.settled.low();
        let files = store.group_files()?;
        let key_uses = store.key_uses()?.unwrap_or_default();
        let shared = Shared {
            path: path.to_owned(),
            options,
            instance,
            epoch: recovered.end.epoch(),
            store: RwLock::new(Some(store)),
            removed: Mutex::new(Removed { settled: low, ..Removed::default() }),
            reserve: Mutex::new(reserve),
            key_uses: Mutex::new(key_uses),
        };
        let log = Self(Arc::new(shared));
        let appender = Appender::new(log.clone(), high_water, recovered.end, low, files);
        Ok((log, appender, recovered))
    }

    /// The id of this log, which never changes.
    pub fn instance(&self) -> &str {
        &self.0.instance
    }

    /// How many refused entries are kept, see [`Options::max_failed`].
    pub fn max_failed(&self) -> usize {
        self.0.options.max_failed
    }

    /// Whether a write has failed, and the log was not reopened since.
    pub fn is_latched(&self) -> bool {
        self.0.store.read().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Whether the disk has room for what the log itself has to write when it is opened again. While it has not, nothing
    /// should be added to the log.
    pub fn has_room(&self) -> bool {
        self.reserve().take()
    }

    /// Notes that a source is being connected to and which feed it gives. Returns the cursor to resume at;
    /// `None` if this is the first connection, or the last one was to another feed.
    ///
    /// A cursor is valid for one feed only, because the cursor of an old feed may be newer than everything in
    /// the new one. So it is forgotten when the feed changes. From the first connection on, and until an
    /// event arrives, the cursor is empty; this tells an interruption apart from a first connection.
    ///
    /// # Errors
    /// When the database cannot be read or written.
    pub fn begin_source(&self, source: &str, feed: &str) -> Result<Option<Bytes>, Error> {
        let (same, cursor) =
            self.read(|store| Ok((store.feed(source)? == feed, store.cursor(source)?)))?;
        let cursor = cursor.filter(|_| same);
        if cursor.is_none() {
            self.write(true, |store, batch| {
                store.put_feed(batch, source, feed);
                store.put_cursor(batch, source, b"");
            })?;
        }
        Ok(cursor)
    }

    /// Sets where a source resumes, because another collector has come further.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn put_cursor(&self, source: &str, cursor: &[u8]) -> Result<(), Error> {
        self.write(true, |store, batch| store.put_cursor(batch, source, cursor))
    }

    /// The last cursor that was written of a source; `None` if the source was never connected to.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn cursor(&self, source: &str) -> Result<Option<Bytes>, Error> {
        self.read(|store| store.cursor(source))
    }

    /// The entries of groups from `from` up to `to`, without `to`, as many as have about `bytes` together, and one at
    /// least. It also returns those that are settled.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn page(&self, from: Sequence, to: Sequence, bytes: usize) -> Result<Page, Error> {
        self.read(|store| store.page(from, to, bytes))
    }

    /// An entry outside of the groups; `None` if it is not there.
    ///
    /// # Errors
    /// When the database cannot be read, or the entry is damaged.
    pub fn get(&self, family: Family, sequence: Sequence) -> Result<Option<Entry>, Error> {
        self.read(|store| store.get(family, sequence))
    }

    /// Writes what became of entries, all of it or nothing, and removes the groups that are settled. It is on disk when
    /// this returns if entries were moved; otherwise losing it makes the next start look at some entries again.
    ///
    /// # Errors
    /// When the write fails. Then it may be on disk or not, and the log refuses everything until
    /// [`Appender::reopen`].
    pub fn settle(&self, change: &Settlement<'_>) -> Result<(), Error> {
        let removed = *self.removed();
        let low = change.settled.low();
        self.write(!change.moved.is_empty(), |store, batch| {
            for (family, sequence, entry) in change.moved {
                store.put(batch, *family, *sequence, &entry.encode());
            }
            for (family, sequence) in change.removed {
                store.delete(batch, *family, *sequence);
            }
            for (source, cursor) in change.cursors {
                store.put_cursor(batch, source, cursor);
            }
            for (name, position) in change.positions {
                store.put_position(batch, name, *position);
            }
            store.put_settled(batch, change.settled);
            store.delete_groups(batch, removed.low, low);
        })?;
        let bytes = {
            let mut now = self.removed();
            if now.reopened == removed.reopened {
                (now.low, now.settled) = (low, low);
            }
            now.bytes
        };
        self.forget_keys(low)?;
        if bytes >= DELETE_FILES_BYTES { self.delete_files() } else { Ok(()) }
    }

    /// Forgets the keys that are not needed because everything before `low` is settled.
    fn forget_keys(&self, low: Sequence) -> Result<(), Error> {
        let mut uses = self.0.key_uses.lock().unwrap_or_else(PoisonError::into_inner);
        if !uses.has_older() {
            return Ok(());
        }
        reseal::forget(&mut uses, low, |left| {
            self.write(true, |store, batch| store.put_key_uses(batch, left))
        })
    }

    /// Gives the room back at once that settled entries still have on a full disk. To be called while
    /// [`has_room`](Self::has_room) is false.
    ///
    /// # Errors
    /// As for [`settle`](Self::settle).
    pub fn make_room(&self) -> Result<(), Error> {
        let removed = *self.removed();
        if removed.files < removed.settled {
            self.delete_files()?;
        }
        // Table files that were not merged yet are not deleted like this. Merging them takes no room if nothing is left.
        if removed.merged < removed.settled {
            let merged = self.read(|store| store.compact_unless_groups_from(removed.settled));
            if self.latch_unless(merged)? {
                self.removed().merged = removed.settled;
            }
        }
        Ok(())
    }

    /// Deletes files with nothing but settled groups.
    fn delete_files(&self) -> Result<(), Error> {
        let before = *self.removed();
        // What was removed must not come back after the files are gone.
        self.sync()?;
        self.read(|store| store.delete_files(before.files, before.settled))?;
        let mut now = self.removed();
        if now.reopened == before.reopened {
            (now.files, now.bytes) = (before.settled, 0);
        }
        Ok(())
    }

    fn removed(&self) -> MutexGuard<'_, Removed> {
        self.0.removed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reserve(&self) -> MutexGuard<'_, Reserve> {
        self.0.reserve.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn store(&self) -> RwLockReadGuard<'_, Option<Store>> {
        self.0.store.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<T>(&self, act: impl FnOnce(&Store) -> Result<T, Error>) -> Result<T, Error> {
        act(self.store().as_ref().ok_or(Error::Latched)?)
    }

    fn write(&self, sync: bool, fill: impl FnOnce(&Store, &mut Batch)) -> Result<(), Error> {
        let written = self.read(|store| {
            let mut batch = Batch::default();
            fill(store, &mut batch);
            store.write(batch, sync)
        });
        self.latch_unless(written)
    }

    fn sync(&self) -> Result<(), Error> {
        let synced = self.read(Store::sync);
        self.latch_unless(synced)
    }

    /// A failed fsync must not be repeated on the same file: the kernel may have dropped the pages that it could not
    /// write, so that the second fsync would succeed without them.
    fn latch_unless<T>(&self, written: Result<T, Error>) -> Result<T, Error> {
        if written.is_err() {
            *self.0.store.write().unwrap_or_else(PoisonError::into_inner) = None;
        }
        written
    }

    /// Opens the database again, and writes `again` before anybody else reads or writes.
    fn reopen(&self, again: impl Fn(&Store) -> Result<(), Error>) -> Result<(), Error> {
        let mut there = self.0.store.write().unwrap_or_else(PoisonError::into_inner);
        // Closes the old handle, because it holds the lock of the directory.
        *there = None;
        *there = Some(self.reserve().or_give_up(|| {
            let store = Store::open(&self.0.path, &self.0.options)?;
            // Whoever had the directory meanwhile has sent what was in it, and may have written more.
            if recovery::epoch(&store)? != self.0.epoch {
                return Err(Error::Superseded);
            }
            again(&store)?;
            Ok(store)
        })?);
        let settled = there.as_ref().map_or(Ok(Ranges::below(Sequence::ZERO)), Store::settled)?;
        let mut removed = self.removed();
        removed.reopened += 1;
        // Groups that are written again may be below what was removed, and what was settled last may not be on disk.
        removed.low = Sequence::ZERO;
        removed.settled = removed.settled.min(settled.low());
        removed.files = removed.files.min(removed.settled);
        Ok(())
    }
}
