//! Space-Saving (Metwally, Agrawal, El Abbadi, ICDT 2005): the most frequent items of a stream with at
//! most `capacity` counters, each with the bounds of its error.
//!
//! An untracked item takes the place of the smallest counter and inherits its count as error. Instead
//! of a linked list of buckets (the paper's Stream-Summary), which every increment would have to
//! rearrange, increments only add 1, and the smallest counter is searched when one is needed: a cursor
//! walks the counters for those equal to the known minimum, and only when none is left a new minimum
//! is determined. The minimum grows with each search and is at most N/k, so all searches together cost
//! O(N): constant time an update, amortised, and one cache line instead of six.
//!
//! The victim is the lowest slot that has the minimum, so that a summary restored from its slots in
//! order behaves like the original. A merge keeps its bounds, see [`Counters`]; on a summary that went
//! through a merge, an item that comes new is seated at ceiling + 1.

use hashbrown::HashTable;

use super::{Counted, Counters, Item};

/// Live counters.
#[derive(Debug, Clone)]
pub struct SpaceSaving {
    slots: Vec<Counted>,
    index: HashTable<u32>,
    capacity: usize,
    ceiling: u64,
    total: u64,
    /// No slot before this one has the count `minimum`, and none at all has a smaller one.
    cursor: usize,
    minimum: u64,
}

impl SpaceSaving {
    /// An empty summary. `capacity` (at least 1) is reached by growing: few items need little memory.
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        Self {
            slots: Vec::new(),
            index: HashTable::new(),
            capacity,
            ceiling: 0,
            total: 0,
            cursor: 0,
            minimum: 0,
        }
    }

    /// Counts a mention of an item that is tracked. False, and nothing is counted, if it is not.
    #[inline]
    pub fn increment(&mut self, hash: u64, item: &str) -> bool {
        let slots = &mut self.slots;
        let same = |&slot: &u32| {
            let counted = &slots[slot as usize];
            counted.hash == hash && counted.item.as_bytes() == item.as_bytes()
        };
        let Some(&slot) = self.index.find(hash, same) else { return false };
        slots[slot as usize].count += 1;
        self.total += 1;
        true
    }

    /// Counts the first mention of an item that is not tracked; evicts another one when full.
    pub fn seat(&mut self, hash: u64, item: &str) {
        self.total += 1;
        let slot = if self.is_full() {
            let victim = self.victim();
            let evicted = &self.slots[victim];
            self.ceiling = self.ceiling.max(evicted.count);
            if let Ok(entry) = self.index.find_entry(evicted.hash, |&slot| slot as usize == victim)
            {
                entry.remove();
            }
            victim
        } else {
            self.slots.len()
        };
        let counted =
            Counted { hash, count: self.ceiling + 1, error: self.ceiling, item: Item::from(item) };
        if slot == self.slots.len() {
            self.slots.push(counted);
        } else {
            self.slots[slot] = counted;
        }
        let slots = &self.slots;
        self.index.insert_unique(hash, slot as u32, |&slot| slots[slot as usize].hash);
    }

    /// Counts a mention. `hash` is [`hash`](crate::core::hash::hash) of the item.
    pub fn add(&mut self, hash: u64, item: &str) {
        if !self.increment(hash, item) {
            self.seat(hash, item);
        }
    }

    /// True when the next new item evicts another.
    pub fn is_full(&self) -> bool {
        self.slots.len() >= self.capacity
    }

    /// The tracked items in the order of their slots.
    pub fn slots(&self) -> &[Counted] {
        &self.slots
    }

    /// The most items that are kept.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// No item that is not tracked has a true count above this.
    pub fn ceiling(&self) -> u64 {
        self.ceiling
    }

    /// Mentions counted, of all items.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The counts as they are now, ready to be merged.
    pub fn counters(&self) -> Counters {
        let mut entries = self.slots.clone();
        entries.sort_unstable_by(|a, b| (a.hash, &a.item).cmp(&(b.hash, &b.item)));
        Counters { entries, capacity: self.capacity, ceiling: self.ceiling, total: self.total }
    }

    /// Goes on from slots in their order, or `None` where those contradict each other.
    pub fn from_slots(
        slots: Vec<Counted>,
        capacity: usize,
        ceiling: u64,
        total: u64,
    ) -> Option<Self> {
        // Checks the slots as a set; a summary needs them in order.
        Counters::from_parts(slots.clone(), capacity, ceiling, total)?;
        let mut summary = Self { capacity: capacity.max(1), ceiling, total, ..Self::new(capacity) };
        summary.index.reserve(slots.len(), |&slot| slots[slot as usize].hash);
        for (slot, counted) in slots.iter().enumerate() {
            summary
                .index
                .insert_unique(counted.hash, slot as u32, |&slot| slots[slot as usize].hash);
        }
        summary.slots = slots;
        Some(summary)
    }

    fn victim(&mut self) -> usize {
        loop {
            let rest = self.slots.iter().enumerate().skip(self.cursor);
            if let Some((slot, _)) =
                rest.into_iter().find(|(_, counted)| counted.count == self.minimum)
            {
                self.cursor = slot + 1;
                return slot;
            }
            self.minimum = self.slots.iter().map(|counted| counted.count).min().unwrap_or(0);
            self.cursor = 0;
        }
    }
}

impl From<Counters> for SpaceSaving {
    fn from(counters: Counters) -> Self {
        let Counters { entries, capacity, ceiling, total } = counters;
        let mut summary = Self { ceiling, total, ..Self::new(capacity) };
        for (slot, counted) in entries.iter().enumerate() {
            summary
                .index
                .insert_unique(counted.hash, slot as u32, |&slot| entries[slot as usize].hash);
        }
        summary.slots = entries;
        summary
    }
}
