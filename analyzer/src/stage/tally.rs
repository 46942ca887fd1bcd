//! The tally stage: partitions of the raw topic in, partial results and snapshots out.
//!
//! One thread polls, counts, publishes and stores; nothing is shared and nothing is locked. What it
//! may do when:
//!
//! - On an assignment each partition's tally is restored from the state topic, read on from the
//!   first offset it does not reflect, and published as a whole at once. Committed offsets decide
//!   nothing.
//! - Changed partials follow once an interval, sooner when the stream is quiet, and not before those
//!   sent last have arrived: a slow broker gets fewer, newer ones.
//! - On a revocation every tally is stored and parked. A parked tally is a function of the records
//!   it has seen, so it goes on from there when its partition comes back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::admin::Condition;
use common::kafka::header;
use rdkafka::message::{BorrowedMessage, Message};

use super::{FLUSH_PATIENCE, IDLE_WAIT, SHORTEST_WAIT};
use crate::app::Setting;
use crate::core::tally::{Outcome, Record, Tally};
use crate::error::Error;
use crate::group::{Change, GroupConsumer, Polled};
use crate::metrics::Metrics;
use crate::pace::Pace;
use crate::publisher::{Publisher, Ticket};
use crate::state;

mod seat;

use seat::{Outlet, Seat};

/// The consumer group of this stage.
pub const GROUP: &str = "analyzer-tally";

/// Records read between two looks at the clock: about a millisecond's worth.
const BATCH: usize = 512;

/// How often gauges are brought up to date.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// How long a taking-over waits for what was stored at the revocation before it.
const REVOKED_FLUSH_PATIENCE: Duration = Duration::from_secs(2);

/// Runs the stage on the calling thread until it is told to stop. `ready` holds while the group has
/// given it its partitions (which may be none) and their tallies are restored.
///
/// # Errors
/// When it cannot go on: the process has to start anew.
pub fn run(setting: &Setting, ready: &Condition) -> Result<(), Error> {
    Stage::open(setting, ready).and_then(Stage::run)
}

struct Stage<'a> {
    setting: &'a Setting,
    ready: &'a Condition,
    consumer: GroupConsumer,
    out: Publisher,
    outlet: Outlet,
    seats: BTreeMap<i32, Seat>,
    parked: BTreeMap<i32, Tally>,
    /// The partials sent last.
    sent: Arc<Ticket>,
    pace: Pace,
    next_report: Instant,
    counted: Counted,
    /// Whether something was counted that is not in the partials yet.
    unpublished: bool,
    /// When the last record was read.
    last_read: Instant,
    /// Whether everything that had arrived is read.
    caught_up: bool,
}

impl<'a> Stage<'a> {
    fn open(setting: &'a Setting, ready: &'a Condition) -> Result<Self, Error> {
        let config = &setting.config;
        let kafka = &config.kafka;
        let bytes = setting.metrics.published_bytes.clone();
        Ok(Self {
            setting,
            ready,
            consumer: GroupConsumer::join(
                kafka,
                GROUP,
                &kafka.topics.raw,
                config.instance_id.as_deref(),
                &[],
            )?,
            out: Publisher::new(&kafka.producer(), setting.stop.clone(), bytes)?,
            outlet: Outlet::new(kafka, setting.width.partials),
            seats: BTreeMap::new(),
            parked: BTreeMap::new(),
            sent: Ticket::new(),
            pace: Pace::new(Duration::from_millis(config.emit_interval_ms)),
            next_report: Instant::now(),
            counted: Counted::default(),
            unpublished: false,
            last_read: Instant::now(),
            caught_up: false,
        })
    }

    fn run(mut self) -> Result<(), Error> {
        while !self.setting.stop.is_cancelled() {
            self.read()?;
            self.out.check()?;
            self.publish()?;
            self.store()?;
            self.report();
        }
        self.finish()
    }

