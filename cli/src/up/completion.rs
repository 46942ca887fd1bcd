//! When a feed is done: each of its lines is in Kafka, and the results reflect all of them.
//!
//! Lines are identified by content, not by number, because the collector may deliver a line twice after a crash.
//! Pure.

use std::collections::{BTreeMap, HashMap};

use common::kafka::reader::Span;

/// Compares the lines that were read from Kafka with those of the feed, by content hash and number of copies. It takes
/// 16 bytes for each distinct line.
#[derive(Debug, Default)]
pub struct Awaited {
    /// For each hash the number of copies that arrived, minus the number expected.
    balance: HashMap<u64, i64>,
    left: Option<u64>,
}

impl Awaited {
    /// A record with this content was read.
    pub fn arrived(&mut self, hash: u64) {
        let balance = self.balance.entry(hash).or_default();
        *balance += 1;
        if *balance <= 0 {
            self.left = self.left.map(|left| left - 1);
        }
    }

    /// Sets what to expect: a map from content hash to number of copies. To be called once.
    pub fn expect(&mut self, lines: &HashMap<u64, u64>) {
        let mut left = 0;
        for (&hash, &copies) in lines {
            let balance = self.balance.entry(hash).or_default();
            *balance = balance.saturating_sub_unsigned(copies);
            left += balance.min(&mut 0).unsigned_abs();
        }
        self.left = Some(left);
    }

    /// How many lines are still missing; `None` until it is known what to expect.
    pub const fn left(&self) -> Option<u64> {
        self.left
    }
}

/// Whether a result with these `offsets` (the last one reflected of each partition) covers partitions that
/// hold the offsets `spans`.
pub fn covers(offsets: &BTreeMap<i32, i64>, spans: &BTreeMap<i32, Span>) -> bool {
    spans.iter().all(|(partition, span)| {
        span.is_empty() || offsets.get(partition).is_some_and(|&last| last >= span.end - 1)
    })
}

#[cfg(test)]
mod tests;
