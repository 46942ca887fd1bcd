//! One partition at this process: its tally, where it is stored, and what is still to be done.

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::kafka::Kafka;

use crate::config::Config;
use crate::core::partial::Partial;
use crate::core::plan::Plan;
use crate::core::tally::{self, Outcome, Tally};
use crate::error::Error;
use crate::metrics::Metrics;
use crate::pace::Pace;
use crate::placement::partition_of;
use crate::publisher::{Publisher, Record, Ticket};
use crate::state::{Log, Store};

/// Where partials go.
pub struct Outlet {
    topic: String,
    partitions: i32,
}

impl Outlet {
    /// The partials topic, which has `partitions`.
    pub fn new(kafka: &Kafka, partitions: i32) -> Self {
        Self { topic: kafka.topics.partials.clone(), partitions }
    }

    fn send(&self, out: &Publisher, partial: &Partial, ticket: &Arc<Ticket>) -> Result<(), Error> {
        let key = partial.key.to_string();
        let record = Record {
            topic: &self.topic,
            partition: Some(partition_of(&partial.key.query, self.partitions)),
            key: key.as_bytes(),
            value: partial.value.as_deref(),
        };
        Ok(out.send(record, ticket)?)
    }
}

/// One partition of the raw topic, as long as this process has it.
pub struct Seat {
    tally: Tally,
    store: Store,
    stores: Pace,
    /// Records after which the state is stored although the interval has not passed.
    patience: u64,
    /// Records counted since it was stored last.
    unstored: u64,
    /// What of the tally's counters is in the metrics.
    reported: Reported,
}

#[derive(Clone, Copy)]
struct Reported {
    late: u64,
    future: u64,
    shortened: u64,
    forgotten: u64,
}

impl Reported {
    fn of(tally: &Tally) -> Self {
        let progress = tally.progress();
        Self {
            late: tally.late(),
            future: progress.future,
            shortened: progress.shortened,
            forgotten: tally.forgotten(),
        }
    }
}

impl Seat {
    /// Takes `partition` over: goes on from the newest of the snapshots in `log` and the `parked`
    /// tally, else from the beginning.
    pub fn take(
        plan: &Arc<Plan>,
        config: &Config,
        partition: i32,
        log: &Log,
        parked: Option<Tally>,
    ) -> Self {
        let stored = log.candidates().find_map(|candidate| {
            let next = candidate.snapshot.next_offset();
            match Tally::restore(plan, candidate.snapshot, candidate.slices) {
                Ok(tally) => Some(tally),
                Err(error) => {
                    tracing::warn!(partition, next_offset = next, %error, "a stored snapshot cannot be used");
                    None
                }
            }
        });
        // Also when nothing is counted at first: a snapshot says that the partition is known.
        let unstored = u64::from(stored.is_none());
        let from = |tally: &Tally| tally.next_offset();
        let tally = match (stored, parked) {
            (Some(stored), Some(parked)) if from(&stored) > from(&parked) => stored,
            (_, Some(parked)) => parked,
            (Some(stored), None) => stored,
            (None, None) => Tally::new(partition, plan),
        };
        tracing::info!(
            partition,
            next_offset = tally.next_offset(),
            snapshot = unstored == 0,
            "counting goes on"
        );
        let mut stores = Pace::new(Duration::from_millis(config.snapshot_interval_ms));
        let now = Instant::now();
        stores.done(now, now);
        Self {
            reported: Reported::of(&tally),
            tally,
            store: Store::take_over(config.kafka.topics.state.as_str().into(), partition, log),
            stores,
            patience: config.snapshot_records,
            unstored,
        }
    }

    /// The tally alone, to go on from later.
    pub fn into_tally(self) -> Tally {
        self.tally
    }

    /// The first offset that is not reflected.
    pub fn next_offset(&self) -> i64 {
        self.tally.next_offset()
    }

    /// Counts a record.
    pub fn count(&mut self, record: &tally::Record<'_>) -> Outcome {
        self.unstored += 1;
        self.tally.apply(*record)
    }

    /// What is not counted yet below offset `low` is lost.
    pub fn record_gap(&mut self, low: i64) {
        self.unstored += 1;
        self.tally.record_gap(self.tally.next_offset(), low - 1);
    }

    /// Sends what has changed.
    pub fn publish(
        &mut self,
        out: &Publisher,
        outlet: &Outlet,
        ticket: &Arc<Ticket>,
    ) -> Result<(), Error> {
        self.tally.emit().try_for_each(|partial| outlet.send(out, &partial, ticket))
    }

    /// Sends everything.
    pub fn publish_all(
        &mut self,
        out: &Publisher,
        outlet: &Outlet,
        ticket: &Arc<Ticket>,
    ) -> Result<(), Error> {
        self.tally.emit_all().try_for_each(|partial| outlet.send(out, &partial, ticket))
    }

    /// Whether a snapshot is to be stored now. It is early when many records are not in the last one,
    /// and the first one as soon as all that has arrived is read (`caught_up`): who is killed again
    /// and again shall not replay more and more.
    pub fn store_due(&self, now: Instant, caught_up: bool) -> bool {
        if self.unstored == 0 || self.store.busy() {
            return false;
        }
        let early = self.unstored >= self.patience || (caught_up && !self.store.is_used());
        let news = if early { now.checked_sub(self.stores.shortest()).unwrap_or(now) } else { now };
        self.stores.wait(now, news).is_zero()
    }

    /// Stores a snapshot, if anything has changed since the last.
    pub fn store_now(&mut self, out: &Publisher) -> Result<(), Error> {
        if self.unstored > 0 {
            let started = Instant::now();
            let bytes = self.store.store(out, &self.tally.snapshot(), self.tally.slices())?;
            self.unstored = 0;
            self.stores.done(started, Instant::now());
            tracing::debug!(
                partition = self.tally.partition(),
                next_offset = self.tally.next_offset(),
                bytes,
                "snapshot sent"
            );
        }
        Ok(())
    }

    /// Tidies up after a snapshot that was acknowledged, and says how long it took.
    pub fn settle(&mut self, out: &Publisher) -> Result<Option<Duration>, Error> {
        Ok(self.store.settle(out)?)
    }

    /// Adds what the tally has counted since the last time to the metrics.
    pub fn report(&mut self, metrics: &Metrics) {
        let now = Reported::of(&self.tally);
        let before = std::mem::replace(&mut self.reported, now);
        for (cause, count) in
            [("late", now.late - before.late), ("future", now.future - before.future)]
        {
            metrics.unwindowed.with_label_values(&[cause]).inc_by(count);
        }
        metrics.shortened.inc_by(now.shortened - before.shortened);
        metrics.forgotten.inc_by(now.forgotten - before.forgotten);
    }
}
