//! When a recording is through: each of its lines stands in Kafka, and the results reflect all of it.
//!
//! Lines are told apart by content, not by number: the collector may deliver one twice after a crash,
//! and may reorder nothing but still skip nothing. Pure.

use std::collections::{BTreeMap, HashMap};

use common::kafka::reader::Span;

/// The lines that were read from Kafka against those of the recording, by content hash and with
/// multiplicity. 16 bytes a distinct line.
#[derive(Debug, Default)]
pub struct Awaited {
    /// Copies that arrived, less those that are expected.
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

    /// These are all lines there are: content hash to number of copies. To be said once.
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

/// Whether a result with these `offsets` (last one reflected, per partition) covers partitions that
/// hold the offsets `[start, end)`.
pub fn covers(offsets: &BTreeMap<i32, i64>, spans: &BTreeMap<i32, Span>) -> bool {
    spans.iter().all(|(partition, span)| {
        span.is_empty() || offsets.get(partition).is_some_and(|&last| last >= span.end - 1)
    })
}

#[cfg(test)]
mod tests;
