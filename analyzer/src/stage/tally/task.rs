//! One partition that this process counts: its tally, where it is stored, and what is still to be done.

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::kafka::{Kafka, header};
use rdkafka::message::BorrowedMessage;

use super::super::context::Context;
use super::former::Found;
use super::traces::Traces;
use crate::core::notices::Notices;
use crate::core::owner::Owner;
use crate::core::partial::{Key, Part, Partial};
use crate::core::plan::Plan;
use crate::core::tally::{Outcome, Record, Restoring, Tally};
use crate::core::witness::Witness;
use crate::error::Error;
use crate::metrics::{Cause, Metrics};
use crate::pace::Pace;
use crate::placement::partition_of;
use crate::publisher::{self, Publisher, Ticket};
use crate::state::{Log, Store};

/// Where partials go.
pub struct PartialsSink {
    topic: String,
    partitions: i32,
}

impl PartialsSink {
    /// The partials topic, which has `partitions`.
    pub fn new(kafka: &Kafka, partitions: i32) -> Self {
        Self { topic: kafka.topics.partials.clone(), partitions }
    }

    fn send(
        &self,
        out: &Publisher,
        partial: &Partial,
        owner: Owner,
        traces: Option<&str>,
        ticket: &Arc<Ticket>,
    ) -> Result<(), Error> {
        let text = partial.key.written_by(owner);
        let header = traces.filter(|_| partial.key.part == Part::Head);
        let header = header.map(|traces| (header::TRACES, traces));
        let record = self.record(&text, &partial.key, partial.value.as_deref());
        Ok(out.send(publisher::Record { header, ..record }, ticket)?)
    }

    fn delete(
        &self,
        out: &Publisher,
        text: &str,
        key: &Key,
        ticket: &Arc<Ticket>,
    ) -> Result<(), Error> {
        Ok(out.send(self.record(text, key, None), ticket)?)
    }

    fn record<'a>(
        &'a self,
        text: &'a str,
        key: &Key,
        value: Option<&'a [u8]>,
    ) -> publisher::Record<'a> {
        let partition = Some(partition_of(&key.query, self.partitions));
        publisher::Record {
            topic: &self.topic,
            partition,
            key: text.as_bytes(),
            value,
            header: None,
        }
    }
}

/// One partition of the raw topic, as long as this process has it.
pub struct PartitionTask {
    tally: Tally,
    /// As whom this process writes about the partition.
    owner: Owner,
    store: Store,
    store_pace: Pace,
    /// Records after which the state is stored although the interval has not passed.
    snapshot_records: u64,
    /// Records counted since it was stored last; 1 at least if what is stored reflects less than the tally.
    unstored: u64,
    /// When the first of them was counted.
    unstored_since: Option<Instant>,
    /// The same for those in the snapshot that is on its way.
    unacknowledged_since: Option<Instant>,
    /// What of the tally's counters is in the metrics.
    reported: Reported,
    /// The first offset that the partials sent last do not reflect, in no query.
    published: i64,
    /// The same of the ledger.
    published_ledger: i64,
    /// What former owners left in the partials topic.
    former: Option<Found>,
    traces: Traces,
}

#[derive(Clone, Copy)]
struct Reported {
    mentions: u64,
    late: u64,
    untimed: u64,
    future: u64,
    key_mismatches: u64,
    shortened: u64,
    forgotten: u64,
}

impl Reported {
    fn of(tally: &Tally) -> Self {
        let progress = tally.progress();
        Self {
            mentions: tally.mentions(),
            late: tally.late(),
            untimed: progress.untimed,
            future: progress.future,
            key_mismatches: progress.key_mismatches,
            shortened: progress.shortened,
            forgotten: tally.forgotten(),
        }
    }
}

