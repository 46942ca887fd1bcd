//! What the log finds when it is opened.

use std::collections::{BTreeMap, BTreeSet};

use super::store::{Family, Store};
use super::{Error, Sequence};

const INSTANCE: &str = "instance";
const EPOCH: &str = "epoch";

/// What was found when the log was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// Entries that wait for Kafka.
    pub pending: usize,
    /// Entries that Kafka refused and whose dead letters are not acknowledged.
    pub failed: usize,
    /// Entries that could not be decoded and are skipped.
    pub damaged: usize,
    /// When the oldest of pending and failed entries was received, in milliseconds since 1970.
    pub oldest_received_ms: Option<i64>,
}

pub(super) struct State {
    pub(super) instance: String,
    pub(super) next: Sequence,
    pub(super) watermark: Sequence,
    pub(super) pending: BTreeSet<Sequence>,
    pub(super) failed: BTreeSet<Sequence>,
    pub(super) cursors: BTreeMap<String, i64>,
    damaged: usize,
    oldest_received_ms: Option<i64>,
}

impl State {
    pub(super) fn summary(&self) -> Recovered {
        Recovered {
            pending: self.pending.len(),
            failed: self.failed.len(),
            damaged: self.damaged,
            oldest_received_ms: self.oldest_received_ms,
        }
    }
}

pub(super) fn run(store: &Store) -> Result<State, Error> {
    let instance = match store.text(INSTANCE)? {
        Some(instance) => instance,
        None => {
            let instance = format!("{:016x}", rand::random::<u64>());
            store.put_for_good(INSTANCE, instance.as_bytes())?;
            instance
        }
    };
    let watermark = store.watermark()?;
    let mut state = State {
        instance,
        next: Sequence::ZERO,
        watermark,
        pending: BTreeSet::new(),
        failed: BTreeSet::new(),
        cursors: store.cursors()?.into_iter().collect(),
        damaged: 0,
        oldest_received_ms: None,
    };
    // Scanning over deleted entries is slow, so the scan of `transient` starts where the last removal ended.
    for (family, from) in [(Family::Transient, watermark), (Family::Failed, Sequence::ZERO)] {
        for found in store.scan(family, from) {
            let (sequence, entry) = found?;
            let Some(entry) = entry else {
                state.damaged += 1;
                continue;
            };
            let oldest = state.oldest_received_ms.get_or_insert(entry.received_ms);
            *oldest = entry.received_ms.min(*oldest);
            match family {
                Family::Transient => state.pending.insert(sequence),
                Family::Failed => state.failed.insert(sequence),
            };
        }
    }
    state.next = begin_epoch(store)?;
    Ok(state)
}

/// Starts a new epoch, on disk, and returns its first sequence.
pub(super) fn begin_epoch(store: &Store) -> Result<Sequence, Error> {
    let known = store.number(EPOCH)?.map_or(0, u64::from_be_bytes);
    // The count of an epoch of more than 2⁴⁰ entries has overflowed into the next epochs.
    let epoch = known.max(store.watermark()?.epoch()) + 1;
    let first = Sequence::first_of(epoch).ok_or(Error::Exhausted)?;
    store.put_for_good(EPOCH, &epoch.to_be_bytes())?;
    Ok(first)
}
