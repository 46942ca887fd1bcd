//! The counting itself, of queries that are at the same offset.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use common::event::Reason;
use common::event::control::{Control, KEY};
use common::event::time::Unreadable;
use common::result::missed::Interval;

use crate::core::audit;
use crate::core::block::Block;
use crate::core::decode::{Decoder, Time};
use crate::core::dedupe::Dedupe;
use crate::core::hash::hash;
use crate::core::ledger::{Entry, Ledger};
use crate::core::notices::Notices;
use crate::core::partial::{Head, Key, Part, Partial, Progress, Value};
use crate::core::plan::{Plan, Planned, milliseconds};
use crate::core::snapshot::{Blocks, Error, QueryState, Snapshot};
use crate::core::watermark::{Observed, Watermark};
use crate::core::window::{Dated, Panes};
use crate::core::witness::Witness;

/// A record of `raw-rsvps`, as a consumer has it.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Its offset in the partition.
    pub offset: i64,
    /// Kafka's record timestamp in milliseconds since 1970: when the collector received the event.
    pub timestamp_ms: i64,
    /// Its key, which is the event's own unless another producer has chosen one.
    pub key: Option<&'a [u8]>,
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
    /// No event: a collector tells something, see [`control`](common::event::control).
    Control,
    /// Reflected already: nothing changed.
    Replayed,
}

/// The most holes that are told apart; further ones widen the last.
pub(super) const MAX_GAPS: usize = 64;

/// Record timestamps that are believed, 2000 to 2100. Kafka takes any 64-bit number from a producer, and
/// writes -1 where there is none: a record outside has no timestamp.
pub(super) const TIMESTAMPS_MS: Range<i64> = 946_684_800_000..4_102_444_800_000;

/// A record timestamp that is further ahead of all before it counts once others confirm it, so that no
/// single record makes the tally forget ids or the partition look idle.
const MAX_TIMESTAMP_JUMP_MS: i64 = 86_400_000;

/// Some queries, all at the same offset.
#[derive(Debug)]
pub(super) struct Counting {
    partition: i32,
    plan: Arc<Plan>,
    progress: Progress,
    /// The last record that was read.
    witness: Option<Witness>,
    event_time: Watermark,
    record_time: Watermark,
    dedupe: Dedupe,
    /// The hash of the last event's id.
    last_id: Option<u64>,
    ledger: Ledger,
    /// The ledger that was published last is not the present one.
    ledger_due: bool,
    queries: Vec<Tallied>,
    decoder: Decoder,
    notices: Notices,
}

/// One query over the partition.
#[derive(Debug)]
struct Tallied {
    /// Its place in the plan.
    at: usize,
    panes: Panes,
    /// What was lost before it joined the others, on top of what they know of.
    missed: Vec<(i64, i64)>,
    /// The progress that was published last is not the present one.
    head_due: bool,
}

/// A partial that is due.
enum Due {
    Pane(i64),
    Head,
    Tombstone(i64),
}

impl Counting {
    /// Counts from the beginning of the partition; `queries` are places in the plan, in order.
    pub(super) fn new(
        partition: i32,
        plan: &Arc<Plan>,
        queries: impl IntoIterator<Item = usize>,
    ) -> Self {
        let settings = plan.settings();
        let tallied = |at| {
            let planned: &Planned = &plan.queries()[at];
            let panes = Panes::new(planned.slides(), planned.capacity);
            Tallied { at, panes, missed: Vec::new(), head_due: false }
        };
        Self {
            partition,
            progress: Progress::default(),
            witness: None,
            event_time: Watermark::new(milliseconds(settings.schema.max_jump)),
            record_time: Watermark::new(MAX_TIMESTAMP_JUMP_MS),
            dedupe: Dedupe::new(settings.dedupe_capacity, settings.dedupe_horizon_ms),
            last_id: None,
            ledger: Ledger::default(),
            ledger_due: false,
            queries: queries.into_iter().map(tallied).collect(),
            decoder: plan.decoder(),
            notices: Notices::default(),
            plan: Arc::clone(plan),
        }
    }

    /// The partition of `raw-rsvps` that is counted.
    pub(super) fn partition(&self) -> i32 {
        self.partition
    }

    /// What it counts.
    #[cfg(test)]
    pub(super) fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// What was read, and what happened on the way.
    pub(super) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The last record that was read.
    pub(super) fn witness(&self) -> Option<Witness> {
        self.witness
    }