impl PartitionTask {
    /// Takes `partition` over: goes on from the `suspended` tally or from the newest snapshots in `log`,
    /// whichever reflects more, else from the beginning.
    pub fn take_over(
        context: &Context,
        partition: i32,
        log: &Log,
        suspended: Option<Tally>,
    ) -> Self {
        let Context { config, plan, metrics, tracer, .. } = context;
        let stored = restore(plan, partition, log, metrics);
        // The one that reflects more, by the queries that are furthest behind.
        let reflected = |tally: &Tally| {
            (tally.replay_from().unwrap_or(tally.next_offset()), tally.next_offset())
        };
        let held = stored.as_ref().map(reflected);
        let newest = suspended.into_iter().chain(stored).max_by_key(reflected);
        let tally = newest.unwrap_or_else(|| Tally::new(partition, plan));
        // A suspended tally may be ahead of what is stored. Without any, also when nothing is counted at first: a
        // snapshot says that the partition is known.
        let unstored = u64::from(held.is_none_or(|held| held < reflected(&tally)));
        tracing::info!(
            partition,
            next_offset = tally.next_offset(),
            replay_from = tally.replay_from(),
            snapshot = held.is_some(),
            "counting goes on"
        );
        let now = Instant::now();
        let store_pace = Pace::eager(Duration::from_millis(config.snapshot_interval_ms), now);
        let (topic, owner) =
            (config.kafka.topics.state.as_str().into(), Owner::new(rand::random()));
        Self {
            reported: Reported::of(&tally),
            tally,
            owner,
            store: Store::take_over(topic, partition, owner, log),
            store_pace,
            snapshot_records: config.snapshot_records,
            unstored,
            unstored_since: (unstored > 0).then_some(now),
            unacknowledged_since: None,
            published: 0,
            published_ledger: 0,
            former: None,
            traces: Traces::new(tracer.clone(), plan),
        }
    }

    /// The tally alone, to go on from later.
    pub fn into_tally(mut self) -> Tally {
        self.traces.give_up();
        self.tally
    }

    /// The first offset that is not reflected.
    pub fn next_offset(&self) -> i64 {
        self.tally.next_offset()
    }

    /// From where records are to be replayed for the queries that are behind.
    pub fn replay_from(&self) -> Option<i64> {
        self.tally.replay_from()
    }

    /// The last record that is reflected.
    pub fn witness(&self) -> Option<Witness> {
        self.tally.witness()
    }

    /// Counts a record.
    pub fn count(&mut self, record: Record<'_>) -> Outcome {
        self.change();
        self.tally.apply(record)
    }

    /// The record `message` was counted with this outcome: traces it if its event is sampled.
    pub fn trace(&mut self, outcome: Outcome, message: &BorrowedMessage<'_>) {
        self.traces.read(self.tally.last_id(), outcome, message);
    }

    /// Counts a record for the queries that are behind.
    pub fn replay(&mut self, record: Record<'_>) {
        self.change();
        self.tally.replay(record);
    }

    /// What is not counted yet below offset `low` is lost.
    pub fn record_gap(&mut self, low: i64) {
        self.change();
        self.tally.record_gap(0, low - 1);
    }

    /// The state is about to be another than the one stored last.
    fn change(&mut self) {
        if self.unstored == 0 {
            self.unstored_since = Some(Instant::now());
        }
        self.unstored += 1;
    }

    /// Since when something is counted that no snapshot holds which Kafka has acknowledged.
    pub fn unsaved_since(&self) -> Option<Instant> {
        self.unacknowledged_since.or(self.unstored_since)
    }

    /// Sends what has changed.
    pub fn publish(
        &mut self,
        out: &Publisher,
        sink: &PartialsSink,
        ticket: &Arc<Ticket>,
    ) -> Result<(), Error> {
        let (owner, traces) = (self.owner, self.traces.header());
        let send = |partial| sink.send(out, &partial, owner, traces.as_deref(), ticket);
        self.tally.emit().try_for_each(send)?;
        self.traces.published();
        self.published = self.tally.replay_from().unwrap_or(self.tally.next_offset());
        Ok(())
    }

    /// Sends the ledger, if it has changed.
    pub fn publish_ledger(
        &mut self,
        out: &Publisher,
        sink: &PartialsSink,
        ticket: &Arc<Ticket>,
    ) -> Result<(), Error> {
        if let Some(partial) = self.tally.emit_ledger() {
            sink.send(out, &partial, self.owner, None, ticket)?;
        }
        self.published_ledger = self.tally.next_offset();
        Ok(())
    }

    /// Sends everything.
    pub fn publish_all(
        &mut self,
        out: &Publisher,
        sink: &PartialsSink,
        ticket: &Arc<Ticket>,
    ) -> Result<(), Error> {
        self.tally.touch();
        self.publish(out, sink, ticket)?;
        self.publish_ledger(out, sink, ticket)
    }

    /// As whom this process writes about the partition.
    pub fn owner(&self) -> Owner {
        self.owner
    }

