//! The tally stage: partitions of the raw topic in, partial results and snapshots out.
//!
//! One thread polls, counts, publishes and stores; nothing is shared and nothing is locked. What it
//! may do when:
//!
//! - On an assignment each partition's tally is restored from the state topic, read on from the
//!   first offset it does not reflect, and published as a whole at once. Committed offsets decide
//!   nothing.
//! - A query that reflects less than the others of its partition has records replayed for it, by a
//!   consumer of its own, while the others go on.
//! - Changed partials follow once an interval, sooner when the stream is quiet, and not before those
//!   sent last have arrived: a slow broker gets fewer, newer ones.
//! - The ledgers are published with them, but only every few seconds.
//! - What former owners published is deleted once as much is published under own keys.
//! - On a revocation every tally is published, stored and suspended. A suspended tally is a function of
//!   the records that it has seen, so it goes on from there when its partition comes back. When the
//!   assignment was lost, others have the partitions already: nothing is published or stored then.

use std::collections::BTreeMap;
use std::sync::mpsc::TryRecvError;
use std::time::{Duration, Instant};

use common::admin::Condition;
use rdkafka::message::{BorrowedMessage, Message};

use super::context::Context;
use super::exchange::{Exchange, Read, Round, Wait};
use crate::core::tally::{Outcome, Record, Tally};
use crate::error::Error;
use crate::group::Change;
use crate::metrics::{self, Metrics};
use crate::pace::{AUDIT_INTERVAL, Pace};
use crate::state;

mod former;
mod notices;
mod replay;
mod task;
mod traces;
mod witness;

use former::Search;
use notices::Warnings;
use replay::{Replay, Replayed};
use task::{PartialsSink, PartitionTask};

/// The consumer group of this stage.
pub const GROUP: &str = "analyzer-tally";

/// Records read between two looks at the clock: about a millisecond's worth.
const BATCH: usize = 512;

/// How often gauges are brought up to date.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// How long a taking-over waits for what was stored at the revocation before it.
const REVOKED_FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a tally is kept for a partition that others have: while a group settles, a partition may
/// come back soon.
const SUSPENDED_FOR: Duration = Duration::from_secs(60);

/// Runs the stage on the calling thread until it is told to stop. `ready` holds while the group has
/// given it its partitions (which may be none) and their tallies are restored.
///
/// # Errors
/// When it cannot go on: the process has to start anew.
pub fn run(context: &Context, ready: &Condition) -> Result<(), Error> {
    Stage::open(context, ready).and_then(Stage::run)
}

struct Stage<'a> {
    context: &'a Context,
    ready: &'a Condition,
    exchange: Exchange,
    sink: PartialsSink,
    tasks: BTreeMap<i32, PartitionTask>,
    /// Tallies of partitions that were revoked, and since when.
    suspended: BTreeMap<i32, (Tally, Instant)>,
    /// Reads for the queries that are behind, if there are any.
    replay: Option<Replay>,
    /// Looks for what former owners published, after a taking-over.
    search: Option<Search>,
    next_report: Instant,
    counts: RecordCounts,
    warnings: Warnings,
    /// Whether something was counted that is not in the partials yet.
    unpublished: bool,
    /// How often ledgers are published.
    ledger_pace: Pace,
}

impl<'a> Stage<'a> {
    fn open(context: &'a Context, ready: &'a Condition) -> Result<Self, Error> {
        let kafka = &context.config.kafka;
        Ok(Self {
            context,
            ready,
            exchange: Exchange::open(context, GROUP, &kafka.topics.raw, &[])?,
            sink: PartialsSink::new(kafka, context.partitions.partials),
            tasks: BTreeMap::new(),
            suspended: BTreeMap::new(),
            replay: None,
            search: None,
            next_report: Instant::now(),
            counts: RecordCounts::default(),
            warnings: Warnings::new(Instant::now()),
            unpublished: false,
            ledger_pace: Pace::new(AUDIT_INTERVAL),
        })
    }

    fn run(mut self) -> Result<(), Error> {
        while !self.context.stop.is_cancelled() {
            self.read()?;
            self.replay()?;
            self.publish()?;
            self.delete_former()?;
            self.store()?;
            self.report();
        }
        self.finish()
    }