    /// Mentions too old for the window of a query, summed over the queries.
    pub(super) fn late(&self) -> u64 {
        self.queries.iter().map(|query| query.panes.late()).sum()
    }

    /// The hash of the id of the event that was counted or dropped last; `None` if it has no id.
    pub(super) fn last_id(&self) -> Option<u64> {
        self.last_id
    }

    /// Mentions taken in since the tally was made or restored, summed over the queries.
    pub(super) fn mentions(&self) -> u64 {
        self.queries.iter().map(|query| query.panes.mentions()).sum()
    }

    /// What has been noticed since it was last taken.
    pub(super) fn notices(&mut self) -> &mut Notices {
        &mut self.notices
    }

    /// Event ids forgotten because of capacity or age.
    pub(super) fn forgotten(&self) -> u64 {
        self.dedupe.forgotten()
    }

    /// Takes a record in. Offsets may jump (compaction and transaction markers leave none behind); what
    /// is known to be lost is told to [`record_gap`](Self::record_gap).
    pub(super) fn apply(&mut self, record: Record<'_>) -> Outcome {
        if record.offset < self.progress.next_offset {
            return Outcome::Replayed;
        }
        let passed_over = record.offset.abs_diff(self.progress.next_offset);
        self.progress.next_offset = record.offset + 1;
        self.witness = Some(Witness::of(record.offset, record.timestamp_ms, record.payload));
        self.queries.iter_mut().for_each(|query| query.head_due = true);
        let timestamp_ms =
            Some(record.timestamp_ms).filter(|time_ms| TIMESTAMPS_MS.contains(time_ms));
        if let Some(timestamp_ms) = timestamp_ms {
            self.record_time.observe(record.offset, timestamp_ms);
            self.progress.ingested_ms = self.record_time.time_ms();
            self.progress.recorded_ms = self.record_time.confirmed_ms();
        }
        if let Some(ingested_ms) = self.progress.ingested_ms {
            self.ledger.advance(ingested_ms);
        }
        if passed_over > 0 {
            self.ledger.enter(Entry::Control, passed_over, timestamp_ms);
        }
        if let Some(recorded_ms) = self.progress.recorded_ms {
            self.dedupe.advance(recorded_ms);
        }
        let outcome = match Control::read(record.key, record.payload) {
            None => self.count(record, timestamp_ms),
            Some(control) => self.heed(control),
        };
        let entry = match outcome {
            Outcome::Counted => {
                self.progress.events += 1;
                Entry::Counted
            }
            Outcome::Duplicate => {
                self.progress.duplicates += 1;
                Entry::Duplicate
            }
            Outcome::Undecodable(_) => {
                self.progress.undecodable += 1;
                Entry::Undecodable
            }
            Outcome::Control => Entry::Control,
            Outcome::Replayed => return outcome,
        };
        self.ledger.enter(entry, 1, timestamp_ms);
        self.ledger_due = true;
        outcome
    }

    /// Takes in what a collector tells. A copy changes nothing.
    #[cold]
    fn heed(&mut self, control: Control) -> Outcome {
        if let Control::Missed { id, interval } = control {
            let id = hash(format!("{KEY}:{id}").as_bytes());
            if !self.dedupe.contains(id) {
                self.dedupe.insert(id, self.progress.recorded_ms.unwrap_or(i64::MIN));
                let believable =
                    |time_ms: i64| time_ms.clamp(TIMESTAMPS_MS.start, TIMESTAMPS_MS.end - 1);
                let from_ms = interval.from_ms.map(believable);
                let to_ms = believable(interval.to_ms);
                self.progress.missed.add(Interval { from_ms, to_ms, ..interval });
            }
        }
        Outcome::Control
    }

