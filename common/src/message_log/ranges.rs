//! Which sequences are settled: all below a watermark, and ranges above it.

use std::collections::BTreeMap;

use super::Sequence;

/// A set of sequences that only grows. It holds all sequences below [`low`](Self::low).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranges {
    low: Sequence,
    /// Ranges above `low`, start to end, without the end. They neither touch nor overlap.
    above: BTreeMap<Sequence, Sequence>,
    /// How many sequences those ranges have.
    count: u64,
}

impl Ranges {
    /// The set of all sequences below `low`.
    pub const fn below(low: Sequence) -> Self {
        Self { low, above: BTreeMap::new(), count: 0 }
    }

    /// The smallest sequence that is not in the set.
    pub const fn low(&self) -> Sequence {
        self.low
    }

    /// How many sequences above [`low`](Self::low) are in the set.
    pub const fn count_above(&self) -> u64 {
        self.count
    }

    /// The end of the last range; [`low`](Self::low) if there is none.
    pub fn high(&self) -> Sequence {
        self.above.last_key_value().map_or(self.low, |(_, end)| *end)
    }

    /// Whether the sequence is in the set.
    pub fn contains(&self, sequence: Sequence) -> bool {
        self.next_missing(sequence) != sequence
    }

    /// The smallest sequence from `from` on that is not in the set.
    pub fn next_missing(&self, from: Sequence) -> Sequence {
        if from < self.low {
            return self.low;
        }
        self.above.range(..=from).next_back().map_or(from, |(_, end)| from.max(*end))
    }

    /// The ranges from `start` up to `end`, without `end`, that are not in the set.
    pub fn missing(
        &self,
        start: Sequence,
        end: Sequence,
    ) -> impl Iterator<Item = (Sequence, Sequence)> {
        let mut from = self.next_missing(start);
        std::iter::from_fn(move || {
            if from >= end {
                return None;
            }
            let next = self.above.range(from..).next().map_or(end, |(&next, _)| next.min(end));
            let range = (from, next);
            from = self.next_missing(next);
            Some(range)
        })
    }

    /// Adds the sequences from `start` up to `end`, without `end`. Returns how many of them are new.
    pub fn insert(&mut self, start: Sequence, end: Sequence) -> u64 {
        let before = self.total();
        let start = start.max(self.low);
        if start < end {
            self.join(start, end);
        }
        self.total() - before
    }

    /// How many sequences are in the set.
    const fn total(&self) -> u64 {
        self.low.since(Sequence::ZERO) + self.count
    }

    fn join(&mut self, start: Sequence, end: Sequence) {
        let (mut start, mut end) = (start, end);
        if let Some((&before, &before_end)) = self.above.range(..=start).next_back()
            && before_end >= start
        {
            start = before;
            end = end.max(before_end);
            self.remove(before, before_end);
        }
        while let Some((&next, &next_end)) = self.above.range(start..=end).next() {
            end = end.max(next_end);
            self.remove(next, next_end);
        }
        if start == self.low {
            self.low = end;
        } else {
            self.above.insert(start, end);
            self.count += end.since(start);
        }
    }

    fn remove(&mut self, start: Sequence, end: Sequence) {
        self.above.remove(&start);
        self.count -= end.since(start);
    }

    /// The ranges above [`low`](Self::low), each as its distance from the end of the one before and its length.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut before = self.low;
        let ranges: Vec<(u64, u64)> = self
            .above
            .iter()
            .map(|(&start, &end)| {
                let range = (start.since(before), end.since(start));
                before = end;
                range
            })
            .collect();
        #[expect(clippy::expect_used, reason = "numbers can always be written")]
        postcard::to_stdvec(&ranges).expect("ranges can be written")
    }

    /// The set with this watermark and these ranges; `None` if `bytes` hold something else.
    pub(super) fn decode(low: Sequence, bytes: &[u8]) -> Option<Self> {
        let mut ranges = Self::below(low);
        let mut before = low.since(Sequence::ZERO);
        for (gap, length) in postcard::from_bytes::<Vec<(u64, u64)>>(bytes).ok()? {
            let start = before.checked_add(gap)?;
            before = start.checked_add(length)?;
            ranges.insert(Sequence::ZERO.after(start), Sequence::ZERO.after(before));
        }
        Some(ranges)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn at(place: u64) -> Sequence {
        Sequence::ZERO.after(place)
    }

    proptest! {
        #[test]
        fn it_is_the_set_of_what_was_put_in(low in 0..5u64, inserted in prop::collection::vec((0..60u64, 0..9u64), 0..30)) {
            let mut ranges = Ranges::below(at(low));
            let mut set: BTreeSet<u64> = (0..low).collect();
            for (start, length) in inserted {
                let new = (start..start + length).filter(|place| set.insert(*place)).count();
                prop_assert_eq!(ranges.insert(at(start), at(start + length)), new as u64);
                let first = (0..).find(|place| !set.contains(place)).unwrap();
                prop_assert_eq!(ranges.low(), at(first));
                prop_assert_eq!(ranges.count_above(), set.range(first..).count() as u64);
                prop_assert_eq!(ranges.high(), at(set.last().map_or(0, |last| last + 1)));
                for place in 0..75 {
                    prop_assert_eq!(ranges.contains(at(place)), set.contains(&place));
                    let missing = (place..).find(|place| !set.contains(place)).unwrap();
                    prop_assert_eq!(ranges.next_missing(at(place)), at(missing));
                }
            }
            for (start, end) in [(0, 75), (3, 20), (20, 20), (74, 75)] {
                let between: Vec<u64> = (start..end).filter(|place| !set.contains(place)).collect();
                let missing = ranges.missing(at(start), at(end));
                let missing = missing.flat_map(|(start, end)| start.since(at(0))..end.since(at(0)));
                prop_assert_eq!(missing.collect::<Vec<_>>(), between);
            }
            prop_assert_eq!(Ranges::decode(ranges.low(), &ranges.encode()), Some(ranges));
        }
    }
}
