//! The hybrid message log: what a collector has received and Kafka has not acknowledged yet.
//!
//! It is *hybrid* because one store serves as two logs (Meyer, Rexachs, Luque, Procedia Computer Science
//! 2014; Psaltis, *Streaming Data*, chapter 2): as the receiver-based log it holds what came in until it is
//! safe, as the sender-based log it holds what was sent until it is acknowledged. The write to Kafka goes
//! out in parallel with the fsync; the source's cursor moves when the fsync is done.
//!
//! # States of an entry
//!
//! ```text
//!            append                 acknowledge
//! (received) ──────▶ transient ───────────────────▶ (gone)
//!                        │ fail                        ▲
//!                        ▼                             │ acknowledge (its dead letter)
//!                     failed ──────────────────────────┘
//! ```
//!
//! # Invariants
//!
//! - An entry for which [`MessageLog::append`] returned `Ok` survives any crash, power loss included, until
//!   it is [acknowledged](MessageLog::acknowledge), or is the oldest of too many failed ones.
//! - An entry is in one family: the move to `failed` is one batch.
//! - A [`Sequence`] is never used twice, not even if its entry was never written: every opening starts an
//!   epoch of its own, which is on disk before the first sequence is given out.
//! - Nothing below the watermark is pending. The watermark only grows.
//! - A source's cursor covers written entries only, because it is written in the same batch as the entries
//!   that moved it.
//! - Memory: the sequences of the entries that are pending or failed; their payloads stay on disk.
//!
//! # On disk
//!
//! A RocksDB database of three column families, written by one thread.
//!
//! | family | key | value |
//! |---|---|---|
//! | `transient` | format byte 1, sequence (big-endian u64) | format byte 2 (1 is still read), header (postcard), payload |
//! | `failed` | the same | the same, the header with a reason |
//! | `default` | `instance` | random id of this log, 16 hex digits |
//! | | `epoch` | number of openings (big-endian u64) |
//! | | `watermark` | everything below this sequence is done (big-endian u64) |
//! | | `cursor:` source | the time at which the source resumes, ms since 1970 (big-endian i64) |
//! | | `feed:` source | which feed that cursor belongs to |
//!
//! A sequence is the epoch (24 bits) and a count (40 bits), so that a scan is in the order of arrival, which
//! random keys would not give. Of entries, only appends are synced: losing a removal or a move makes the
//! collector repeat work, but losing an append would lose the event.
//!
//! # Recovery
//!
//! | found | done |
//! |---|---|
//! | no database | one is created, with a new instance id |
//! | write-ahead log ends in a torn record | cut off there (`kPointInTimeRecovery`): its append never returned |
//! | entries from the watermark on | pending again; the caller finds out which of them reached Kafka |
//! | removal or watermark not on disk yet | those entries are pending again, likewise |
//! | an entry that cannot be decoded | skipped, counted in [`Recovered::damaged`]; in `transient` a removal deletes it later |
//! | write error | the log refuses everything that needs the database until [`MessageLog::reopen`] has succeeded |
//! | locked by another process | [`Error::Locked`]: two collectors must not share a log |

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::event::Reason;

mod error;
mod key;
mod record;
mod recovery;
mod store;
#[cfg(test)]
mod tests;

pub use error::Error;
pub use key::Sequence;
pub use record::Entry;
pub use recovery::Recovered;
use store::{Batch, Store};
pub use store::{Family, Options};

/// A removal writes a range tombstone, and many tombstones make every scan slow. So there is one removal for
/// this many entries, or earlier if this much time has passed since the last one.
const TRUNCATE_ENTRIES: u64 = 64 * 1024;
const TRUNCATE_INTERVAL: Duration = Duration::from_secs(1);

/// The log, see the [module](self). One thread owns it.
#[derive(Debug)]
pub struct MessageLog {
    path: PathBuf,
    options: Options,
    /// `None` after a write error, until reopened.
    store: Option<Store>,
    instance: String,
    next: Sequence,
    pending: BTreeSet<Sequence>,
    failed: BTreeSet<Sequence>,
    cursors: BTreeMap<String, i64>,
    truncated: Truncated,
}

/// The state of the last removal.
#[derive(Debug)]
struct Truncated {
    watermark: Sequence,
    /// How many pending entries were acknowledged since then.
    settled: u64,
    at: Option<Instant>,
}

impl MessageLog {
    /// Opens the log in the directory `path`, creating it if there is none.
    ///
    /// # Errors
    /// When the directory cannot be used, is locked by another process, or cannot be read.
    pub fn open(path: &Path, options: Options) -> Result<(Self, Recovered), Error> {
        let store = Store::open(path, &options)?;
        let state = recovery::run(&store)?;
        let recovered = state.summary();
        let log = Self {
            path: path.to_owned(),
            options,
            store: Some(store),
            instance: state.instance,
            next: state.next,
            pending: state.pending,
            failed: state.failed,
            cursors: state.cursors,
            truncated: Truncated { watermark: state.watermark, settled: 0, at: None },
        };
        Ok((log, recovered))
    }

