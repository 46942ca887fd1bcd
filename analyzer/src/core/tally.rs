//! What is known of one partition's events: a pure function of that partition's records, in order.
//!
//! Time is event time and Kafka's record timestamps; nothing depends on when, how often or by whom the
//! records are read. Two owners of a partition compute the same, and a record that was applied already
//! changes nothing: replay is harmless, and committed consumer offsets decide nothing.
//!
//! A query that is not in the newest snapshot, or only with another meaning, is restored from an older
//! one, or starts at the beginning of the log. Until it has caught up with the others it is counted
//! apart, from records that are [replayed](Tally::replay) for it, with a memory of event ids of its own;
//! the others go on meanwhile.

use std::sync::Arc;

use crate::core::block::Block;
use crate::core::notices::Notices;
use crate::core::partial::{Partial, Progress};
use crate::core::plan::{Plan, QueryId};
use crate::core::snapshot::{Blocks, Error, Snapshot};
use crate::core::witness::Witness;

mod counting;

#[cfg(test)]
pub(crate) mod stored;
#[cfg(test)]
mod tests;

use counting::Counting;
pub use counting::{Outcome, Record};

/// The counts of one partition.
#[derive(Debug)]
pub struct Tally {
    counting: Counting,
    /// Queries that reflect less than the others, and have records replayed for them.
    behind: Vec<Counting>,
}

/// A tally that is put together from stored snapshots.
#[derive(Debug)]
pub struct Restoring {
    partition: i32,
    plan: Arc<Plan>,
    /// Places in the plan of the queries that no snapshot had so far.
    wanted: Vec<usize>,
    restored: Vec<Counting>,
}

impl Tally {
    /// Counts from the beginning of the partition.
    pub fn new(partition: i32, plan: &Arc<Plan>) -> Self {
        let counting = Counting::new(partition, plan, 0..plan.queries().len());
        Self { counting, behind: Vec::new() }
    }

    /// The partition of `raw-rsvps` that is counted.
    pub fn partition(&self) -> i32 {
        self.counting.partition()
    }

    /// The first offset that is not reflected: where to read on.
    pub fn next_offset(&self) -> i64 {
        self.counting.progress().next_offset
    }

    /// The first offset from which records are to be replayed, as long as some queries are behind.
    pub fn replay_from(&self) -> Option<i64> {
        self.behind.iter().map(|behind| behind.progress().next_offset).min()
    }

    /// The last record that was read.
    pub fn witness(&self) -> Option<Witness> {
        self.counting.witness()
    }

    /// What was read, and what happened on the way; queries that are behind are left out.
    pub fn progress(&self) -> &Progress {
        self.counting.progress()
    }

    /// Mentions too old for the window of a query, summed over the queries.
    pub fn late(&self) -> u64 {
        self.counting.late()
    }

    /// Mentions taken in since the tally was made or restored, summed over the queries.
    pub fn mentions(&self) -> u64 {
        self.counting.mentions()
    }

    /// Event ids forgotten because of capacity or age.
    pub fn forgotten(&self) -> u64 {
        self.counting.forgotten()
    }

    /// The hash of the id of the event that was counted or dropped last; `None` if it has no id.
    pub fn last_id(&self) -> Option<u64> {
        self.counting.last_id()
    }

    /// What has been noticed since this was last called goes over to `notices`.
    pub fn tell(&mut self, notices: &mut Notices) {
        notices.absorb(self.counting.notices());
    }

    /// Takes a record in. Offsets may jump (compaction and transaction markers leave none behind); what
    /// is known to be lost is told to [`record_gap`](Self::record_gap).
    pub fn apply(&mut self, record: Record<'_>) -> Outcome {
        self.counting.apply(record)
    }

    /// Takes a record in for the queries that are behind; one that the others do not reflect yet is
    /// left to [`apply`](Self::apply).
    pub fn replay(&mut self, record: Record<'_>) {
        if record.offset < self.next_offset() {
            for behind in &mut self.behind {
                behind.apply(record);
            }
        }
        self.join();
    }

