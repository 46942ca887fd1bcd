//! How far each partition was read, and how far what was read is safe.
//!
//! Messages are put together in batches, each with the positions after it, so that a batch that is safe makes its positions
//! safe, if those before it are.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use futures_util::FutureExt as _;

use crate::receipt::{Outcome, Receipt, Released};

/// How many records a batch has at most.
const BATCH: usize = 256;

/// The offset of the next record, by topic and partition.
pub(super) type Offsets = BTreeMap<(Arc<str>, i32), i64>;

/// What was read since the partitions were assigned.
#[derive(Debug, Default)]
pub(super) struct Positions {
    open: Batch,
    sealed: VecDeque<Batch>,
    safe: Offsets,
    /// Whether some of what is safe was not committed.
    is_due: bool,
    /// How often partitions were taken away.
    generation: u64,
}

#[derive(Debug, Default)]
struct Batch {
    released: Released,
    next: Offsets,
    records: usize,
}

impl Positions {
    /// Changes when partitions are taken away.
    pub(super) const fn generation(&self) -> u64 {
        self.generation
    }

    /// The receipt of a message.
    pub(super) fn receipt(&self) -> Receipt {
        self.open.released.receipt()
    }

    /// A record was read in this generation, and its messages were pushed. If partitions were taken away meanwhile, it comes
    /// again to whoever has them.
    pub(super) fn read(&mut self, generation: u64, topic: &str, partition: i32, offset: i64) {
        if generation != self.generation {
            return;
        }
        self.open.next.insert((topic.into(), partition), offset + 1);
        self.open.records += 1;
        if self.open.records >= BATCH {
            self.seal();
        }
    }

    /// Nothing more comes for now, so that the batch is not held back.
    pub(super) fn seal(&mut self) {
        if self.open.records > 0 {
            self.sealed.push_back(std::mem::take(&mut self.open));
        }
    }

    /// Notes what is safe. Returns whether there is somebody who makes it safe.
    pub(super) fn advance(&mut self) -> bool {
        while let Some(first) = self.sealed.front() {
            match first.released.outcome().now_or_never() {
                None => return true,
                Some(Outcome::Dropped) => return false,
                Some(Outcome::Released | Outcome::Refused(_)) => {
                    let first = self.sealed.pop_front().unwrap_or_default();
                    self.safe.extend(first.next);
                    self.is_due = true;
                }
            }
        }
        true
    }

    /// Whether all of it is safe.
    pub(super) fn is_safe(&self) -> bool {
        self.sealed.is_empty() && self.open.records == 0
    }

    /// What is to be committed, if there is something new.
    pub(super) fn take_due(&mut self) -> Option<Offsets> {
        std::mem::take(&mut self.is_due).then(|| self.safe.clone())
    }

    /// It could not be committed.
    pub(super) fn is_due_again(&mut self) {
        self.is_due = !self.safe.is_empty();
    }

    /// The partitions were taken away. Whoever has them now begins at what was committed; what is not logged yet is not taken.
    pub(super) fn clear(&mut self) {
        *self = Self { generation: self.generation + 1, ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use common::message_log::Sequence;

    use super::*;
    use crate::receipt::Receipts;

    fn read(positions: &mut Positions, receipts: &Receipts, offset: i64) {
        let sequence = Sequence::from_opaque(usize::try_from(offset).unwrap());
        receipts.add(sequence, positions.receipt(), None);
        positions.read(0, "orders", 0, offset);
    }

    fn due(positions: &mut Positions) -> Option<i64> {
        assert!(positions.advance());
        positions.take_due().map(|offsets| offsets[&("orders".into(), 0)])
    }

    #[test]
    fn a_position_is_committed_when_all_before_it_is_safe() {
        let (mut positions, receipts) = (Positions::default(), Receipts::default());
        for offset in 0..2 {
            read(&mut positions, &receipts, offset);
        }
        positions.seal();
        read(&mut positions, &receipts, 2);
        positions.seal();
        receipts.acknowledged(Sequence::from_opaque(2));
        receipts.acknowledged(Sequence::from_opaque(1));
        assert_eq!(due(&mut positions), None, "the first one is not safe");
        receipts.acknowledged(Sequence::from_opaque(0));
        assert_eq!(due(&mut positions), Some(3));
        assert_eq!(due(&mut positions), None, "it was committed");
        positions.is_due_again();
        assert_eq!(due(&mut positions), Some(3));
        assert!(positions.is_safe());
    }

    #[test]
    fn records_without_a_message_move_the_position_in_their_order() {
        let (mut positions, receipts) = (Positions::default(), Receipts::default());
        read(&mut positions, &receipts, 0);
        positions.seal();
        positions.read(0, "orders", 0, 1);
        positions.seal();
        assert_eq!(due(&mut positions), None);
        receipts.acknowledged(Sequence::from_opaque(0));
        assert_eq!(due(&mut positions), Some(2));
    }

    #[test]
    fn what_was_taken_away_is_not_committed_and_not_taken() {
        let (mut positions, receipts) = (Positions::default(), Receipts::default());
        let waiting = positions.receipt();
        positions.read(0, "orders", 0, 0);
        read(&mut positions, &receipts, 1);
        positions.clear();
        positions.read(0, "orders", 0, 2);
        positions.seal();
        assert!(waiting.is_given_up());
        assert_eq!(due(&mut positions), None);
    }

    #[test]
    fn without_a_pipeline_nothing_is_committed() {
        let mut positions = Positions::default();
        drop(positions.receipt());
        positions.read(0, "orders", 0, 0);
        positions.seal();
        assert!(!positions.advance());
        assert_eq!(positions.take_due(), None);
    }
}