    /// Opens the database again after a write error. Pending entries and the sequences that were given out
    /// stay as they are; new sequences belong to a new epoch.
    ///
    /// # Errors
    /// As for [`open`](Self::open); the log then keeps refusing, and this may be tried again.
    pub fn reopen(&mut self) -> Result<(), Error> {
        // Closes the old handle, because it holds the lock of the directory.
        self.store = None;
        let store = Store::open(&self.path, &self.options)?;
        self.next = recovery::begin_epoch(&store)?;
        self.store = Some(store);
        Ok(())
    }

    /// The id of this log, which never changes.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Gives out the next sequence. Whether an entry is then written with it or not, no other entry
    /// will ever have it.
    pub fn allot(&mut self) -> Sequence {
        let sequence = self.next;
        self.next = sequence.next();
        sequence
    }

    /// Writes `entries` and the cursor of the source that they came from in one batch, and returns when the
    /// batch is on disk. Writing an entry again is harmless.
    ///
    /// # Errors
    /// When the write or the fsync fails. Then `entries` may be on disk or not, and the log refuses
    /// everything until [`reopen`](Self::reopen).
    pub fn append(
        &mut self,
        entries: &[(Sequence, Entry)],
        cursor: Option<(&str, i64)>,
    ) -> Result<(), Error> {
        let mut batch = Batch::default();
        let store = self.store()?;
        for (sequence, entry) in entries {
            store.put(&mut batch, Family::Transient, *sequence, &entry.encode());
        }
        if let Some((source, cursor)) = cursor {
            store.put_cursor(&mut batch, source, cursor);
        }
        self.commit(batch, true)?;
        if let Some((source, cursor)) = cursor {
            self.cursors.insert(source.to_owned(), cursor);
        }
        self.pending.extend(entries.iter().map(|(sequence, _)| *sequence));
        Ok(())
    }

    /// Notes that a source is being connected to and which feed it gives. Returns the cursor to resume at, in
    /// milliseconds since 1970; `None` if this is the first connection, or the last one was to another feed.
    ///
    /// A cursor is valid for one feed only, because the cursor of an old feed may be newer than everything in
    /// the new one. So it is forgotten when the feed changes. From the first connection on, and until an
    /// event arrives, the cursor is 0; this tells an interruption apart from a first connection.
    ///
    /// # Errors
    /// As for [`append`](Self::append).
    pub fn begin_source(&mut self, source: &str, feed: &str) -> Result<Option<i64>, Error> {
        let same = self.store()?.feed(source)? == feed;
        let cursor = self.cursor(source).filter(|_| same);
        if cursor.is_none() {
            let mut batch = Batch::default();
            let store = self.store()?;
            store.put_feed(&mut batch, source, feed);
            store.put_cursor(&mut batch, source, 0);
            self.commit(batch, true)?;
            self.cursors.insert(source.to_owned(), 0);
        }
        Ok(cursor)
    }

    /// The last cursor that was written of a source, in milliseconds since 1970; `None` if the source was
    /// never connected to.
    pub fn cursor(&self, source: &str) -> Option<i64> {
        self.cursors.get(source).copied()
    }

    /// Forgets an entry, because Kafka has acknowledged it as an event or as a dead letter. Returns the family
    /// that it was in; `None` if it is not in the log.
    ///
    /// # Errors
    /// As for [`append`](Self::append), and only for an entry of `failed`.
    pub fn acknowledge(&mut self, sequence: Sequence) -> Result<Option<Family>, Error> {
        if self.pending.remove(&sequence) {
            self.truncated.settled += 1;
            return Ok(Some(Family::Transient));
        }
        if self.failed.contains(&sequence) {
            let mut batch = Batch::default();
            self.store()?.delete(&mut batch, Family::Failed, sequence);
            self.commit(batch, false)?;
            self.failed.remove(&sequence);
            return Ok(Some(Family::Failed));
        }
        Ok(None)
    }