    /// Counts up to a batch of records; waits for the first one when the stream is quiet.
    fn read(&mut self) -> Result<(), Error> {
        let mut patience = if self.caught_up { self.idle_wait() } else { Duration::ZERO };
        self.caught_up = false;
        let mut found = false;
        for _ in 0..BATCH {
            match self.consumer.poll(patience)? {
                Polled::Record(message) => {
                    // A record of a partition that was revoked meanwhile is nobody's.
                    if let Some(seat) = self.seats.get_mut(&message.partition()) {
                        self.counted.add(seat.count(&record(&message)), &self.setting.metrics);
                        self.counted.bytes += message.payload_len() as u64;
                        found = true;
                    }
                }
                Polled::Nothing => {
                    self.caught_up = true;
                    break;
                }
                Polled::OutOfRange => return self.step_over_gaps(),
                Polled::End(_) => {}
            }
            patience = Duration::ZERO;
        }
        if found {
            self.unpublished = true;
            self.last_read = Instant::now();
        }
        if self.caught_up { self.follow_group() } else { Ok(()) }
    }

    fn idle_wait(&self) -> Duration {
        if self.unpublished {
            self.pace.wait(Instant::now(), self.last_read).clamp(SHORTEST_WAIT, IDLE_WAIT)
        } else {
            IDLE_WAIT
        }
    }

    fn follow_group(&mut self) -> Result<(), Error> {
        for change in self.consumer.changes() {
            match change {
                Change::Assigned(partitions) => self.take_over(&partitions)?,
                Change::Revoked => self.park()?,
            }
        }
        Ok(())
    }

    /// Takes the seats of `partitions`, which are all that this process has from now on.
    fn take_over(&mut self, partitions: &[i32]) -> Result<(), Error> {
        let started = Instant::now();
        let Setting { config, plan, width, metrics, stop } = self.setting;
        let topics = &config.kafka.topics;
        if let Some(&partition) = partitions.iter().find(|&&partition| partition >= width.state) {
            let (raw, state) = (topics.raw.clone(), topics.state.clone());
            return Err(Error::StateTooNarrow { raw, partition, state, partitions: width.state });
        }
        // What was stored when these partitions were revoked is to be among what is read back.
        match self.out.flush(REVOKED_FLUSH_PATIENCE) {
            Err(error) if !error.retryable() => return Err(error.into()),
            Err(error) => {
                tracing::warn!(%error, "a partition is taken over before its last snapshot arrived")
            }
            Ok(()) => {}
        }
        let logs = state::read(&config.kafka, partitions, stop)?;
        let known = logs.values().any(|log| !log.is_empty());
        for (partition, log) in logs {
            if known && log.is_empty() && !self.parked.contains_key(&partition) {
                tracing::warn!(
                    partition,
                    "no snapshot of this partition stands although there are some of others; if it was added to the topic, \
                     re-deliveries of events from before may count twice"
                );
            }
            let seat = Seat::take(plan, config, partition, &log, self.parked.remove(&partition));
            self.seats.insert(partition, seat);
        }
        self.parked.clear();
        self.step_over_gaps()?;
        for seat in self.seats.values_mut() {
            seat.publish_all(&self.out, &self.outlet, &self.sent)?;
        }
        let took = started.elapsed();
        metrics.takeover_seconds.observe(took.as_secs_f64());
        metrics
            .assigned
            .with_label_values(&["tally"])
            .set(self.seats.len().try_into().unwrap_or(i64::MAX));
        tracing::info!(?partitions, took_ms = took.as_millis(), "partitions taken over");
        self.ready.set();
        Ok(())
    }

    /// Leaves all seats: the group is about to hand the partitions out anew.
    fn park(&mut self) -> Result<(), Error> {
        self.ready.unset("the group is handing out its partitions anew");
        self.setting.metrics.lag.reset();
        self.setting.metrics.assigned.with_label_values(&["tally"]).set(0);
        for (partition, mut seat) in std::mem::take(&mut self.seats) {
            seat.publish(&self.out, &self.outlet, &self.sent)?;
            seat.store_now(&self.out)?;
            self.parked.insert(partition, seat.into_tally());
        }
        Ok(())
    }