    fn count(&mut self, record: Record<'_>, timestamp_ms: Option<i64>) -> Outcome {
        let event = match self.decoder.decode(record.payload) {
            Ok(event) => event,
            Err(reason) => return Outcome::Undecodable(reason),
        };
        let is_misplaced = event.key().is_some_and(|key| record.key != Some(key.as_bytes()));
        self.progress.key_mismatches += u64::from(is_misplaced);
        self.last_id = event.id().map(|id| hash(id.as_bytes()));
        if let Some(id) = self.last_id {
            if self.dedupe.contains(id) {
                return Outcome::Duplicate;
            }
            self.dedupe.insert(id, self.progress.recorded_ms.unwrap_or(i64::MIN));
        }
        self.progress.shortened += event.shortened();

        let schema = &self.plan.settings().schema;
        // A timestamp of its own that lies behind says less than those of the records before it.
        let received_ms = timestamp_ms.max(self.record_time.time_ms());
        let latest_ms =
            received_ms.map(|time_ms| time_ms.saturating_add(milliseconds(schema.max_future)));
        let (mut dated, mut is_ahead) = (None, false);
        match event.time() {
            Time::At(time_ms, _) if latest_ms.is_some_and(|latest_ms| time_ms > latest_ms) => {
                is_ahead = true;
                self.progress.future += 1;
            }
            Time::At(time_ms, _) => {
                let given_up = self.event_time.given_up();
                let observed = self.event_time.observe(record.offset, time_ms);
                if observed == Observed::Rearranged {
                    is_ahead = self.event_time.time_ms() < Some(time_ms);
                    self.progress.waiting = self.event_time.waiting();
                    self.progress.future += self.event_time.given_up() - given_up;
                }
                self.progress.watermark_ms = self.event_time.time_ms();
                self.progress.is_confirmed = !self.event_time.is_early();
                dated = Some(Dated { offset: record.offset, time_ms, observed });
            }
            Time::Missing | Time::Unreadable(..) => {
                self.progress.untimed += u64::from(schema.time.is_some());
                if let (Time::Unreadable(written, Unreadable::TooFar), Some(time)) =
                    (event.time(), &schema.time)
                {
                    self.notices.beyond(written, time.unit);
                }
            }
        }
        self.notices.event(event.time(), is_ahead);
        for Tallied { at, panes, .. } in &mut self.queries {
            if panes.add(dated, &self.event_time, event.mentions(*at)) {
                self.notices.matched(*at);
            }
        }
        Outcome::Counted
    }

    /// The offsets from `from` to `last`, inclusive, were gone before they could be read: counting
    /// goes on after them, and every result tells of it. What is reflected already is not lost.
    pub(super) fn record_gap(&mut self, from: i64, last: i64) {
        let (from, to) = (from.max(self.progress.next_offset), last.saturating_add(1));
        if from >= to {
            return;
        }
        self.progress.next_offset = to;
        self.ledger.enter(Entry::Gap, to.abs_diff(from), None);
        self.ledger_due = true;
        self.queries.iter_mut().for_each(|query| query.head_due = true);
        let full = self.progress.gaps.len() == MAX_GAPS;
        match self.progress.gaps.last_mut() {
            Some(last) if last.1 == from || full => last.1 = to,
            _ => self.progress.gaps.push((from, to)),
        }
    }

    /// What changed since it was last emitted: of each query the panes, then the head, then tombstones.
    /// Nothing if no record was applied. What is not taken from the iterator is emitted the next time.
    pub(super) fn emit(&mut self) -> impl Iterator<Item = Partial> + '_ {
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

    /// Everything counts as changed.
    pub(super) fn touch(&mut self) {
        for query in &mut self.queries {
            query.panes.touch();
            query.head_due = true;
        }
        self.ledger_due = true;
    }

    /// The ledger, if it has changed since it was last emitted.
    pub(super) fn emit_ledger(&mut self) -> Option<Partial> {
        let is_due = std::mem::take(&mut self.ledger_due);
        is_due.then(|| audit::partial(self.partition, &self.progress, &self.ledger))
    }

    /// Counts the other's queries from here on too. Both reflect the same offsets.
    pub(super) fn adopt(&mut self, other: Self) {
        let Self { queries, progress, .. } = other;
        let joined = |mut query: Tallied| {
            query.panes.follow(&self.event_time);
            let missed = union(&query.missed, &progress.gaps);
            Tallied { missed, head_due: true, ..query }
        };
        self.queries.extend(queries.into_iter().map(joined));
        self.queries.sort_by_key(|query| query.at);
    }

    fn emit_pane(&mut self, at: usize, start_ms: i64) -> Option<Partial> {
        let key = self.key(at, Part::Pane { start_ms });
        let (fingerprint, next_offset) = (self.planned(at).fingerprint, self.progress.next_offset);
        let body = self.queries[at].panes.publish(start_ms)?;
        Some(Partial::new(key, &Value { fingerprint, next_offset, body }))
    }