    /// Moves an entry to `failed`, because Kafka has refused it for good, and gives it `reason` unless it has
    /// one already. Returns the entry, for its dead letter; `None` if it is not pending.
    ///
    /// At most [`Options::max_failed`] entries are kept. If there are more, the oldest is removed, and its
    /// sequence is the second value returned.
    ///
    /// # Errors
    /// As for [`append`](Self::append), and when the entry cannot be read.
    pub fn fail(
        &mut self,
        sequence: Sequence,
        reason: Reason,
    ) -> Result<Option<(Entry, Option<Sequence>)>, Error> {
        if !self.pending.contains(&sequence) {
            return Ok(None);
        }
        let store = self.store()?;
        let mut entry = store.get(Family::Transient, sequence)?;
        entry.reason.get_or_insert(reason);
        let mut batch = Batch::default();
        store.put(&mut batch, Family::Failed, sequence, &entry.encode());
        store.delete(&mut batch, Family::Transient, sequence);
        let full = self.failed.len() >= self.options.max_failed;
        let evicted = if full { self.failed.first().copied() } else { None };
        if let Some(oldest) = evicted {
            store.delete(&mut batch, Family::Failed, oldest);
        }
        self.commit(batch, false)?;
        if let Some(oldest) = evicted {
            self.failed.remove(&oldest);
        }
        self.pending.remove(&sequence);
        self.failed.insert(sequence);
        Ok(Some((entry, evicted)))
    }

    /// The entry of this sequence, if it is pending or failed.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn get(&self, sequence: Sequence) -> Result<Option<Entry>, Error> {
        let family = if self.pending.contains(&sequence) {
            Family::Transient
        } else if self.failed.contains(&sequence) {
            Family::Failed
        } else {
            return Ok(None);
        };
        self.store()?.get(family, sequence).map(Some)
    }

    /// Whether the entry is pending or failed.
    pub fn holds(&self, sequence: Sequence) -> bool {
        self.pending.contains(&sequence) || self.failed.contains(&sequence)
    }

    /// The sequence below which no entry is pending.
    pub fn watermark(&self) -> Sequence {
        self.oldest_pending().unwrap_or(self.next)
    }

    /// Removes the entries below the watermark if any entry was acknowledged since the last removal and a
    /// removal is due: the first one after an opening at once, later ones after 64 Ki acknowledged entries or
    /// a second. Returns whether it was due.
    ///
    /// # Errors
    /// As for [`append`](Self::append).
    pub fn truncate(&mut self, now: Instant) -> Result<bool, Error> {
        let settled = self.truncated.settled;
        let soon = self
            .truncated
            .at
            .is_some_and(|at| now.saturating_duration_since(at) < TRUNCATE_INTERVAL);
        if settled == 0 || (settled < TRUNCATE_ENTRIES && soon) {
            return Ok(false);
        }
        self.remove_done()?;
        self.truncated.at = Some(now);
        Ok(true)
    }

    /// Removes the entries below the watermark and closes the log. Dropping the log closes it too, but leaves
    /// more entries for the next start to look at.
    ///
    /// # Errors
    /// As for [`append`](Self::append).
    pub fn close(mut self) -> Result<(), Error> {
        self.remove_done()
    }

    fn remove_done(&mut self) -> Result<(), Error> {
        let watermark = self.watermark();
        let mut batch = Batch::default();
        let store = self.store()?;
        store.delete_range(&mut batch, Family::Transient, self.truncated.watermark, watermark);
        store.put_watermark(&mut batch, watermark);
        self.commit(batch, false)?;
        self.truncated.watermark = watermark;
        self.truncated.settled = 0;
        Ok(())
    }

    /// Up to `limit` entries of a family after `after`, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read, or an entry is damaged.
    pub fn read(
        &self,
        family: Family,
        after: Option<Sequence>,
        limit: usize,
    ) -> Result<Vec<(Sequence, Entry)>, Error> {
        let own = match family {
            Family::Transient => &self.pending,
            Family::Failed => &self.failed,
        };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let Some(first) = own.range((from, Bound::Unbounded)).next() else { return Ok(Vec::new()) };
        let mut entries = Vec::new();
        for item in self.store()?.scan(family, *first) {
            let (sequence, entry) = item?;
            // An acknowledged entry stays on disk until it is truncated.
            if own.contains(&sequence) {
                entries.push((sequence, entry.ok_or(Error::Damaged { sequence })?));
                if entries.len() == limit {
                    break;
                }
            }
        }
        Ok(entries)
    }

    /// The oldest entry that waits for Kafka's acknowledgement.
    pub fn oldest_pending(&self) -> Option<Sequence> {
        self.pending.first().copied()
    }

    /// How many entries wait for Kafka's acknowledgement.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// How many entries were refused and wait for the acknowledgement of their dead letter.
    pub fn failures(&self) -> usize {
        self.failed.len()
    }

    fn store(&self) -> Result<&Store, Error> {
        self.store.as_ref().ok_or(Error::Latched)
    }

    fn commit(&mut self, batch: Batch, sync: bool) -> Result<(), Error> {
        let written = self.store()?.write(batch, sync);
        if written.is_err() {
            // A failed fsync must not be repeated on the same file: the kernel may have dropped the pages
            // that it could not write, so that the second fsync would succeed without them.
            self.store = None;
        }
        written
    }
}
