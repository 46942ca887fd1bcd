//! Where the delivery gets the entries that it sends: from memory if they have just arrived, else from the log in pages.

use std::collections::{BTreeMap, VecDeque};

use common::message_log::{Entry, Error, MessageLog, Sequence};

use super::arrivals::Arrived;

/// How many bytes are read from the log at once.
const PAGE_BYTES: usize = 1 << 20;
/// How many bytes of memory that have arrived and not been sent are kept in memory.
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

    /// Reads entries of the log without taking them, see [`Pages::read_all`].
    ///
    /// # Errors
    /// When the log cannot be read.
    pub(super) fn read_all(&self, wanted: &[Sequence]) -> Result<Vec<(Sequence, Entry)>, Error> {
        match self {
            Self::Log(pages) => pages.read_all(wanted),
            Self::Memory(memory) => memory.logged.read_all(wanted),
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
            self.tail_bytes += entry.memory_bytes();
            self.tail.push_back((sequence, entry));
        }
        while self.tail_bytes > TAIL_BYTES {
            self.drop_oldest();
        }
    }

    /// Reads the entries with these sequences, which are in order: as many as have about [`PAGE_BYTES`], and one at least,
    /// each page of the log once. Those that cannot be read are left out; whoever sends them again finds out.
    fn read_all(&self, wanted: &[Sequence]) -> Result<Vec<(Sequence, Entry)>, Error> {
        let (mut found, mut bytes) = (Vec::new(), 0);
        let Some(last) = wanted.last() else { return Ok(found) };
        let (mut page, mut read_to) = (VecDeque::new(), Sequence::ZERO);
        for &sequence in wanted {
            if bytes >= PAGE_BYTES {
                break;
            }
            if sequence >= read_to {
                let read = self.log.page(sequence, last.next(), PAGE_BYTES)?;
                (page, read_to) = (VecDeque::from(read.entries), read.end);
            }
            while page.front().is_some_and(|(first, _)| *first < sequence) {
                page.pop_front();
            }
            if let Some((_, entry)) = page.pop_front_if(|(first, _)| *first == sequence) {
                bytes += entry.memory_bytes();
                found.push((sequence, entry));
            }
        }
        Ok(found)
    }

    fn drop_oldest(&mut self) -> Option<(Sequence, Entry)> {
        let oldest = self.tail.pop_front()?;
        self.tail_bytes -= oldest.1.memory_bytes();
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

#[cfg(test)]
mod tests {
    use common::message_log::Options;
    use tempfile::TempDir;

    use super::*;

    fn entry(bytes: usize) -> Entry {
        let payload = vec![7; bytes].into();
        Entry { source: "feed".into(), received_ms: 0, identity: None, reason: None, payload }
    }

    #[test]
    fn entries_that_are_apart_are_read_together_and_no_more_than_a_page() {
        let directory = TempDir::new().unwrap();
        let (log, mut appender, _) =
            MessageLog::open(directory.path(), Options::default()).unwrap();
        let mut all = Vec::new();
        for _ in 0..9 {
            let group: Vec<_> = (0..5).map(|_| (appender.allot(), entry(100_000))).collect();
            appender.append(&group, &[]).unwrap();
            all.extend(group);
        }
        let backlog = Backlog::of(log);
        let wanted: Vec<_> = all.iter().step_by(3).cloned().collect();
        let mut sequences: Vec<_> = wanted.iter().map(|(sequence, _)| *sequence).collect();
        // Nothing has this one.
        sequences.push(appender.allot());
        let first = backlog.read_all(&sequences).unwrap();
        assert_eq!(first, wanted[..11], "the eleventh takes it above the number of bytes");
        assert_eq!(backlog.read_all(&sequences[11..]).unwrap(), wanted[11..]);
        assert_eq!(backlog.read_all(&sequences[15..]).unwrap(), []);
    }
}
