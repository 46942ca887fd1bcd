//! Writes groups of entries, and makes them durable.

use std::collections::VecDeque;

use super::group;
use super::high_water::HighWater;
use super::key::Span;
use super::store::Batch;
use super::{Entry, Error, MessageLog, Sequence};

/// Sizes are kept for stretches of so many bytes, not for each group.
const STRETCH_BYTES: u64 = 1 << 20;

/// The end of the log at which entries are added. One thread has it.
#[derive(Debug)]
pub struct Appender {
    log: MessageLog,
    high_water: HighWater,
    next: Sequence,
    /// Groups that are not known to be on disk.
    unsynced: Vec<Group>,
    /// How many bytes those have.
    unsynced_bytes: usize,
    held: Held,
}

/// An fsync of all that was appended before it began. Another thread may run it, while more is appended.
#[derive(Debug)]
pub struct Sync {
    log: MessageLog,
    end: Sequence,
}

#[derive(Debug)]
struct Group {
    span: Span,
    record: Vec<u8>,
    cursors: Vec<(String, Vec<u8>)>,
}

/// How many bytes the groups have that are not removed.
#[derive(Debug, Default)]
struct Held {
    /// Bytes that were written, and those of them that were removed.
    written: u64,
    removed: u64,
    stretches: VecDeque<Stretch>,
}

/// A part of the log.
#[derive(Debug)]
struct Stretch {
    last: Sequence,
    /// How many bytes were written before it, and together with it.
    start: u64,
    end: u64,
}

impl Appender {
    /// `files` are the sizes of what is there from `low` on, by the last sequence in each.
    pub(super) fn new(
        log: MessageLog,
        high_water: HighWater,
        next: Sequence,
        low: Sequence,
        files: Vec<(Sequence, u64)>,
    ) -> Self {
        let mut held = Held::default();
        for (last, bytes) in files.into_iter().filter(|(last, _)| *last >= low) {
            held.add(last, bytes);
        }
        Self { log, high_water, next, unsynced: Vec::new(), unsynced_bytes: 0, held }
    }

    /// Gives out the next sequence. Whether an entry is then written with it or not, no other entry
    /// will ever have it.
    pub fn allot(&mut self) -> Sequence {
        let sequence = self.next;
        self.next = sequence.next();
        sequence
    }

    /// Writes `entries`, which have sequences that follow each other, and the cursors of their sources as one group. When
    /// this returns, the group survives the end of the process, but not of the machine.
    ///
    /// # Errors
    /// When the write fails. Then the group may be there or not, the log refuses everything, and
    /// [`reopen`](Self::reopen) writes the group again: it must not be appended a second time.
    pub fn append(
        &mut self,
        entries: &[(Sequence, Entry)],
        cursors: &[(&str, &[u8])],
    ) -> Result<(), Error> {
        let (Some((first, _)), Some((last, _))) = (entries.first(), entries.last()) else {
            return Ok(());
        };
        let span = Span { first: *first, last: *last };
        let record = group::encode(span, entries);
        let cursors: Vec<_> = cursors
            .iter()
            .map(|(source, cursor)| ((*source).to_owned(), (*cursor).to_owned()))
            .collect();
        self.held.add(span.last, record.len() as u64);
        self.unsynced_bytes += record.len();
        self.unsynced.push(Group { span, record, cursors });
        let Some(group) = self.unsynced.last() else { return Ok(()) };
        self.log.write(false, |store, batch| group.put(store, batch))
    }

    /// How many bytes were appended that are not known to be on disk.
    pub const fn unsynced_bytes(&self) -> usize {
        self.unsynced_bytes
    }

    /// Returns when all that was appended is on disk: everything before the returned sequence.
    ///
    /// # Errors
    /// When the fsync fails. Then the log refuses everything until [`reopen`](Self::reopen).
    pub fn sync(&mut self) -> Result<Sequence, Error> {
        let sync = self.begin_sync();
        sync.run()?;
        self.synced(sync.end);
        Ok(sync.end)
    }

    /// An fsync of all that was appended so far. When it has run without an error, [`synced`](Self::synced) is to be called.
    pub fn begin_sync(&self) -> Sync {
        Sync { log: self.log.clone(), end: self.next }
    }

    /// Everything before `end` is on disk.
    pub fn synced(&mut self, end: Sequence) {
        let count = self.unsynced.partition_point(|group| group.span.last < end);
        let groups = self.unsynced.drain(..count);
        let newest = groups.fold(None, |_, group| {
            self.unsynced_bytes -= group.record.len();
            Some(group.span.last)
        });
        if let Some(newest) = newest {
            self.high_water.raise(newest);
        }
    }

    /// Opens the database again after a write error, and writes what may be missing in it. When this returns, all that was
    /// appended is on disk. No [`Sync`] may run meanwhile.
    ///
    /// # Errors
    /// As for [`MessageLog::open`], and when another process has opened the log meanwhile; the log then keeps refusing, and
    /// this may be tried again if the error is retryable.
    pub fn reopen(&mut self) -> Result<Sequence, Error> {
        let unsynced = &self.unsynced;
        self.log.reopen(|store| {
            let mut batch = Batch::default();
            for group in unsynced {
                group.put(store, &mut batch);
            }
            store.write(batch, true)
        })?;
        self.synced(self.next);
        Ok(self.next)
    }

    /// How many bytes of groups are in the log and not settled, apart from up to 1 MiB and what is in the same file as
    /// something unsettled since the start.
    pub fn held_bytes(&mut self) -> u64 {
        let removed = self.log.removed().settled;
        let bytes = self.held.remove_below(removed);
        self.log.removed().bytes += bytes;
        self.held.written - self.held.removed
    }
}

impl Sync {
    /// Returns when it is done.
    ///
    /// # Errors
    /// When it fails. Then the log refuses everything until [`reopen`](Appender::reopen).
    pub fn run(&self) -> Result<(), Error> {
        self.log.sync()
    }

    /// What was appended before this sequence is on disk when it is done.
    pub const fn end(&self) -> Sequence {
        self.end
    }
}

impl Group {
    fn put(&self, store: &super::Store, batch: &mut Batch) {
        store.put_group(batch, self.span, &self.record);
        for (source, cursor) in &self.cursors {
            store.put_cursor(batch, source, cursor);
        }
    }
}

impl Held {
    fn add(&mut self, last: Sequence, bytes: u64) {
        let start = self.written;
        self.written += bytes;
        match self.stretches.back_mut() {
            Some(stretch) if stretch.end - stretch.start < STRETCH_BYTES => {
                (stretch.last, stretch.end) = (last, self.written);
            }
            _ => self.stretches.push_back(Stretch { last, start, end: self.written }),
        }
    }

    /// Returns how many bytes are removed now that were not.
    fn remove_below(&mut self, low: Sequence) -> u64 {
        let before = self.removed;
        while let Some(stretch) = self.stretches.front().filter(|stretch| stretch.last < low) {
            self.removed = stretch.end;
            self.stretches.pop_front();
        }
        self.removed - before
    }
}