    /// The offsets from `from` to `last`, inclusive, were gone before they could be read: counting
    /// goes on after them, and every result tells of it. What is reflected already is not lost.
    pub fn record_gap(&mut self, from: i64, last: i64) {
        let reflected = self.next_offset();
        for behind in &mut self.behind {
            behind.record_gap(from, last.min(reflected - 1));
        }
        self.join();
        self.counting.record_gap(from, last);
    }

    /// Queries that reflect what the others do are counted together with them from here on.
    fn join(&mut self) {
        let goal = self.next_offset();
        for joined in self.behind.extract_if(.., |behind| behind.progress().next_offset >= goal) {
            self.counting.adopt(joined);
        }
    }

    /// What changed since it was last emitted: of each query the panes, then the head, then tombstones.
    /// Nothing if no record was applied. What is not taken from the iterator is emitted the next time.
    pub fn emit(&mut self) -> impl Iterator<Item = Partial> + '_ {
        self.behind.iter_mut().flat_map(Counting::emit).chain(self.counting.emit())
    }

    /// The ledger, if anything was entered since it was last emitted. It is about the queries that are not behind.
    pub fn emit_ledger(&mut self) -> Option<Partial> {
        self.counting.emit_ledger()
    }

    /// Everything counts as changed, also what was emitted before: on taking a partition over, so that
    /// readers which start anew are not left with what a former owner wrote last.
    pub fn touch(&mut self) {
        self.behind.iter_mut().for_each(Counting::touch);
        self.counting.touch();
    }

    /// Everything, see [`touch`](Self::touch).
    pub fn emit_all(&mut self) -> impl Iterator<Item = Partial> + '_ {
        self.touch();
        self.emit()
    }

    /// The state at this offset, without queries that have not caught up. To be stored after all
    /// [`blocks`](Self::blocks) that it names.
    pub fn snapshot(&self) -> Snapshot<'_> {
        self.counting.snapshot()
    }

    /// The parts of the state that will not change any more. Each is stored once; one that no stored snapshot
    /// names may be deleted.
    pub fn blocks(&self) -> impl Iterator<Item = &Block> + '_ {
        self.counting.blocks()
    }
}

// === impl Restoring ===

impl Restoring {
    /// Of `partition`, for the queries of `plan`.
    pub fn new(partition: i32, plan: &Arc<Plan>) -> Self {
        let wanted = (0..plan.queries().len()).collect();
        Self { partition, plan: Arc::clone(plan), wanted, restored: Vec::new() }
    }

    /// Whether one of these is a query that was in no snapshot so far.
    pub fn wants(&self, queries: &[QueryId]) -> bool {
        self.wanted.iter().any(|&at| queries.contains(&self.plan.queries()[at].id()))
    }

    /// Whether any snapshot had one of the queries.
    pub fn is_begun(&self) -> bool {
        !self.restored.is_empty()
    }

    /// Takes from a snapshot the queries that no earlier one had; so the newest is to be offered first.
    /// `blocks` has those that it names.
    ///
    /// # Errors
    /// [`Error::MissingBlock`] and [`Error::Unreadable`]: it is of no use.
    pub fn offer(&mut self, snapshot: Snapshot<'_>, blocks: &Blocks) -> Result<(), Error> {
        let restored = Counting::restore(&self.plan, snapshot, blocks, &mut self.wanted)?;
        self.restored.extend(restored);
        Ok(())
    }

    /// The tally; queries that were in no snapshot start at the beginning of the partition. To be
    /// followed by [`Tally::emit_all`].
    pub fn finish(self) -> Tally {
        let Self { partition, plan, wanted, mut restored } = self;
        let newest = (0..restored.len()).max_by_key(|&at| restored[at].progress().next_offset);
        let Some(newest) = newest else { return Tally::new(partition, &plan) };
        let mut tally = Tally { counting: restored.swap_remove(newest), behind: restored };
        if !wanted.is_empty() {
            tally.behind.push(Counting::new(partition, &plan, wanted));
        }
        tally.join();
        tally
    }
}