    fn read(&mut self) -> Result<(), Error> {
        let wait = match (&self.replay, self.unpublished) {
            (Some(_), _) => Wait::Briefly,
            (None, true) => Wait::UntilPublication,
            (None, false) => Wait::Idle,
        };
        let Self { exchange, tasks, counts, unpublished, context, .. } = self;
        let round = exchange.read(BATCH, wait, |read| {
            let Read::Record(message) = read else { return };
            // A partition may have been revoked while its records were already fetched.
            if let Some(task) = tasks.get_mut(&message.partition()) {
                let outcome = task.count(record(message));
                counts.add(outcome, &context.metrics);
                task.trace(outcome, message);
                counts.bytes += message.payload_len() as u64;
                *unpublished = true;
            }
        })?;
        match round {
            Round::More => Ok(()),
            Round::OutOfRange => self.seek(),
            Round::CaughtUp(changes) => changes.into_iter().try_for_each(|change| match change {
                Change::Assigned(partitions) => self.take_over(&partitions),
                Change::Revoked { lost } => self.suspend(lost),
            }),
        }
    }

    /// Counts up to a batch of records for the queries that are behind.
    fn replay(&mut self) -> Result<(), Error> {
        let Some(replay) = &self.replay else { return Ok(()) };
        let (tasks, counts) = (&mut self.tasks, &mut self.counts);
        let replayed = replay.read(BATCH, |message| {
            if let Some(task) = tasks.get_mut(&message.partition())
                && task.replay_from().is_some()
            {
                task.replay(record(message));
                counts.note(metrics::Outcome::Replayed);
                if task.replay_from().is_none() {
                    tracing::info!(partition = message.partition(), "all queries have caught up");
                }
            }
        })?;
        self.unpublished = true;
        if replayed == Replayed::OutOfRange {
            return self.seek();
        }
        if self.tasks.values().all(|task| task.replay_from().is_none()) {
            self.replay = None;
        }
        Ok(())
    }

    /// Takes over `partitions`, which are all that this process has from now on.
    fn take_over(&mut self, partitions: &[i32]) -> Result<(), Error> {
        let started = Instant::now();
        let Context { config, plan, partitions: width, metrics, stop, .. } = self.context;
        let topics = &config.kafka.topics;
        if let Some(&partition) = partitions.iter().find(|&&partition| partition >= width.state) {
            let (raw, state) = (topics.raw.clone(), topics.state.clone());
            return Err(Error::StateTooNarrow { raw, partition, state, partitions: width.state });
        }
        // What was stored when these partitions were revoked is to be among what is read back.
        match self.exchange.out.flush(REVOKED_FLUSH_TIMEOUT) {
            Err(error) if !error.retryable() => return Err(error.into()),
            Err(error) => {
                tracing::warn!(%error, "a partition is taken over before its last snapshot arrived")
            }
            Ok(()) => {}
        }
        let logs = state::read(&config.kafka, partitions, stop)?;
        let known = logs.values().any(|log| !log.is_empty());
        for (partition, log) in logs {
            let suspended = self.suspended.remove(&partition).map(|(tally, _)| tally);
            if known && log.is_empty() && suspended.is_none() {
                tracing::warn!(
                    partition,
                    "no snapshot of this partition stands although there are some of others; if it was added to the topic, \
                     re-deliveries of events from before may count twice"
                );
            }
            let task = PartitionTask::take_over(self.context, partition, &log, suspended);
            self.tasks.insert(partition, task);
        }
        self.seek()?;
        for task in self.tasks.values_mut() {
            task.publish_all(&self.exchange.out, &self.sink, &self.exchange.sent)?;
        }
        let owners =
            self.tasks.iter().map(|(&partition, task)| (partition, task.owner())).collect();
        let search = Search::start(&config.kafka, width.partials, plan, owners, stop)?;
        self.search = Some(search).filter(|_| !self.tasks.is_empty());
        let took = started.elapsed();
        metrics.takeover_seconds.observe(took.as_secs_f64());
        metrics
            .assigned
            .with_label_values(&[metrics::Stage::Tally.as_str()])
            .set(self.tasks.len().try_into().unwrap_or(i64::MAX));
        tracing::info!(?partitions, took_ms = took.as_millis(), "partitions taken over");
        self.ready.set();
        Ok(())
    }

