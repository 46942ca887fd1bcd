//! What is in a log, in numbers.

use std::collections::BTreeMap;

use common::event::Reason;
use common::message_log::{Entry, Found, Place, Sequence};

/// So many damaged ranges are kept one by one; of further ones only their number is known.
const MAX_RANGES: usize = 1_000;

/// Numbers by place.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// With those that came at the same time.
    pub groups: u64,
    /// Out of their group, waiting.
    pub deferred: u64,
    /// Refused by Kafka.
    pub failed: u64,
}

/// The times of receipt of the oldest and the newest, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// The oldest.
    pub oldest_ms: i64,
    /// The newest.
    pub newest_ms: i64,
}

/// What came from one source.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct OfSource {
    /// How many entries.
    pub counts: Counts,
    /// How many bytes of payload.
    pub payload_bytes: u64,
    /// When they were received.
    pub received: Option<Received>,
}

/// A range that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damage {
    /// Where.
    pub place: Place,
    /// The first sequence.
    pub from: Sequence,
    /// The sequence after the last.
    pub to: Sequence,
}

/// See the [module](self).
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Summary {
    /// How many entries.
    pub counts: Counts,
    /// How many bytes of payload.
    pub payload_bytes: u64,
    /// When they were received.
    pub received: Option<Received>,
    /// The same by source.
    pub sources: BTreeMap<String, OfSource>,
    /// Those that go to the dead letters, by reason.
    pub reasons: BTreeMap<Reason, Counts>,
    /// What cannot be read.
    pub damaged: Vec<Damage>,
    /// How many damaged ranges there are, also those that are not kept.
    pub damaged_ranges: u64,
}

impl Counts {
    const fn add(&mut self, place: Place) {
        match place {
            Place::Group => self.groups += 1,
            Place::Deferred => self.deferred += 1,
            Place::Failed => self.failed += 1,
        }
    }

    /// How many there are.
    pub const fn total(self) -> u64 {
        self.groups + self.deferred + self.failed
    }

    /// How many wait for Kafka.
    pub const fn pending(self) -> u64 {
        self.groups + self.deferred
    }
}

impl Received {
    fn with(before: Option<Self>, ms: i64) -> Self {
        before.map_or(Self { oldest_ms: ms, newest_ms: ms }, |known| Self {
            oldest_ms: known.oldest_ms.min(ms),
            newest_ms: known.newest_ms.max(ms),
        })
    }
}

impl Damage {
    /// How many entries it has; `None` if nobody knows.
    pub const fn entries(self) -> Option<u64> {
        match self.place {
            Place::Group => Some(self.to.since(self.from)),
            Place::Deferred | Place::Failed => None,
        }
    }
}

impl Summary {
    /// Adds what was found.
    pub fn add(&mut self, found: &Found) {
        match found {
            Found::Entry(place, _, entry) => self.add_entry(*place, entry),
            Found::Damaged(place, from, to) => {
                self.damaged_ranges += 1;
                if self.damaged.len() < MAX_RANGES {
                    self.damaged.push(Damage { place: *place, from: *from, to: *to });
                }
            }
        }
    }

    fn add_entry(&mut self, place: Place, entry: &Entry) {
        let bytes = entry.payload.len() as u64;
        self.counts.add(place);
        self.payload_bytes += bytes;
        self.received = Some(Received::with(self.received, entry.received_ms));
        if !self.sources.contains_key(&*entry.source) {
            self.sources.insert(entry.source.to_string(), OfSource::default());
        }
        if let Some(source) = self.sources.get_mut(&*entry.source) {
            source.counts.add(place);
            source.payload_bytes += bytes;
            source.received = Some(Received::with(source.received, entry.received_ms));
        }
        if let Some(reason) = entry.reason {
            self.reasons.entry(reason).or_default().add(place);
        }
    }
}

#[cfg(test)]
pub mod tests {
    use bytes::Bytes;

    use super::*;

    pub fn entry(source: &str, received_ms: i64, reason: Option<Reason>, payload: &str) -> Entry {
        Entry {
            source: source.into(),
            received_ms,
            identity: None,
            reason,
            payload: Bytes::copy_from_slice(payload.as_bytes()),
        }
    }

    pub fn found(place: Place, number: usize, entry: Entry) -> Found {
        Found::Entry(place, Sequence::from_opaque(number), entry)
    }

    #[test]
    fn everything_is_counted_once_by_source_by_place_and_by_reason() {
        let mut summary = Summary::default();
        let empty = Some(Reason::Empty);
        summary.add(&found(Place::Group, 3, entry("a", 20, None, "xx")));
        summary.add(&found(Place::Deferred, 1, entry("b", 10, empty, "")));
        summary.add(&found(Place::Failed, 2, entry("a", 30, empty, "y")));
        let damage =
            Found::Damaged(Place::Group, Sequence::from_opaque(7), Sequence::from_opaque(9));
        summary.add(&damage);
        assert_eq!(summary.counts, Counts { groups: 1, deferred: 1, failed: 1 });
        assert_eq!((summary.counts.total(), summary.counts.pending()), (3, 2));
        assert_eq!(summary.payload_bytes, 3);
        assert_eq!(summary.received, Some(Received { oldest_ms: 10, newest_ms: 30 }));
        let a = &summary.sources["a"];
        assert_eq!(a.counts, Counts { groups: 1, deferred: 0, failed: 1 });
        assert_eq!(a.received, Some(Received { oldest_ms: 20, newest_ms: 30 }));
        assert_eq!(summary.reasons[&Reason::Empty], Counts { groups: 0, deferred: 1, failed: 1 });
        assert_eq!(summary.damaged[0].entries(), Some(2));
    }

    #[test]
    fn a_log_that_is_damaged_everywhere_takes_no_more_memory_for_it() {
        let mut summary = Summary::default();
        for number in 0..2 * MAX_RANGES {
            let at = Sequence::from_opaque(2 * number);
            summary.add(&Found::Damaged(Place::Group, at, at.next()));
        }
        assert_eq!(summary.damaged.len(), MAX_RANGES);
        assert_eq!(summary.damaged_ranges, 2 * MAX_RANGES as u64);
    }
}