    /// Former owners left this in the partials topic.
    pub fn found_former(&mut self, found: Found) {
        self.former = Some(found);
    }

    /// Deletes what former owners published, once what was sent last reflects as much; all that was sent
    /// has arrived.
    pub fn delete_former(
        &mut self,
        out: &Publisher,
        sink: &PartialsSink,
        ticket: &Arc<Ticket>,
    ) -> Result<(), Error> {
        let published = self.published.min(self.published_ledger);
        let Some(found) = self.former.take_if(|found| found.next_offset <= published) else {
            return Ok(());
        };
        let (partition, deleted) = (self.tally.partition(), found.left.len());
        tracing::debug!(partition, deleted, "what former owners published is deleted");
        found.left.iter().try_for_each(|(text, key)| sink.delete(out, text, key, ticket))
    }

    /// Whether a snapshot is to be stored now. It is early when many records are not in the last one, and in the time after
    /// the partition was taken over: a process that is killed again and again would otherwise count the same
    /// records each time, and never come further.
    pub fn store_due(&self, now: Instant) -> bool {
        if self.unstored == 0 || self.store.busy() {
            return false;
        }
        // What is much is not waited for with, as after a lull.
        let is_much = self.unstored >= self.snapshot_records;
        let news =
            if is_much { now.checked_sub(self.store_pace.shortest()).unwrap_or(now) } else { now };
        self.store_pace.time_until_due(now, news).is_zero()
    }

    /// Stores a snapshot, if anything has changed since the last.
    pub fn store(&mut self, out: &Publisher) -> Result<(), Error> {
        if self.unstored > 0 {
            let started = Instant::now();
            let bytes = self.store.store(out, &self.tally.snapshot(), self.tally.blocks())?;
            self.unstored = 0;
            self.unacknowledged_since = self.unacknowledged_since.or(self.unstored_since.take());
            self.store_pace.done(started, Instant::now());
            tracing::debug!(
                partition = self.tally.partition(),
                next_offset = self.tally.next_offset(),
                bytes,
                "snapshot sent"
            );
        }
        Ok(())
    }

    /// Deletes what a snapshot that was acknowledged made needless, and says how long that one took.
    pub fn clean_up(&mut self, out: &Publisher) -> Result<Option<Duration>, Error> {
        let took = self.store.clean_up(out)?;
        if took.is_some() {
            self.unacknowledged_since = None;
        }
        Ok(took)
    }

    /// Adds what the tally has counted since the last time to the metrics.
    pub fn report(&mut self, metrics: &Metrics, notices: &mut Notices) {
        self.tally.tell(notices);
        let now = Reported::of(&self.tally);
        let before = std::mem::replace(&mut self.reported, now);
        for cause in Cause::ALL {
            let count = match cause {
                Cause::Untimed => now.untimed - before.untimed,
                Cause::Future => now.future - before.future,
            };
            metrics.unwindowed.with_label_values(&[cause.as_str()]).inc_by(count);
        }
        metrics.mentions.inc_by(now.mentions - before.mentions);
        metrics.late.inc_by(now.late - before.late);
        metrics.key_mismatches.inc_by(now.key_mismatches - before.key_mismatches);
        metrics.shortened.inc_by(now.shortened - before.shortened);
        metrics.forgotten.inc_by(now.forgotten - before.forgotten);
        if let Some(watermark_ms) = self.tally.progress().watermark_ms {
            let partition = self.tally.partition().to_string();
            metrics.watermark.with_label_values(&[&partition]).set(watermark_ms.div_euclid(1_000));
        }
    }
}

/// Each query from its own newest snapshot; `None` when no snapshot has any of them.
fn restore(plan: &Arc<Plan>, partition: i32, log: &Log, metrics: &Metrics) -> Option<Tally> {
    let mut restoring = Restoring::new(partition, plan);
    for stored in log.snapshots() {
        if !restoring.wants(&stored.queries()) {
            continue;
        }
        let offered = stored.load().and_then(|(snapshot, blocks)| {
            restoring.offer(snapshot, &blocks).map_err(|error| error.to_string())
        });
        if let Err(why) = offered {
            metrics.snapshot_errors.inc();
            let next_offset = stored.next_offset();
            tracing::warn!(partition, next_offset, why, "a stored snapshot cannot be used");
        }
    }
    restoring.is_begun().then(|| restoring.finish())
}