    /// Reads every seat from the first offset it does not reflect. Where the log begins after that
    /// offset, what is between them is lost, which is recorded and shown; where it ends before, it
    /// is not the log that was counted.
    fn step_over_gaps(&mut self) -> Result<(), Error> {
        let topics = &self.setting.config.kafka.topics;
        let mut starts = Vec::with_capacity(self.seats.len());
        for (&partition, seat) in &mut self.seats {
            let Some(marks) = self.consumer.watermarks_until(partition, &self.setting.stop)? else {
                return Ok(());
            };
            let next = seat.next_offset();
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
            if next < marks.low {
                let lost = marks.low - next;
                tracing::error!(
                    partition,
                    from = next,
                    to = marks.low,
                    lost,
                    "records are gone before they were counted; the results show the gap"
                );
                self.setting.metrics.gap_offsets.inc_by(lost.unsigned_abs());
                seat.record_gap(marks.low);
                self.unpublished = true;
            }
            starts.push((partition, seat.next_offset()));
        }
        Ok(self.consumer.assign(&starts)?)
    }

    fn publish(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        if !self.unpublished
            || !self.sent.settled()
            || !self.pace.wait(now, self.last_read).is_zero()
        {
            return Ok(());
        }
        for seat in self.seats.values_mut() {
            seat.publish(&self.out, &self.outlet, &self.sent)?;
        }
        self.unpublished = false;
        let ended = Instant::now();
        self.pace.done(now, ended);
        self.setting.metrics.emit_seconds.observe((ended - now).as_secs_f64());
        Ok(())
    }

    /// Stores the seat that is due, one at a time so that counting never waits for all of them.
    fn store(&mut self) -> Result<(), Error> {
        let (now, caught_up) = (Instant::now(), self.caught_up);
        for seat in self.seats.values_mut() {
            if let Some(took) = seat.settle(&self.out)? {
                self.setting.metrics.snapshot_seconds.observe(took.as_secs_f64());
            }
        }
        if let Some(seat) = self.seats.values_mut().find(|seat| seat.store_due(now, caught_up)) {
            seat.store_now(&self.out)?;
        }
        Ok(())
    }

    fn report(&mut self) {
        let now = Instant::now();
        if now < self.next_report {
            return;
        }
        self.next_report = now + REPORT_INTERVAL;
        let metrics = &self.setting.metrics;
        self.counted.flush(metrics);
        for (partition, seat) in &mut self.seats {
            seat.report(metrics);
            if let Some(end) = self.consumer.known_end(*partition) {
                let lag = (end - seat.next_offset()).max(0);
                metrics.lag.with_label_values(&[partition.to_string().as_str()]).set(lag);
            }
        }
    }

    fn finish(mut self) -> Result<(), Error> {
        self.counted.flush(&self.setting.metrics);
        for seat in self.seats.values_mut() {
            seat.publish(&self.out, &self.outlet, &self.sent)?;
            seat.store_now(&self.out)?;
        }
        Ok(self.out.flush(FLUSH_PATIENCE)?)
    }
}

fn record<'m>(message: &'m BorrowedMessage<'_>) -> Record<'m> {
    Record {
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis().unwrap_or(0),
        id: header::value(message, header::ID),
        payload: message.payload().unwrap_or_default(),
    }
}

/// Counts on their way to the metrics, so that a record costs no atomic operation.
#[derive(Default)]
struct Counted {
    counted: u64,
    duplicate: u64,
    undecodable: u64,
    replayed: u64,
    bytes: u64,
}

impl Counted {
    fn add(&mut self, outcome: Outcome, metrics: &Metrics) {
        match outcome {
            Outcome::Counted => self.counted += 1,
            Outcome::Duplicate => self.duplicate += 1,
            Outcome::Replayed => self.replayed += 1,
            Outcome::Undecodable(reason) => {
                self.undecodable += 1;
                metrics.undecodable.with_label_values(&[reason.as_str()]).inc();
            }
        }
    }

    fn flush(&mut self, metrics: &Metrics) {
        let Self { counted, duplicate, undecodable, replayed, bytes } = std::mem::take(self);
        let outcomes = [
            ("counted", counted),
            ("duplicate", duplicate),
            ("undecodable", undecodable),
            ("replayed", replayed),
        ];
        for (outcome, count) in outcomes {
            metrics.records.with_label_values(&[outcome]).inc_by(count);
        }
        metrics.raw_bytes.inc_by(bytes);
    }
}
