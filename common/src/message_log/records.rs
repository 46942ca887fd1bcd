//! The records of a family in order. What is on damaged blocks of the disk is skipped, so that it does not keep what is
//! behind it.

use bytes::Bytes;
use rocksdb::{DBIterator, ErrorKind};

use super::key::Span;
use super::store::{Family, Store, TRANSIENT};
use super::{Entry, Error, Sequence, quarantine};

/// How a family's keys hold sequences.
#[derive(Debug, Clone, Copy)]
struct Keys {
    /// A key that is not above those of this sequence and later ones, and above all others.
    from: fn(Sequence) -> [u8; 9],
    sequence: fn(&[u8]) -> Option<Sequence>,
}

const GROUPS: Keys =
    Keys { from: Sequence::groups_from, sequence: |key| Span::from_key(key).map(|span| span.last) };
const ENTRIES: Keys = Keys { from: Sequence::key, sequence: Sequence::from_key };

/// What a family has instead of or beside groups.
#[derive(Debug)]
pub(super) enum Single {
    /// An entry.
    Entry(Sequence, Entry),
    /// From the first sequence up to the second, without it, something cannot be read; nobody knows how many entries.
    Damaged(Sequence, Sequence),
}

/// What comes next.
#[derive(Debug)]
enum Record {
    /// A key and a value.
    Whole(Box<[u8]>, Box<[u8]>),
    /// Something that cannot be read, from a sequence up to another one.
    Unreadable(Sequence, Sequence),
}

/// See the [module](self).
struct Records<'s> {
    store: &'s Store,
    family: &'static str,
    keys: Keys,
    /// All before was looked at.
    at: Sequence,
    inner: DBIterator<'s>,
}

impl Store {
    /// The groups that end at `from` or later, in order, as they are stored.
    pub(super) fn groups(
        &self,
        from: Sequence,
    ) -> impl Iterator<Item = Result<(Span, Bytes), Error>> {
        Records::new(self, TRANSIENT, GROUPS, from).filter_map(|record| match record {
            Ok(Record::Whole(key, value)) => {
                Span::from_key(&key).map(|span| Ok((span, Bytes::from(value))))
            }
            Ok(Record::Unreadable(..)) => None,
            Err(error) => Some(Err(error)),
        })
    }

    /// The entries of a family in order.
    pub(super) fn scan(&self, family: Family) -> impl Iterator<Item = Result<Single, Error>> {
        let records = Records::new(self, family.name(), ENTRIES, Sequence::ZERO);
        records.filter_map(move |record| match record {
            Ok(Record::Whole(key, value)) => {
                let sequence = Sequence::from_key(&key)?;
                let opened = self.opened(family.name(), &key, value.into());
                Some(opened.map(|value| match value.and_then(Entry::decode) {
                    Some(entry) => Single::Entry(sequence, entry),
                    None => Single::Damaged(sequence, sequence.next()),
                }))
            }
            Ok(Record::Unreadable(from, to)) => Some(Ok(Single::Damaged(from, to))),
            Err(error) => Some(Err(error)),
        })
    }

    /// The groups or entries of a family with their keys, as they are stored; without what cannot be read.
    pub(super) fn stored(
        &self,
        family: &'static str,
    ) -> impl Iterator<Item = Result<(Box<[u8]>, Bytes), Error>> {
        let keys = if family == TRANSIENT { GROUPS } else { ENTRIES };
        Records::new(self, family, keys, Sequence::ZERO).filter_map(move |record| match record {
            Ok(Record::Whole(key, value)) => {
                (keys.sequence)(&key).map(|_| Ok((key, Bytes::from(value))))
            }
            Ok(Record::Unreadable(..)) => None,
            Err(error) => Some(Err(error)),
        })
    }

    /// A page of the entries that a log of the format before holds in `transient`, one a key, from `from` on. Damaged blocks
    /// are skipped; if nothing more can be read, what comes next is a group.
    pub(super) fn old_entries(
        &self,
        from: Sequence,
        limit: usize,
    ) -> Result<Vec<(Sequence, Bytes)>, Error> {
        let mut page = Vec::new();
        for record in Records::new(self, TRANSIENT, ENTRIES, from) {
            let (key, value) = match record {
                Ok(Record::Whole(key, value)) => (key, value),
                Ok(Record::Unreadable(..)) => continue,
                Err(Error::Read(error)) if error.kind() == ErrorKind::Corruption => break,
                Err(error) => return Err(error),
            };
            let Some(sequence) = Sequence::from_key(&key) else { break };
            page.push((sequence, Bytes::from(value)));
            if page.len() == limit {
                break;
            }
        }
        Ok(page)
    }
}

impl<'s> Records<'s> {
    fn new(store: &'s Store, family: &'static str, keys: Keys, from: Sequence) -> Self {
        let inner = store.iterator(family, &(keys.from)(from));
        Self { store, family, keys, at: from, inner }
    }

    /// The first sequence from which on reading is possible again. Of two damaged blocks that are near to each other what
    /// is between them may be skipped too. `None` if nothing can be read.
    fn next_readable(&self) -> Option<Sequence> {
        let is_readable = |from| self.store.can_seek(self.family, &(self.keys.from)(from));
        let (mut bad, mut step) = (self.at, 1_u64);
        let mut good = self.at.checked_after(step)?;
        while !is_readable(good) {
            bad = good;
            step = step.checked_mul(2)?;
            good = self.at.checked_after(step)?;
        }
        while good.since(bad) > 1 {
            let middle = bad.after(good.since(bad) / 2);
            if is_readable(middle) {
                good = middle;
            } else {
                bad = middle;
            }
        }
        Some(good)
    }

    /// Keeps the files with what cannot be read up to `next`, and says so.
    fn keep_damaged(&self, error: &rocksdb::Error, next: Sequence) {
        tracing::error!(%error, from = %self.at, to = %next, "a part of the message log cannot be read");
        let (first, last) = ((self.keys.from)(self.at), (self.keys.from)(next));
        let files = self.store.files_with(self.family, &first, &last);
        quarantine::keep(self.store.path(), &files, self.at, next);
    }
}

impl Iterator for Records<'_> {
    type Item = Result<Record, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.inner.next()? {
            Ok((key, value)) => {
                if let Some(sequence) = (self.keys.sequence)(&key) {
                    self.at = sequence.next();
                }
                Some(Ok(Record::Whole(key, value)))
            }
            Err(error) if error.kind() == ErrorKind::Corruption => {
                let Some(next) = self.next_readable() else {
                    return Some(Err(Error::Read(error)));
                };
                if !self.store.is_read_only() {
                    self.keep_damaged(&error, next);
                }
                let from = std::mem::replace(&mut self.at, next);
                self.inner = self.store.iterator(self.family, &(self.keys.from)(next));
                Some(Ok(Record::Unreadable(from, next)))
            }
            Err(error) => Some(Err(Error::Read(error))),
        }
    }
}
