//! What is known of one partition's events: a pure function of that partition's records, in order.
//!
//! Time is event time and Kafka's record timestamps; nothing depends on when, how often or by whom the
//! records are read. Two owners of a partition compute the same, and a record that was applied already
//! changes nothing: replay is harmless, and committed consumer offsets decide nothing.

use std::sync::Arc;

use common::event::{Reason, identity};

use crate::decode::Found;
use crate::dedupe::Dedupe;
use crate::hash::hash;
use crate::partial::{Head, Key, Part, Partial, Progress, Value};
use crate::plan::{Plan, Planned};
use crate::snapshot::{Error, QueryState, Slice, Snapshot};
use crate::window::Panes;

#[cfg(test)]
mod tests;

/// The most holes that are told apart; further ones widen the last.
const MAX_GAPS: usize = 64;

/// The furthest record timestamp, 2^53; Kafka takes any 64-bit number from a producer.
const MAX_TIMESTAMP_MS: i64 = 1 << 53;

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
    partition: i32,
    plan: Arc<Plan>,
    progress: Progress,
    dedupe: Dedupe,
    queries: Vec<Tallied>,
    found: Found,
}

/// One query over the partition.
#[derive(Debug)]
struct Tallied {
    panes: Panes,
    /// The progress that was published last is not the present one.
    head_due: bool,
}

/// A partial that is due.
enum Due {
    Pane(i64),
    Head,
    Tombstone(i64),
}

impl Tally {
    /// Counts from the beginning of the partition.
    pub fn new(partition: i32, plan: &Arc<Plan>) -> Self {
        let settings = plan.settings();
        let tallied = |planned| Tallied { panes: Panes::new(planned), head_due: false };
        Self {
            partition,
            progress: Progress::default(),
            dedupe: Dedupe::new(settings.dedupe_capacity, settings.dedupe_horizon_ms),
            queries: plan.queries().iter().map(tallied).collect(),
            found: Found::default(),
            plan: Arc::clone(plan),
        }
    }

    /// The partition of `raw-rsvps` that is counted.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// The first offset that is not reflected: where to read on.
    pub fn next_offset(&self) -> i64 {
        self.progress.next_offset
    }

    /// What was read, and what happened on the way.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Events too old for the window of a query, summed over the queries.
    pub fn late(&self) -> u64 {
        self.queries.iter().map(|query| query.panes.late()).sum()
    }

    /// Event ids forgotten because of capacity or age.
    pub fn forgotten(&self) -> u64 {
        self.dedupe.forgotten()
    }

    /// Takes a record in. Offsets may jump (compaction and transaction markers leave none behind); what
    /// is known to be lost is told to [`record_gap`](Self::record_gap).
    pub fn apply(&mut self, record: Record<'_>) -> Outcome {
        if record.offset < self.progress.next_offset {
            return Outcome::Replayed;
        }
        let timestamp_ms = record.timestamp_ms.clamp(0, MAX_TIMESTAMP_MS);
        self.progress.next_offset = record.offset + 1;
        self.progress.ingested_ms = self.progress.ingested_ms.max(Some(timestamp_ms));
        self.queries.iter_mut().for_each(|query| query.head_due = true);
        self.dedupe.advance(timestamp_ms);
        let outcome = match record.id {
            Some(id) => self.count(hash(id), timestamp_ms, record.payload),
            None => match identity::identify(record.payload, &self.plan.settings().schema) {
                Ok(identity) => {
                    self.count(hash(identity.id.as_bytes()), timestamp_ms, record.payload)
                }
                Err(reason) => Outcome::Undecodable(reason),
            },
        };
        match outcome {
            Outcome::Counted => self.progress.events += 1,
            Outcome::Duplicate => self.progress.duplicates += 1,
            Outcome::Undecodable(_) => self.progress.undecodable += 1,
            Outcome::Replayed => {}
        }
        outcome
    }

    fn count(&mut self, id: u64, timestamp_ms: i64, payload: &[u8]) -> Outcome {
        if self.dedupe.contains(id) {
            return Outcome::Duplicate;
        }
        let decoder = self.plan.decoder();
        let event = match decoder.decode(payload, &mut self.found) {
            Ok(event) => event,
            Err(reason) => return Outcome::Undecodable(reason),
        };
        self.dedupe.insert(id, timestamp_ms);
        self.progress.shortened += event.shortened();

        let time_ms = event.time_ms().unwrap_or(timestamp_ms);
        let latest = timestamp_ms.saturating_add_unsigned(self.plan.settings().max_future_ms);
        let in_future = time_ms > latest;
        let watermark_ms = if in_future {
            self.progress.future += 1;
            None
        } else {
            self.progress.watermark_ms = self.progress.watermark_ms.max(Some(time_ms));
            self.progress.watermark_ms
        };
        for (query, Tallied { panes, .. }) in self.queries.iter_mut().enumerate() {
            if let Some(watermark_ms) = watermark_ms {
                panes.advance(watermark_ms);
            } else if !panes.is_running() {
                continue;
            }
            let mut mentions = event.mentions(decoder.pointer(query)).peekable();
            if mentions.peek().is_some()
                && let Some(summary) = panes.at(time_ms)
            {
                mentions.for_each(|(hash, item)| summary.add(hash, item));
            }
        }
        Outcome::Counted
    }

