//! What is known about the items of one window pane: their counts, and how many there are.
//!
//! While a summary has never overflowed its counters are exact, and their number is the number of
//! distinct items; only then does a [`Distinct`] sketch come into being, with the items that are
//! tracked at that moment, and from then on sees each item that is not.
//!
//! Encoding, of both kinds the same: capacity, ceiling, total, items as (text, count, error) in slot order or by
//! hash, and the registers of the sketch if there is one. Hashes are computed again: they are not to be trusted.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::core::hash::hash;
use crate::core::sketch::{Counted, Counters, Distinct, Item, SpaceSaving};

#[cfg(test)]
mod tests;

/// A summary that counts.
#[derive(Debug, Clone)]
pub struct Summary {
    counters: SpaceSaving,
    distinct: Option<Distinct>,
}

/// A summary that is finished, ready to be merged with others.
#[derive(Debug, Clone, PartialEq)]
pub struct Frozen {
    counters: Counters,
    distinct: Option<Distinct>,
}

// === impl Summary ===

impl Summary {
    /// Nothing counted yet.
    pub fn new(capacity: usize) -> Self {
        Self { counters: SpaceSaving::new(capacity), distinct: None }
    }

    /// Counts a mention; `hash` is [`hash`] of the item.
    #[inline]
    pub fn add(&mut self, hash: u64, item: &str) {
        if !self.counters.increment(hash, item) {
            self.add_untracked(hash, item);
        }
    }

    fn add_untracked(&mut self, hash: u64, item: &str) {
        if self.counters.is_full() {
            let tracked = self.counters.slots();
            self.distinct.get_or_insert_with(|| distinct_of(tracked)).insert(hash);
        }
        self.counters.seat(hash, item);
    }

    /// The counts as they are now.
    pub fn freeze(&self) -> Frozen {
        Frozen { counters: self.counters.counters(), distinct: self.distinct.clone() }
    }

    /// Mentions counted, of all items.
    pub fn total(&self) -> u64 {
        self.counters.total()
    }

    /// Counts what the other has counted too, with the error of a merge.
    pub fn absorb(&mut self, other: &Self) {
        if self.total() == 0 {
            self.clone_from(other);
        } else {
            let Frozen { counters, distinct } = self.freeze().merge(&other.freeze());
            *self = Self { counters: SpaceSaving::from(counters), distinct };
        }
    }
}

fn distinct_of(entries: &[Counted]) -> Distinct {
    let mut distinct = Distinct::new();
    entries.iter().for_each(|counted| distinct.insert(counted.hash));
    distinct
}

// === impl Frozen ===

impl Frozen {
    /// Nothing counted.
    pub fn new(capacity: usize) -> Self {
        Self { counters: Counters::new(capacity), distinct: None }
    }

    /// The items with their counts.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How many different items there were, and the relative standard error of that number: 0 when exact.
    pub fn distinct(&self) -> (u64, f64) {
        match &self.distinct {
            Some(distinct) => (distinct.estimate(), Distinct::ERROR),
            None => (self.counters.entries().len() as u64, 0.0),
        }
    }

    /// Both together, by the [ceiling merge](Counters::merge).
    pub fn merge(&self, other: &Self) -> Self {
        let counters = self.counters.merge(&other.counters);
        // Nothing was ever dropped on either side nor now: the counters still are the set.
        let overflowed =
            self.distinct.is_some() || other.distinct.is_some() || counters.ceiling() > 0;
        let distinct = overflowed.then(|| {
            let mut union =
                self.distinct.clone().unwrap_or_else(|| distinct_of(self.counters.entries()));
            match &other.distinct {
                Some(theirs) => union.merge(theirs),
                None => {
                    other.counters.entries().iter().for_each(|counted| union.insert(counted.hash))
                }
            }
            union
        });
        Self { counters, distinct }
    }
}

// === encoding ===

#[derive(Serialize)]
struct Encoded<'a> {
    capacity: u64,
    ceiling: u64,
    total: u64,
    slots: Slots<'a>,
    distinct: Option<Bytes<'a>>,
}

struct Slots<'a>(&'a [Counted]);

struct Bytes<'a>(&'a [u8]);

/// What [`Encoded`] reads back as.
#[derive(Deserialize)]
struct Decoded<'a> {
    capacity: u64,
    ceiling: u64,
    total: u64,
    #[serde(borrow)]
    slots: Vec<(&'a str, u64, u64)>,
    distinct: Option<&'a [u8]>,
}

impl<'a> Encoded<'a> {
    fn new(
        [capacity, ceiling, total]: [u64; 3],
        slots: &'a [Counted],
        distinct: Option<&'a Distinct>,
    ) -> Self {
        let distinct = distinct.map(|distinct| Bytes(distinct.as_bytes()));
        Self { capacity, ceiling, total, slots: Slots(slots), distinct }
    }
}

impl Serialize for Slots<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(
            self.0.iter().map(|slot| (Bytes(slot.item.as_bytes()), slot.count, slot.error)),
        )
    }
}

/// The same bytes as for a `&str`, without checking again that it is one.
impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl Serialize for Frozen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let counters = &self.counters;
        let numbers = [counters.capacity() as u64, counters.ceiling(), counters.total()];
        Encoded::new(numbers, counters.entries(), self.distinct.as_ref()).serialize(serializer)
    }
}

impl Serialize for Summary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let counters = &self.counters;
        let numbers = [counters.capacity() as u64, counters.ceiling(), counters.total()];
        Encoded::new(numbers, counters.slots(), self.distinct.as_ref()).serialize(serializer)
    }
}

impl<'de> Decoded<'de> {
    fn slots(&self) -> Vec<Counted> {
        let counted = |&(item, count, error): &(&str, u64, u64)| Counted {
            hash: hash(item.as_bytes()),
            count,
            error,
            item: Item::from(item),
        };
        self.slots.iter().map(counted).collect()
    }

    fn capacity<E: serde::de::Error>(&self) -> Result<usize, E> {
        usize::try_from(self.capacity).map_err(|_| E::custom("a capacity beyond memory"))
    }

    fn distinct<E: serde::de::Error>(&self) -> Result<Option<Distinct>, E> {
        let from = |bytes| {
            Distinct::from_bytes(bytes)
                .ok_or_else(|| E::custom("registers of a distinct sketch that are none"))
        };
        self.distinct.map(from).transpose()
    }
}

fn contradictory<E: serde::de::Error>() -> E {
    E::custom("counters that contradict each other")
}

impl<'de> Deserialize<'de> for Summary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let decoded = Decoded::deserialize(deserializer)?;
        let counters = SpaceSaving::from_slots(
            decoded.slots(),
            decoded.capacity()?,
            decoded.ceiling,
            decoded.total,
        );
        Ok(Self { counters: counters.ok_or_else(contradictory)?, distinct: decoded.distinct()? })
    }
}

impl<'de> Deserialize<'de> for Frozen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let decoded = Decoded::deserialize(deserializer)?;
        let counters = Counters::from_parts(
            decoded.slots(),
            decoded.capacity()?,
            decoded.ceiling,
            decoded.total,
        );
        Ok(Self { counters: counters.ok_or_else(contradictory)?, distinct: decoded.distinct()? })
    }
}
