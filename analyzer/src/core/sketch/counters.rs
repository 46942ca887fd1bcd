//! A finished summary: what a [`SpaceSaving`](super::SpaceSaving) holds, ordered so that two of them
//! merge in one linear pass.
//!
//! # The ceiling merge
//!
//! The *ceiling* M of a summary is an upper bound of the true count of every item that it does not
//! hold. To merge two summaries, counts add up and errors add up; an item that is missing on one side
//! may have occurred there up to M times, so that side gives its M to both count and error. The k
//! largest are kept (ties go to the smaller item), and M becomes max(M1 + M2, largest count dropped).
//!
//! With N mentions in all and k counters, Σ (c − M)⁺ + k·M ≤ N holds for a fresh summary and survives
//! every update and every merge, so that M ≤ N/k and each error ≤ N/k whatever the tree of merges.
//! (After Agarwal et al., *Mergeable Summaries*, PODS 2012: Space-Saving is isomorphic to Misra-Gries.)
//!
//! The order is by (hash, text): independent of history, so that equal content is equal bytes.

use super::Item;

/// An item with the bounds of its count: `count - error <= truth <= count`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// [`hash`](crate::core::hash::hash) of the text.
    pub hash: u64,
    /// Upper bound of the true count.
    pub count: u64,
    /// How much of `count` may be wrong.
    pub error: u64,
    /// The text.
    pub item: Item,
}

/// Counts of at most `capacity` items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counters {
    pub(super) entries: Vec<Counted>,
    pub(super) capacity: usize,
    pub(super) ceiling: u64,
    pub(super) total: u64,
}

impl Counters {
    /// Nothing counted yet.
    pub fn new(capacity: usize) -> Self {
        Self { entries: Vec::new(), capacity, ceiling: 0, total: 0 }
    }

    /// From entries in any order; `None` if they contradict each other: more than `capacity`, an item
    /// twice, or an error above its count.
    pub fn from_parts(
        mut entries: Vec<Counted>,
        capacity: usize,
        ceiling: u64,
        total: u64,
    ) -> Option<Self> {
        entries.sort_unstable_by(|a, b| a.order(b));
        let unique = entries
            .windows(2)
            .all(|pair| pair[0].hash != pair[1].hash || pair[0].item != pair[1].item);
        let bounded =
            entries.len() <= capacity && entries.iter().all(|entry| entry.error <= entry.count);
        (unique && bounded).then_some(Self { entries, capacity, ceiling, total })
    }

    /// The items, by hash.
    pub fn entries(&self) -> &[Counted] {
        &self.entries
    }

    /// The most items that are kept.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// No item that is not held has a true count above this.
    pub fn ceiling(&self) -> u64 {
        self.ceiling
    }

    /// Mentions counted, of all items.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The counts of both streams together, see the module's head. The smaller capacity rules.
    pub fn merge(&self, other: &Self) -> Self {
        let capacity = self.capacity.min(other.capacity);
        let mut entries = Vec::with_capacity(self.entries.len() + other.entries.len());
        let (mut left, mut right) =
            (self.entries.iter().peekable(), other.entries.iter().peekable());
        loop {
            let order = match (left.peek(), right.peek()) {
                (None, None) => break,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(a), Some(b)) => a.order(b),
            };
            let a = if order.is_le() { left.next() } else { None };
            let b = if order.is_ge() { right.next() } else { None };
            entries.extend(match (a, b) {
                (Some(a), Some(b)) => Some(a.plus(b.count, b.error)),
                (Some(a), None) => Some(a.plus(other.ceiling, other.ceiling)),
                (None, Some(b)) => Some(b.plus(self.ceiling, self.ceiling)),
                (None, None) => None,
            });
        }
        let ceiling = self.ceiling.saturating_add(other.ceiling);
        let total = self.total.saturating_add(other.total);
        let mut merged = Self { entries, capacity, ceiling, total };
        merged.cut();
        // Most items are on both sides, and a merge keeps hundreds of these.
        merged.entries.shrink_to_fit();
        merged
    }

    /// Keeps the `capacity` largest. A summary that does not know all its items cannot hold fewer
    /// than it could: cutting is a merge with nothing.
    fn cut(&mut self) {
        if self.entries.len() <= self.capacity {
            return;
        }
        self.entries.select_nth_unstable_by(self.capacity, |a, b| a.rank(b));
        let largest_dropped = self.entries[self.capacity].count;
        self.entries.truncate(self.capacity);
        self.entries.sort_unstable_by(Counted::order);
        self.ceiling = self.ceiling.max(largest_dropped);
    }

    /// The `n` most frequent items: by count descending, then by text ascending.
    pub fn top(&self, n: usize) -> Vec<&Counted> {
        let mut top: Vec<&Counted> = self.entries.iter().collect();
        if n < top.len() {
            top.select_nth_unstable_by(n, |a, b| a.rank(b));
            top.truncate(n);
        }
        top.sort_unstable_by(|a, b| a.rank(b));
        top
    }
}

impl Counted {
    fn plus(&self, count: u64, error: u64) -> Self {
        let (count, error) = (self.count.saturating_add(count), self.error.saturating_add(error));
        Self { hash: self.hash, count, error, item: self.item.clone() }
    }
}