    fn emit_head(&mut self, at: usize) -> Partial {
        let query = &mut self.queries[at];
        query.head_due = false;
        let gaps = union(&query.missed, &self.progress.gaps);
        let progress = Progress { gaps, ..self.progress.clone() };
        let body = Head { progress, late: query.panes.late() };
        let (fingerprint, next_offset) = (self.planned(at).fingerprint, self.progress.next_offset);
        Partial::new(self.key(at, Part::Head), &Value { fingerprint, next_offset, body })
    }

    fn emit_tombstone(&mut self, at: usize, start_ms: i64) -> Partial {
        self.queries[at].panes.forget_closed(start_ms);
        Partial::tombstone(self.key(at, Part::Pane { start_ms }))
    }

    fn planned(&self, at: usize) -> &Planned {
        &self.plan.queries()[self.queries[at].at]
    }

    fn key(&self, at: usize, part: Part) -> Key {
        Key { query: self.planned(at).query.name.clone(), partition: self.partition, part }
    }

    /// The state at this offset. To be stored after all [`blocks`](Self::blocks) that it names.
    pub(super) fn snapshot(&self) -> Snapshot<'_> {
        let queries = self.queries.iter().enumerate().map(|(at, tallied)| QueryState {
            name: Cow::Borrowed(&self.planned(at).query.name),
            fingerprint: self.planned(at).fingerprint,
            panes: tallied.panes.state(),
            missed: Cow::Borrowed(&tallied.missed),
        });
        Snapshot {
            partition: self.partition,
            progress: Cow::Borrowed(&self.progress),
            witness: self.witness,
            event_time: Cow::Borrowed(&self.event_time),
            record_time: Cow::Borrowed(&self.record_time),
            dedupe: self.dedupe.state(),
            ledger: Some(Cow::Borrowed(&self.ledger)),
            queries: queries.collect(),
        }
    }

    /// The sealed dedupe slices and panes. Each is stored once; one that no stored snapshot names may be
    /// deleted.
    pub(super) fn blocks(&self) -> impl Iterator<Item = &Block> + '_ {
        self.dedupe.blocks().chain(self.queries.iter().flat_map(|query| query.panes.blocks()))
    }

    /// Goes on from a snapshot with those of the queries at the places `wanted` that it knows, and takes
    /// these off. `None` if it knows none of them.
    ///
    /// # Errors
    /// [`Error::MissingBlock`] and [`Error::Unreadable`]; nothing is taken off then.
    pub(super) fn restore(
        plan: &Arc<Plan>,
        snapshot: Snapshot<'_>,
        blocks: &Blocks,
        wanted: &mut Vec<usize>,
    ) -> Result<Option<Self>, Error> {
        let Snapshot {
            progress,
            partition,
            witness,
            event_time,
            record_time,
            dedupe,
            ledger,
            mut queries,
        } = snapshot;
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        for &at in &*wanted {
            let planned = &plan.queries()[at];
            let same = |state: &QueryState<'_>| {
                state.name == planned.query.name && state.fingerprint == planned.fingerprint
            };
            match queries.iter().position(same) {
                Some(stored) => {
                    let QueryState { panes, missed, .. } = queries.swap_remove(stored);
                    let panes =
                        Panes::new(planned.slides(), planned.capacity).restore(panes, blocks)?;
                    known.push(Tallied { at, panes, missed: missed.into_owned(), head_due: true });
                }
                None => unknown.push(at),
            }
        }
        if known.is_empty() {
            return Ok(None);
        }
        let mut counting = Self::new(partition, plan, []);
        counting.dedupe = counting.dedupe.restore(dedupe, blocks)?;
        counting.queries = known;
        counting.progress = progress.into_owned();
        counting.ledger = ledger.map_or_else(|| Ledger::of(&counting.progress), Cow::into_owned);
        counting.witness = witness;
        counting.event_time = event_time.into_owned();
        counting.record_time = record_time.into_owned();
        *wanted = unknown;
        Ok(Some(counting))
    }
}

/// The offsets in either list, in order, each once.
fn union(a: &[(i64, i64)], b: &[(i64, i64)]) -> Vec<(i64, i64)> {
    let mut gaps = [a, b].concat();
    gaps.sort_unstable();
    gaps.dedup_by(|next, before| {
        let touches = next.0 <= before.1;
        if touches {
            before.1 = before.1.max(next.1);
        }
        touches
    });
    gaps
}