    /// Gives all partitions up: the group is about to hand them out anew, or has done so (`lost`).
    fn suspend(&mut self, lost: bool) -> Result<(), Error> {
        self.ready.unset("the group is handing out its partitions anew");
        let metrics = &self.context.metrics;
        metrics.lag.reset();
        metrics.watermark.reset();
        metrics.snapshot_age.count_from(None);
        metrics.assigned.with_label_values(&[metrics::Stage::Tally.as_str()]).set(0);
        self.replay = None;
        self.search = None;
        if lost && !self.tasks.is_empty() {
            tracing::warn!(
                "the group took this process for dead; what is not published yet is left to others"
            );
        }
        for (partition, mut task) in std::mem::take(&mut self.tasks) {
            if !lost {
                task.publish(&self.exchange.out, &self.sink, &self.exchange.sent)?;
                task.publish_ledger(&self.exchange.out, &self.sink, &self.exchange.sent)?;
                task.store(&self.exchange.out)?;
            }
            self.suspended.insert(partition, (task.into_tally(), Instant::now()));
        }
        Ok(())
    }

    /// Reads every partition from the first offset that is not reflected. Where the log begins after that
    /// offset, what is between them is lost, which is recorded and shown; where it ends before, or has
    /// another record in the place of the last one that was counted, it is another log.
    fn seek(&mut self) -> Result<(), Error> {
        let Context { config, metrics, stop, .. } = self.context;
        let topics = &config.kafka.topics;
        let (mut starts, mut replays) = (Vec::new(), Vec::new());
        let (mut lows, mut witnesses) = (BTreeMap::new(), BTreeMap::new());
        for (&partition, task) in &self.tasks {
            let Some(marks) = self.exchange.consumer.watermarks_until(partition, stop)? else {
                return Ok(());
            };
            let next = task.next_offset();
            if next > marks.high {
                return Err(Error::LogShrank {
                    raw: topics.raw.clone(),
                    partition,
                    end: marks.high,
                    next,
                    raw_state: topics.state.clone(),
                    partials: topics.partials.clone(),
                    results: topics.results.clone(),
                });
            }
            lows.insert(partition, marks.low);
            let witness = task.witness().filter(|witness| witness.offset >= marks.low);
            witnesses.extend(witness.map(|witness| (partition, witness)));
        }
        witness::verify(&config.kafka, &witnesses, stop)?;
        for (&partition, task) in &mut self.tasks {
            let (low, next) = (lows[&partition], task.next_offset());
            if next < low {
                let lost = low - next;
                tracing::error!(
                    partition,
                    from = next,
                    to = low,
                    lost,
                    "records are gone before they were counted; the results show the gap"
                );
                metrics.gap_offsets.inc_by(lost.unsigned_abs());
            }
            if task.replay_from().unwrap_or(next) < low {
                task.record_gap(low);
                self.unpublished = true;
            }
            starts.push((partition, task.next_offset()));
            replays.extend(task.replay_from().map(|from| (partition, from)));
        }
        self.replay = if replays.is_empty() {
            None
        } else {
            tracing::info!(?replays, "records are replayed for queries that are behind");
            Some(Replay::start(&config.kafka, &replays)?)
        };
        Ok(self.exchange.consumer.assign(&starts)?)
    }

    fn publish(&mut self) -> Result<(), Error> {
        let started = Instant::now();
        let ledgers_due = self.ledger_pace.time_until_due(started, started).is_zero();
        if !(self.unpublished || ledgers_due) || !self.exchange.publication_due(started) {
            return Ok(());
        }
        for task in self.tasks.values_mut() {
            task.publish(&self.exchange.out, &self.sink, &self.exchange.sent)?;
            if ledgers_due {
                task.publish_ledger(&self.exchange.out, &self.sink, &self.exchange.sent)?;
            }
        }
        let ended = Instant::now();
        if ledgers_due {
            self.ledger_pace.done(started, ended);
        }
        if std::mem::take(&mut self.unpublished) {
            self.exchange.published(started, ended);
            self.context.metrics.emit_seconds.observe((ended - started).as_secs_f64());
        }
        Ok(())
    }