    /// The offsets from `from` to `last`, inclusive, were gone before they could be read: counting
    /// goes on after them, and every result tells of it. What is reflected already is not lost.
    pub fn record_gap(&mut self, from: i64, last: i64) {
        let (from, to) = (from.max(self.progress.next_offset), last.saturating_add(1));
        if from >= to {
            return;
        }
        self.progress.next_offset = to;
        self.queries.iter_mut().for_each(|query| query.head_due = true);
        let full = self.progress.gaps.len() == MAX_GAPS;
        match self.progress.gaps.last_mut() {
            Some(last) if last.1 == from || full => last.1 = to,
            _ => self.progress.gaps.push((from, to)),
        }
    }

    /// What changed since it was last emitted: of each query the panes, then the head, then tombstones.
    /// Nothing if no record was applied. What is not taken from the iterator is emitted the next time.
    pub fn emit(&mut self) -> impl Iterator<Item = Partial> + '_ {
        let mut due = Vec::new();
        for (at, query) in self.queries.iter().enumerate().filter(|(_, query)| query.head_due) {
            due.extend(query.panes.changed().map(|start_ms| (at, Due::Pane(start_ms))));
            due.push((at, Due::Head));
            due.extend(query.panes.closed().map(|start_ms| (at, Due::Tombstone(start_ms))));
        }
        due.into_iter().filter_map(|(at, due)| match due {
            Due::Pane(start_ms) => self.emit_pane(at, start_ms),
            Due::Head => Some(self.emit_head(at)),
            Due::Tombstone(start_ms) => Some(self.emit_tombstone(at, start_ms)),
        })
    }

    /// Everything, also what was emitted before: on taking a partition over, so that readers which start
    /// anew are not left with what a former owner wrote last.
    pub fn emit_all(&mut self) -> impl Iterator<Item = Partial> + '_ {
        for query in &mut self.queries {
            query.panes.touch();
            query.head_due = true;
        }
        self.emit()
    }

    fn emit_pane(&mut self, at: usize, start_ms: i64) -> Option<Partial> {
        let key = self.key(at, Part::Pane { start_ms });
        let (fingerprint, next_offset) = (self.planned(at).fingerprint, self.progress.next_offset);
        let body = self.queries[at].panes.take(start_ms)?;
        Some(Partial::new(key, &Value { fingerprint, next_offset, body }))
    }

    fn emit_head(&mut self, at: usize) -> Partial {
        let query = &mut self.queries[at];
        query.head_due = false;
        let body = Head { progress: self.progress.clone(), late: query.panes.late() };
        let (fingerprint, next_offset) = (self.planned(at).fingerprint, self.progress.next_offset);
        Partial::new(self.key(at, Part::Head), &Value { fingerprint, next_offset, body })
    }

    fn emit_tombstone(&mut self, at: usize, start_ms: i64) -> Partial {
        self.queries[at].panes.forget_closed(start_ms);
        Partial::tombstone(self.key(at, Part::Pane { start_ms }))
    }

    fn planned(&self, at: usize) -> &Planned {
        &self.plan.queries()[at]
    }

    fn key(&self, at: usize, part: Part) -> Key {
        Key { query: self.planned(at).query.name.clone(), partition: self.partition, part }
    }

    /// The state at this offset. To be stored after all [`slices`](Self::slices) that it names.
    pub fn snapshot(&self) -> Snapshot {
        let queries =
            self.plan.queries().iter().zip(&self.queries).map(|(planned, tallied)| QueryState {
                name: planned.query.name.clone(),
                fingerprint: planned.fingerprint,
                panes: tallied.panes.state(),
            });
        Snapshot {
            partition: self.partition,
            progress: self.progress.clone(),
            dedupe: self.dedupe.state(),
            queries: queries.collect(),
        }
    }

    /// The sealed dedupe slices, oldest first. Each is stored once; one that no stored snapshot names may
    /// be deleted.
    pub fn slices(&self) -> impl Iterator<Item = Slice> + '_ {
        self.dedupe.slices()
    }

    /// Goes on from a snapshot; `slices` are those that it names, in its order (others in between do no
    /// harm). To be followed by [`emit_all`](Self::emit_all).
    ///
    /// # Errors
    /// [`Error::Changed`] if a query is new or has other settings, [`Error::MissingSlice`].
    pub fn restore(
        plan: &Arc<Plan>,
        snapshot: Snapshot,
        slices: impl IntoIterator<Item = Slice>,
    ) -> Result<Self, Error> {
        let Snapshot { progress, partition, dedupe, mut queries } = snapshot;
        let mut tally = Self::new(partition, plan);
        for (planned, tallied) in plan.queries().iter().zip(&mut tally.queries) {
            let same = |state: &QueryState| {
                state.name == planned.query.name && state.fingerprint == planned.fingerprint
            };
            let at = queries
                .iter()
                .position(same)
                .ok_or_else(|| Error::Changed { query: planned.query.name.clone() })?;
            tallied.panes = Panes::new(planned).restore(queries.swap_remove(at).panes);
            tallied.head_due = true;
        }
        tally.dedupe = tally.dedupe.restore(dedupe, slices).map_err(Error::MissingSlice)?;
        tally.progress = progress;
        Ok(tally)
    }
}
