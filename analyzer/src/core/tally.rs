//! What is known of one partition's events: a pure function of that partition's records, in order.
//!
//! Time is event time and Kafka's record timestamps; nothing depends on when, how often or by whom the
//! records are read. Two owners of a partition compute the same, and a record that was applied already
//! changes nothing: replay is harmless, and committed consumer offsets decide nothing.
//!
//! A query that a snapshot does not know, or knows with other settings, starts anew from the log while
//! the others keep their counts: until it has caught up with them it is counted apart, with a memory of
//! event ids of its own.

use std::sync::Arc;

use common::event::Reason;

use crate::core::partial::{Partial, Progress};
use crate::core::plan::Plan;
use crate::core::snapshot::{Error, Slice, Snapshot};

mod counting;

#[cfg(test)]
mod tests;

use counting::Counting;

/// A record of `raw-rsvps`, as a consumer has it.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Its offset in the partition.
    pub offset: i64,
    /// Kafka's record timestamp in milliseconds since 1970: when the collector received the event.
    pub timestamp_ms: i64,
    /// Header `mr-id`: whoever sets it has checked the payload. Without it both happens here.
    pub id: Option<&'a [u8]>,
    /// The event.
    pub payload: &'a [u8],
}

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A distinct event, counted.
    Counted,
    /// A re-delivery within the dedupe horizon, dropped.
    Duplicate,
    /// Not an event: counted as such, and its id is not remembered.
    Undecodable(Reason),
    /// Reflected already: nothing changed.
    Replayed,
}

/// The counts of one partition.
#[derive(Debug)]
pub struct Tally {
    counting: Counting,
    /// Queries that are new and read what the others reflect already.
    behind: Option<Counting>,
}

impl Tally {
    /// Counts from the beginning of the partition.
    pub fn new(partition: i32, plan: &Arc<Plan>) -> Self {
        Self { counting: Counting::new(partition, plan, 0..plan.queries().len()), behind: None }
    }

    /// Goes on from a snapshot; `slices` are those that it names, in its order (others in between do no
    /// harm). To be followed by [`emit_all`](Self::emit_all). Queries that are not in it start at the
    /// beginning of the partition, and so does reading then.
    ///
    /// # Errors
    /// [`Error::Changed`] if all queries are new or have other settings, [`Error::MissingSlice`].
    pub fn restore(
        plan: &Arc<Plan>,
        snapshot: Snapshot,
        slices: impl IntoIterator<Item = Slice>,
    ) -> Result<Self, Error> {
        let partition = snapshot.partition();
        let (counting, new) = Counting::restore(plan, snapshot, slices)?;
        let mut tally = Self { counting, behind: None };
        if !new.is_empty() {
            tally.behind = Some(Counting::new(partition, plan, new));
            tally.join();
        }
        Ok(tally)
    }

    /// The partition of `raw-rsvps` that is counted.
    pub fn partition(&self) -> i32 {
        self.counting.partition()
    }

    /// The first offset that is not reflected by every query: where to read on.
    pub fn next_offset(&self) -> i64 {
        self.behind.as_ref().unwrap_or(&self.counting).progress().next_offset
    }

    /// What was read, and what happened on the way; new queries that catch up are left out.
    pub fn progress(&self) -> &Progress {
        self.counting.progress()
    }

    /// Events too old for the window of a query, summed over the queries.
    pub fn late(&self) -> u64 {
        self.counting.late()
    }

    /// Event ids forgotten because of capacity or age.
    pub fn forgotten(&self) -> u64 {
        self.counting.forgotten()
    }

    /// Takes a record in. Offsets may jump (compaction and transaction markers leave none behind); what
    /// is known to be lost is told to [`record_gap`](Self::record_gap).
    pub fn apply(&mut self, record: Record<'_>) -> Outcome {
        if let Some(behind) = &mut self.behind {
            if record.offset < self.counting.progress().next_offset {
                behind.apply(record);
                self.join();
                return Outcome::Replayed;
            }
            self.counting.adopt(self.behind.take());
        }
        self.counting.apply(record)
    }

    /// The offsets from `from` to `last`, inclusive, were gone before they could be read: counting
    /// goes on after them, and every result tells of it. What is reflected already is not lost.
    pub fn record_gap(&mut self, from: i64, last: i64) {
        if let Some(behind) = &mut self.behind {
            behind.record_gap(from, last.min(self.counting.progress().next_offset - 1));
            self.join();
        }
        self.counting.record_gap(from, last);
    }

    /// New queries that reflect what the others do are counted together with them from here on.
    fn join(&mut self) {
        let goal = self.counting.progress().next_offset;
        self.counting.adopt(self.behind.take_if(|behind| behind.progress().next_offset >= goal));
    }

    /// What changed since it was last emitted: of each query the panes, then the head, then tombstones.
    /// Nothing if no record was applied. What is not taken from the iterator is emitted the next time.
    pub fn emit(&mut self) -> impl Iterator<Item = Partial> + '_ {
        self.behind.iter_mut().flat_map(Counting::emit).chain(self.counting.emit())
    }

    /// Everything, also what was emitted before: on taking a partition over, so that readers which start
    /// anew are not left with what a former owner wrote last.
    pub fn emit_all(&mut self) -> impl Iterator<Item = Partial> + '_ {
        self.behind.iter_mut().for_each(Counting::touch);
        self.counting.touch();
        self.emit()
    }

    /// The state at this offset, without queries that have not caught up. To be stored after all
    /// [`slices`](Self::slices) that it names.
    pub fn snapshot(&self) -> Snapshot {
        self.counting.snapshot()
    }

    /// The sealed dedupe slices, oldest first. Each is stored once; one that no stored snapshot names may
    /// be deleted.
    pub fn slices(&self) -> impl Iterator<Item = Slice> + '_ {
        self.counting.slices()
    }
}
