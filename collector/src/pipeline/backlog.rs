//! Where the delivery gets the entries that it sends: from memory if they have just arrived, else from the log in pages.

use std::collections::{BTreeMap, VecDeque};

use common::message_log::{Entry, Error, MessageLog, Sequence};

use super::arrivals::Arrived;

/// How many bytes are read from the log at once.
const PAGE_BYTES: usize = 1 << 20;
/// How many bytes of payloads that have arrived and not been sent are kept in memory.
const TAIL_BYTES: usize = 8 << 20;

/// What was found.
#[derive(Debug)]
pub(super) enum Found {
    Entry(Entry),
    /// These ranges, up to the second sequence, cannot be read.
    Damaged(Vec<(Sequence, Sequence)>),
}

/// The entries of groups.
#[derive(Debug)]
pub(super) enum Backlog {
    /// They are in the log.
    Log(Pages),
    /// There is no log for what arrives: it is kept until it is settled, and with it its share of the source's queue.
    Memory(Memory),
}

/// What has arrived without a log, behind what a log of before holds.
#[derive(Debug)]
pub(super) struct Memory {
    /// Everything before is in the log, if it is anywhere.
    start: Sequence,
    logged: Pages,
    kept: BTreeMap<Sequence, Arrived>,
}

/// Entries of the log that are in memory.
#[derive(Debug)]
pub(super) struct Pages {
    log: MessageLog,
    /// What was read from the log.
    page: VecDeque<(Sequence, Entry)>,
    /// What has arrived and was not sent, the newest of it.
    tail: VecDeque<(Sequence, Entry)>,
    tail_bytes: usize,
}

impl Backlog {
    /// The entries of this log.
    pub(super) const fn of(log: MessageLog) -> Self {
        Self::Log(Pages::of(log))
    }

    /// The entries of this log before `start`, and what arrives from then on in memory.
    pub(super) const fn without_log_from(start: Sequence, log: MessageLog) -> Self {
        Self::Memory(Memory { start, logged: Pages::of(log), kept: BTreeMap::new() })
    }

    /// Takes in what has arrived.
    pub(super) fn add(&mut self, entries: VecDeque<Arrived>) {
        match self {
            Self::Log(pages) => pages.add(entries),
            Self::Memory(memory) => {
                memory.kept.extend(entries.into_iter().map(|arrived| (arrived.sequence, arrived)));
            }
        }
    }

    /// Takes an entry out, to be sent. All before it are skipped. `end` is where the log ends.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub(super) fn take(&mut self, sequence: Sequence, end: Sequence) -> Result<Found, Error> {
        match self {
            Self::Log(pages) => pages.take(sequence, end),
            Self::Memory(memory) if sequence < memory.start => {
                memory.logged.take(sequence, memory.start)
            }
            Self::Memory(memory) => Ok(match memory.kept.get(&sequence) {
                Some(arrived) => Found::Entry(arrived.entry.clone()),
                None => Found::Damaged(vec![(sequence, sequence.next())]),
            }),
        }
    }

    /// Puts an entry back that was taken and could not be sent.
    pub(super) fn put_back(&mut self, sequence: Sequence, entry: Entry) {
        match self {
            Self::Log(pages) => pages.page.push_front((sequence, entry)),
            Self::Memory(memory) if sequence < memory.start => {
                memory.logged.page.push_front((sequence, entry));
            }
            Self::Memory(_) => {}
        }
    }

    /// Entries before those that were taken last are needed again.
    pub(super) fn rewind(&mut self) {
        match self {
            Self::Log(pages) => pages.page.clear(),
            Self::Memory(memory) => memory.logged.page.clear(),
        }
    }

    /// An entry is settled.
    pub(super) fn settle(&mut self, sequence: Sequence) {
        if let Self::Memory(memory) = self {
            memory.kept.remove(&sequence);
        }
    }

    /// Reads one entry without taking it; `None` if it cannot be read.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub(super) fn read(&self, sequence: Sequence) -> Result<Option<Entry>, Error> {
        match self {
            Self::Log(pages) => pages.read(sequence),
            Self::Memory(memory) if sequence < memory.start => memory.logged.read(sequence),
            Self::Memory(memory) => {
                Ok(memory.kept.get(&sequence).map(|arrived| arrived.entry.clone()))
            }
        }
    }
}

impl Pages {
    const fn of(log: MessageLog) -> Self {
        Self { log, page: VecDeque::new(), tail: VecDeque::new(), tail_bytes: 0 }
    }

    fn read(&self, sequence: Sequence) -> Result<Option<Entry>, Error> {
        let page = self.log.page(sequence, sequence.next(), 1)?;
        Ok(page.entries.into_iter().map(|(_, entry)| entry).next())
    }

    fn add(&mut self, entries: VecDeque<Arrived>) {
        for Arrived { sequence, entry, .. } in entries {
            self.tail_bytes += entry.payload.len();
            self.tail.push_back((sequence, entry));
        }
        while self.tail_bytes > TAIL_BYTES {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) -> Option<(Sequence, Entry)> {
        let oldest = self.tail.pop_front()?;
        self.tail_bytes -= oldest.1.payload.len();
        Some(oldest)
    }

    fn take(&mut self, sequence: Sequence, end: Sequence) -> Result<Found, Error> {
        loop {
            while self.page.front().is_some_and(|(first, _)| *first < sequence) {
                self.page.pop_front();
            }
            while self.tail.front().is_some_and(|(first, _)| *first < sequence) {
                self.drop_oldest();
            }
            if self.page.front().is_some_and(|(first, _)| *first == sequence)
                && let Some((_, entry)) = self.page.pop_front()
            {
                return Ok(Found::Entry(entry));
            }
            if self.tail.front().is_some_and(|(first, _)| *first == sequence)
                && let Some((_, entry)) = self.drop_oldest()
            {
                return Ok(Found::Entry(entry));
            }
            let to = self.tail.front().map_or(end, |(first, _)| *first).min(end);
            let page = self.log.page(sequence, to, PAGE_BYTES)?;
            self.page = page.entries.into();
            if !page.damaged.is_empty() {
                return Ok(Found::Damaged(page.damaged));
            }
        }
    }
}
