//! What the log finds when it is opened.

use std::collections::BTreeMap;

use super::key::Span;
use super::records::Single;
use super::store::{Batch, Family, Store};
use super::{Error, Ranges, Sequence, reseal};

const INSTANCE: &str = "instance";
const EPOCH: &str = "epoch";
/// How many entries of the format before are moved at once.
const OLD_PAGE: usize = 1024;

/// What was found when the log was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Which sequences are settled. All others before [`end`](Self::end) are entries that wait for Kafka, or are missing
    /// because a group is damaged.
    pub settled: Ranges,
    /// The first sequence that will be given out: everything before it is old.
    pub end: Sequence,
    /// Entries that wait for Kafka outside of their group.
    pub deferred: Vec<Sequence>,
    /// Entries that Kafka refused and whose dead letters are not acknowledged.
    pub failed: Vec<Sequence>,
    /// Entries outside of the groups that could not be decoded, or are plain in the format before although the log is encrypted.
    /// They are skipped.
    pub damaged: usize,
    /// Whether RocksDB's files were too damaged to be opened, and were repaired. What is missing of the groups is found when it
    /// is to be read; outside of them nobody knows.
    pub is_repaired: bool,
    /// Numbers by name that were written together with what is settled; only the caller knows what they mean.
    pub positions: BTreeMap<String, i64>,
}

impl Recovered {
    /// How many entries wait for Kafka.
    pub fn pending(&self) -> u64 {
        self.end.since(self.settled.low()) - self.settled.count_above() + self.deferred.len() as u64
    }
}

/// Returns the log's instance and what is in it. `high_water` is the last sequence that was on disk, if that is known.
pub(super) fn run(
    store: &Store,
    high_water: Option<Sequence>,
    is_repaired: bool,
) -> Result<(String, Recovered), Error> {
    // Without the number of openings, sequences of this instance could be given out again.
    let known = if epoch(store)? > 0 { instance(store)? } else { None };
    let instance = match known {
        Some(instance) => instance,
        None => {
            let instance = format!("{:016x}", rand::random::<u64>());
            store.put_for_good(INSTANCE, instance.as_bytes())?;
            instance
        }
    };
    let damaged = migrate(store)?;
    let (settled, positions) = (store.settled()?, store.positions()?);
    let mut found = Recovered { settled, positions, damaged, is_repaired, ..Recovered::default() };
    if is_repaired && found.settled.low() == Sequence::ZERO {
        // What is settled was lost, too. Entries before the first group that is there are taken for settled.
        let first = store.groups(Sequence::ZERO).next().transpose()?;
        found.settled = Ranges::below(first.map_or(Sequence::ZERO, |(span, _)| span.first));
    }
    let mut after_groups = skip_between_groups(store, &mut found.settled)?;
    if let Some(last) = high_water.filter(|last| *last >= after_groups) {
        note_missing(store, after_groups, last)?;
        after_groups = skip_between_groups(store, &mut found.settled)?;
    }
    for family in Family::ALL {
        for entry in store.scan(family) {
            match (entry?, family) {
                (Single::Damaged(..), _) => found.damaged += 1,
                (Single::Entry(sequence, _), Family::Deferred) => found.deferred.push(sequence),
                (Single::Entry(sequence, _), Family::Failed) => found.failed.push(sequence),
            }
        }
    }
    found.end = begin_epoch(store, after_groups)?;
    found.settled.insert(after_groups, found.end);
    reseal::rotate(store, found.end, &found.settled)?;
    Ok((instance, found))
}

/// Makes entries of a log of the format before deferred ones: one entry a key is what both are. After a crash in
/// between it begins again. Returns how many are not taken: they are plain, so that none is of an encrypted log. These stay
/// where they are.
pub(super) fn migrate(store: &Store) -> Result<usize, Error> {
    let mut from = store.settled()?.low();
    let mut moved = 0;
    loop {
        let page = store.old_entries(from, OLD_PAGE)?;
        let Some((last, _)) = page.last() else { break };
        from = last.next();
        moved += page.len();
        if !store.has_plain() {
            continue;
        }
        let mut batch = Batch::default();
        for (sequence, record) in &page {
            store.put(&mut batch, Family::Deferred, *sequence, record);
        }
        store.write(batch, true)?;
    }
    if !store.has_plain() {
        if moved > 0 {
            tracing::error!(
                entries = moved,
                "entries of the encrypted message log are plain, and are taken for damaged"
            );
        }
        return Ok(moved);
    }
    if !store.old_entries(Sequence::ZERO, 1)?.is_empty() {
        let mut batch = Batch::default();
        store.delete_old_entries(&mut batch);
        store.write(batch, true)?;
        tracing::info!(
            entries = moved,
            "the message log was in the format before, and is converted"
        );
    }
    Ok(0)
}

/// Adds the sequences to `settled` that no entry has, because an epoch ended before them. Returns the sequence after the
/// last group. It looks at the first and the last group of each epoch only, so that a large log is opened as fast as a
/// small one. A group that is missing before the last one of its epoch is found when it is to be read.
pub(super) fn skip_between_groups(store: &Store, settled: &mut Ranges) -> Result<Sequence, Error> {
    let mut from = settled.low();
    while let Some(group) = store.groups(from).next() {
        let (first, _) = group?;
        if first.first.epoch() != from.epoch() {
            settled.insert(from, first.first.first_of_epoch());
        }
        let last = store.last_group(first.last.last_of_epoch())?;
        from = last.unwrap_or(first.last).next();
    }
    Ok(from)
}

/// Writes a group that cannot be read in the place of what was on disk from `from` to `last` and is not there: it is told
/// like any other damage, also after further starts. What is missing of earlier epochs is not known.
fn note_missing(store: &Store, from: Sequence, last: Sequence) -> Result<(), Error> {
    let missing = Span { first: from.max(last.first_of_epoch()), last };
    tracing::error!(
        from = %missing.first,
        to = %last,
        "the end of the message log is missing, although it was on disk"
    );
    let mut batch = Batch::default();
    store.put_group(&mut batch, missing, &[]);
    store.write(batch, true)
}

/// The id of the log; `None` if it was never opened.
pub(super) fn instance(store: &Store) -> Result<Option<String>, Error> {
    store.text(INSTANCE)
}

/// How often the log was opened.
pub(super) fn epoch(store: &Store) -> Result<u64, Error> {
    Ok(store.number(EPOCH)?.map_or(0, u64::from_be_bytes))
}

/// Starts a new epoch, on disk, and returns its first sequence.
fn begin_epoch(store: &Store, used: Sequence) -> Result<Sequence, Error> {
    let known = epoch(store)?;
    // The count of an epoch of more than 2⁴⁰ entries has overflowed into the next epochs.
    let epoch = known.max(used.epoch()) + 1;
    let first = Sequence::first_of(epoch).ok_or(Error::Exhausted)?;
    store.put_for_good(EPOCH, &epoch.to_be_bytes())?;
    Ok(first)
}