    /// Deletes what former owners published and nobody needs any more.
    fn delete_former(&mut self) -> Result<(), Error> {
        let Exchange { out, sent, .. } = &self.exchange;
        match self.search.as_ref().map(Search::result) {
            None | Some(Err(TryRecvError::Empty)) => {}
            Some(Err(TryRecvError::Disconnected)) => self.search = None,
            Some(Ok(found)) => {
                self.search = None;
                for (partition, found) in found {
                    if let Some(task) = self.tasks.get_mut(&partition) {
                        task.found_former(found);
                    }
                }
            }
        }
        if sent.acknowledged() {
            for task in self.tasks.values_mut() {
                task.delete_former(out, &self.sink, sent)?;
            }
        }
        Ok(())
    }

    /// Stores the task that is due, one at a time so that counting never waits for all of them.
    fn store(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        let out = &self.exchange.out;
        for task in self.tasks.values_mut() {
            if let Some(took) = task.clean_up(out)? {
                self.context.metrics.snapshot_seconds.observe(took.as_secs_f64());
            }
        }
        if let Some(task) = self.tasks.values_mut().find(|task| task.store_due(now)) {
            task.store(out)?;
        }
        Ok(())
    }

    fn report(&mut self) {
        let now = Instant::now();
        if now < self.next_report {
            return;
        }
        self.next_report = now + REPORT_INTERVAL;
        let metrics = &self.context.metrics;
        self.counts.flush(metrics);
        for (partition, task) in &mut self.tasks {
            task.report(metrics, &mut self.warnings.notices);
            if let Some(end) = self.exchange.consumer.known_end(*partition) {
                let lag = (end - task.next_offset()).max(0);
                metrics.lag.with_label_values(&[partition.to_string().as_str()]).set(lag);
            }
        }
        let unsaved = self.tasks.values().filter_map(PartitionTask::unsaved_since);
        metrics.snapshot_age.count_from(unsaved.min());
        let next: Vec<(i32, i64)> =
            self.tasks.iter().map(|(&partition, task)| (partition, task.next_offset())).collect();
        // Also when nothing was counted, because the commit before may have failed.
        if !next.is_empty() {
            self.exchange.consumer.commit(&next);
        }
        self.warnings.say(now, &self.context.plan, metrics);
        self.suspended.retain(|_, (_, since)| now.duration_since(*since) < SUSPENDED_FOR);
    }

    fn finish(mut self) -> Result<(), Error> {
        self.counts.flush(&self.context.metrics);
        if !self.exchange.consumer.is_assignment_lost() {
            for task in self.tasks.values_mut() {
                task.publish(&self.exchange.out, &self.sink, &self.exchange.sent)?;
                task.publish_ledger(&self.exchange.out, &self.sink, &self.exchange.sent)?;
                task.store(&self.exchange.out)?;
            }
        }
        self.exchange.flush()
    }
}

/// A record for the core. Its headers are left alone: a record is counted by its payload, whoever wrote
/// it, and rdkafka panics over a header whose name is no UTF-8.
fn record<'m>(message: &'m BorrowedMessage<'_>) -> Record<'m> {
    Record {
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis().unwrap_or(0),
        key: message.key(),
        payload: message.payload().unwrap_or_default(),
    }
}

/// Counts on their way to the metrics, so that a record costs no atomic operation.
#[derive(Default)]
struct RecordCounts {
    /// In the order of [`metrics::Outcome::ALL`].
    outcomes: [u64; metrics::Outcome::ALL.len()],
    bytes: u64,
}

impl RecordCounts {
    fn add(&mut self, outcome: Outcome, metrics: &Metrics) {
        self.note(match outcome {
            Outcome::Counted => metrics::Outcome::Counted,
            Outcome::Duplicate => metrics::Outcome::Duplicate,
            Outcome::Control => metrics::Outcome::Control,
            Outcome::Replayed => metrics::Outcome::Replayed,
            Outcome::Undecodable(reason) => {
                metrics.undecodable.with_label_values(&[reason.as_str()]).inc();
                metrics::Outcome::Undecodable
            }
        });
    }

    fn note(&mut self, outcome: metrics::Outcome) {
        self.outcomes[outcome as usize] += 1;
    }

    fn flush(&mut self, metrics: &Metrics) {
        let Self { outcomes, bytes } = std::mem::take(self);
        for (outcome, count) in metrics::Outcome::ALL.into_iter().zip(outcomes) {
            metrics.records.with_label_values(&[outcome.as_str()]).inc_by(count);
        }
        metrics.raw_bytes.inc_by(bytes);
    }
}
