//! The delivery thread: it sends what is in the log to Kafka, and does what follows from the answers.
//!
//! It pulls: what has just arrived comes from memory, what is behind from the log, page by page. While Kafka takes nothing,
//! whatever the reason, the journal goes on. [`Outbox`] says what is due; a restart, an outage and a refusal differ only in
//! where it begins again.
//!
//! | Kafka's answer | done |
//! |---|---|
//! | acknowledged | settled |
//! | refused for the record's time | a new producer; records are dated back until they are taken: this clock is ahead of Kafka's |
//! | refused for its size, the first time | a new producer, whose batches are no larger than what the topics take |
//! | refused, or an unknown answer | what is not on its way is taken back, and again until the rest is answered for; what was taken back is looked for in Kafka; all is sent again in its order, the refused records alone |
//! | refused alone, or three times an unknown answer | moved to `failed`, sent to the dead letters |
//! | a dead letter refused | it stays in `failed`, tried again at the next start |
//! | lost, or the producer is broken | a new producer; topics that are missing are made; what is pending is read back and sent again |
//! | none for 30 s, while Kafka answers other requests | the same |
//!
//! When batches of several partitions are refused at once, an idempotent producer of librdkafka may send one of
//! them again for ever. So after a refusal that concerns all records (their time, a batch's size) the producer is
//! given up at once, and after any other one when it does not answer within [`ANSWER_DEADLINE`].
//!
//! When the credentials for Kafka change there is a new producer too.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::admin::Condition;
use common::backoff::Backoff;
use common::clock::Clock;
use common::kafka::{Kafka, Rotation};
use common::message_log::{Entry, Error as LogError, MessageLog, Sequence};
use prometheus::Histogram;

use super::arrivals::{Arrivals, News};
use super::backlog::{Backlog, Found};
use super::outbox::{Due, Outbox, Place, Verdict};
use super::wait::{Halt, Step, Waiter};
use crate::acks::{Acks, DeadLetter};
use crate::cursor::Progress;
use crate::error::Error;
use crate::ledger::Account;
use crate::metrics::Metrics;
use crate::positions::Positions;
use crate::publisher::{Known, Publisher, Report, Reports, Unsent};
use crate::receipt::Receipts;
use crate::traces::Traces;
use settlements::Settlements;
use silence::Silence;

mod aside;
mod postings;
mod producer;
mod settlements;
mod silence;

/// How long a producer that was refused something may be silent about the rest.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);
/// How long the thread sleeps when nothing happens; then it looks after the producer and the log.
const TICK: Duration = Duration::from_secs(1);
/// How often a producer that was refused something is asked to give back what it has not sent.
const TAKE_BACK: Duration = Duration::from_millis(20);
/// How many entries are sent before answers are looked at.
const TURN: usize = 1024;

/// The state of the delivery thread.
pub(super) struct Delivery {
    kafka: Kafka,
    log: MessageLog,
    arrivals: Arc<Arrivals>,
    receipts: Arc<Receipts>,
    outbox: Outbox,
    backlog: Backlog,
    settlements: Settlements,
    publisher: Publisher,
    reports: Arc<Reports>,
    /// What is known of the entries that are in flight.
    on_the_way: HashMap<Sequence, Sent>,
    /// From receipt to Kafka's acknowledgement, by account without the first one.
    receipt_to_kafka: Vec<Histogram>,
    /// The producer lost a record or takes none.
    broken: Option<String>,
    /// The producer with the new credentials, which waits for the answers of the old one.
    renewal: Option<Publisher>,
    /// Since when answers are awaited before anything more is sent.
    draining: Option<Instant>,
    /// Since a refusal: how many records the producer gave back.
    taken_back: Option<usize>,
    silence: Silence,
    rebuild_backoff: Backoff,
    /// Whether the producer's queue was full when an entry was to be sent.
    is_full: bool,
    /// What is sent together at most, if it is less than usual.
    batch_bytes: Option<usize>,
    /// Whether the topics' limits were asked for since a producer broke.
    fitted: bool,
    /// How far records are dated back.
    back_ms: i64,
    clock: Clock,
    /// What times of the outbox count from.
    began: Instant,
    reachable: Condition,
    metrics: Metrics,
    waiter: Waiter,
    rotation: Rotation,
    traces: Traces,
    promises: Promises,
    /// Entries before were handed to a producer that is gone, or were in the log at the start.
    handed: Sequence,
    /// Whether it was told that such entries are dropped.
    is_told_spent: bool,
    closed: bool,
}

/// What the delivery shares with the journal, and what it works with.
pub(super) struct Parts {
    pub(super) kafka: Kafka,
    pub(super) log: MessageLog,
    pub(super) arrivals: Arc<Arrivals>,
    pub(super) receipts: Arc<Receipts>,
    pub(super) acks: Acks,
    /// The sequence after what the log held at the start.
    pub(super) start: Sequence,
    pub(super) outbox: Outbox,
    pub(super) backlog: Backlog,
    pub(super) clock: Clock,
    pub(super) reachable: Condition,
    pub(super) metrics: Metrics,
    pub(super) waiter: Waiter,
    pub(super) traces: Traces,
    pub(super) positions: Positions,
    pub(super) promises: Promises,
    pub(super) progress: Progress,
}

/// What sources promise about entries that may be in Kafka.
#[derive(Debug)]
pub(super) struct Promises {
    /// The sources whose entries are not sent again.
    pub(super) at_most_once: BTreeSet<Arc<str>>,
    /// Whether entries are looked for in Kafka before they are sent again.
    pub(super) looks: bool,
}

/// An entry that is in flight.
#[derive(Debug)]
struct Sent {
    account: Account,
    received_ms: i64,
    /// If it is a dead letter.
    dead_letter: Option<DeadLetter>,
}

/// Why no more is sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pause {
    /// There is more: it was the turn of the answers.
    Turn,
    /// Nothing is due, or it cannot be sent.
    Nothing,
}

impl Delivery {
    /// Builds the producer, inside a runtime.
    ///
    /// # Errors
    /// When the settings cannot be used.
    pub(super) fn new(parts: Parts) -> Result<Self, Error> {
        let Parts { kafka, log, arrivals, receipts, acks, outbox, backlog, clock, .. } = parts;
        let Parts {
            reachable, metrics, waiter, traces, positions, start, promises, progress, ..
        } = parts;
        progress.settled_before(settlements::low(&outbox));
        let rotation = kafka.watch_credentials(waiter.deadline().child_token());
        let publisher =
            Publisher::new(&kafka, log.instance(), None, reachable.clone(), traces.clone())?;
        Ok(Self {
            settlements: Settlements::new(
                kafka.clone(),
                log.clone(),
                clock,
                metrics.clone(),
                (acks, progress),
                positions,
                start,
            ),
            receipt_to_kafka: metrics.receipt_to_kafka(),
            kafka,
            log,
            arrivals,
            receipts,
            outbox,
            backlog,
            reports: publisher.reports(),
            publisher,
            on_the_way: HashMap::new(),
            broken: None,
            renewal: None,
            draining: None,
            taken_back: None,
            silence: Silence::new(Instant::now()),
            rebuild_backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(30)),
            is_full: false,
            batch_bytes: None,
            fitted: false,
            back_ms: 0,
            clock,
            began: Instant::now(),
            reachable,
            metrics,
            waiter,
            rotation,
            traces,
            promises,
            handed: start,
            is_told_spent: false,
            closed: false,
        })
    }

    /// Works until the journal has ended and everything is delivered, or until the drain deadline. Blocks.
    ///
    /// # Errors
    /// An error that trying again cannot solve. Logged entries that are not delivered stay in the log.
    pub(super) fn run(mut self) -> Result<(), Error> {
        match self.work() {
            Err(Halt::Failed(error)) => return Err(error),
            Err(Halt::Deadline) => {
                self.take_news();
                tracing::warn!(
                    pending = self.outbox.pending(),
                    "drain deadline reached; the rest is in the log and will be sent at the next start"
                );
            }
            Ok(()) => tracing::info!(failed = self.outbox.failures(), "drained"),
        }
        self.close()
    }

    fn work(&mut self) -> Step {
        self.settlements.count(&self.outbox, &self.backlog);
        self.start()?;
        loop {
            self.waiter.check()?;
            self.take_reports()?;
            self.take_news();
            self.mend_producer()?;
            self.take_back()?;
            let pause = self.send_due()?;
            self.defer_stuck()?;
            self.settlements.record(&self.outbox)?;
            self.settlements.count(&self.outbox, &self.backlog);
            if self.closed && self.outbox.is_done() {
                return Ok(());
            }
            if pause == Pause::Nothing {
                self.wait()?;
            }
        }
    }

    /// Waits until something happens.
    fn wait(&mut self) -> Step {
        let (reports, rotation) = (Arc::clone(&self.reports), self.rotation.clone());
        let (arrivals, renews) = (Arc::clone(&self.arrivals), self.renewal.is_some());
        let tick = if self.taken_back.is_some() { TAKE_BACK } else { TICK };
        let idle = self.waiter.wait(async {
            tokio::select! {
                () = reports.some() => false,
                () = rotation.due(), if !renews => false,
                () = arrivals.some() => false,
                () = tokio::time::sleep(tick) => true,
            }
        })?;
        if idle && tick == TICK {
            self.publisher.probe();
        }
        Ok(())
    }

    /// Waits for `future`, and notes meanwhile what the journal has written and what is settled.
    fn await_and_settle<T>(&mut self, future: impl Future<Output = T>) -> Step<T> {
        self.await_while(future, |_| ())
    }

    /// Does the same, and `meanwhile` every [`TICK`].
    fn await_while<T>(
        &mut self,
        future: impl Future<Output = T>,
        meanwhile: impl Fn(&mut Self),
    ) -> Step<T> {
        let mut future = std::pin::pin!(future);
        loop {
            // A timer can only be made inside the runtime.
            let waiting = async { tokio::time::timeout(TICK, future.as_mut()).await };
            if let Ok(output) = self.waiter.wait(waiting)? {
                return Ok(output);
            }
            meanwhile(self);
            self.take_news();
            self.settlements.record(&self.outbox)?;
            self.settlements.count(&self.outbox, &self.backlog);
        }
    }

    /// Takes in what the journal has written.
    fn take_news(&mut self) {
        let News { entries, end, synced, cursors, closed, .. } = self.arrivals.take();
        self.outbox.arrived(end);
        self.outbox.synced(synced);
        self.backlog.add(entries);
        self.settlements.add_cursors(cursors);
        self.closed = closed;
    }

    /// Does what follows from Kafka's answers.
    fn take_reports(&mut self) -> Step {
        let (mut refused, Known { reports, positions }) = (Vec::new(), self.reports.take());
        if !reports.is_empty() {
            self.silence.broken(Instant::now());
        }
        for (sequence, report) in reports {
            let sent = self.on_the_way.remove(&sequence);
            match report {
                Report::Delivered => {
                    if sent.as_ref().is_some_and(|sent| sent.dead_letter.is_none()) {
                        self.rebuild_backoff.reset();
                    }
                    self.acknowledged(sequence, sent.as_ref());
                }
                Report::Refused(code) | Report::Unknown(code) => refused.push((sequence, code)),
                Report::Returned => {
                    *self.taken_back.get_or_insert_default() += 1;
                    self.outbox.returned(sequence);
                }
                Report::Lost(code) => self.broken = Some(code.to_string()),
            }
        }
        self.settlements.positions.raise_all(&positions);
        if refused.is_empty() {
            return Ok(());
        }
        if let Some(why) = self.adapt(&refused)? {
            tracing::info!(why, "a new kafka producer sends what the log holds");
            return self.replace_producer();
        }
        for (sequence, code) in refused {
            let verdict = self.outbox.refused(sequence, Report::is_refusal(code));
            if verdict == Verdict::Condemned {
                self.condemn(sequence, code)?;
            }
        }
        if self.outbox.is_draining() {
            self.taken_back.get_or_insert_default();
        }
        Ok(())
    }

    /// Kafka has acknowledged an entry.
    fn acknowledged(&mut self, sequence: Sequence, sent: Option<&Sent>) {
        let account = sent.map_or(Account::RECOVERED, |sent| sent.account);
        if let Some(sent) = sent
            && let Some(histogram) = self.receipt_to_kafka.get(account.index().wrapping_sub(1))
        {
            let passed_ms = self.clock.now_ms().saturating_sub(sent.received_ms).max(0);
            histogram.observe(passed_ms as f64 / 1_000.0);
        }
        self.delivered(sequence, account, sent.and_then(|sent| sent.dead_letter.as_ref()));
    }

    /// Kafka has an entry.
    fn delivered(
        &mut self,
        sequence: Sequence,
        account: Account,
        dead_letter: Option<&DeadLetter>,
    ) {
        let Some(place) = self.outbox.delivered(sequence) else { return };
        self.backlog.settle(sequence);
        // First, so that nobody sees that it is in Kafka and not that it is a dead letter.
        if let Some(dead_letter) = dead_letter {
            self.settlements.acks.dead_letter(sequence, dead_letter);
        }
        if let Place::Aside(family) = place {
            self.settlements.removed.push((family, sequence));
            self.settlements.acks.taken_back(sequence);
        }
        self.settlements.settled += 1;
        let reason = dead_letter.map(|(reason, _)| *reason);
        self.settlements.postings.acknowledged(sequence, account, place, reason);
        self.receipts.acknowledged(sequence);
    }

    /// Sends what is due, as far as the producer takes it.
    fn send_due(&mut self) -> Step<Pause> {
        for _ in 0..TURN {
            if self.broken.is_some() {
                return Ok(Pause::Turn);
            }
            let Some(due) = self.outbox.due() else { return Ok(Pause::Nothing) };
            let entry = match self.entry(due) {
                Ok(Some(entry)) if self.is_spent(due.sequence, &entry) => {
                    self.give_up(due, &entry);
                    continue;
                }
                Ok(Some(entry)) => entry,
                Ok(None) => continue,
                Err(error) if error.retryable() => {
                    tracing::warn!(%error, "what is behind cannot be read now");
                    return Ok(Pause::Nothing);
                }
                Err(error) => return Err(error.into()),
            };
            match self.try_send(due.sequence, &entry) {
                Ok(()) => {
                    self.is_full = false;
                    self.outbox.sent(due, self.now_ms());
                }
                Err(Unsent::Full) => {
                    if !self.is_full {
                        self.metrics.queue_full.inc();
                    }
                    self.is_full = true;
                    if due.place == Place::Group {
                        self.backlog.put_back(due.sequence, entry);
                    }
                    return Ok(Pause::Nothing);
                }
                // It did not leave this process, so that it is this record alone that is refused.
                Err(Unsent::Refused(code)) => self.condemn_entry(due.sequence, entry, code)?,
                Err(Unsent::Broken(error)) => self.broken = Some(error.to_string()),
            }
        }
        Ok(Pause::Turn)
    }

    /// Times of the outbox.
    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Takes the entry that is due; `None` if it cannot be read, and never will be.
    fn entry(&mut self, due: Due) -> Result<Option<Entry>, LogError> {
        match due.place {
            Place::Group => match self.backlog.take(due.sequence, self.outbox.end())? {
                Found::Entry(entry) => Ok(Some(entry)),
                Found::Damaged(ranges) => {
                    self.lose(&ranges);
                    Ok(None)
                }
            },
            Place::Aside(family) => match self.log.get(family, due.sequence) {
                Ok(Some(entry)) => Ok(Some(entry)),
                // Nothing else says that the entry is gone: it may be a key that is missing.
                Ok(None) | Err(LogError::Damaged { .. }) => {
                    let sequence = due.sequence;
                    tracing::error!(%sequence, ?family, "an entry of the message log is damaged, and is lost");
                    self.outbox.forget(sequence);
                    self.settlements.postings.lost_aside(sequence, family);
                    self.settlements.lost(family, sequence);
                    self.receipts.lost(sequence, sequence.next());
                    Ok(None)
                }
                Err(error) => Err(error),
            },
        }
    }

    /// These ranges of the groups cannot be read.
    fn lose(&mut self, ranges: &[(Sequence, Sequence)]) {
        let parts =
            ranges.iter().flat_map(|&(start, end)| self.settlements.postings.parts(start, end));
        for (start, end) in parts.collect::<Vec<_>>() {
            let entries = self.outbox.lost(start, end);
            if entries > 0 {
                self.settlements.acks.lost(start, end);
                self.receipts.lost(start, end);
                tracing::error!(%start, %end, entries, "entries of the message log are damaged, and are lost");
                self.settlements.postings.lost(start, entries);
            }
        }
    }

    /// Hands an entry to the producer, which may not take it now.
    fn try_send(&mut self, sequence: Sequence, entry: &Entry) -> Result<(), Unsent> {
        // A dead letter has the time at which it is written: its event may be older than the topic keeps.
        let now_ms = if entry.reason.is_some() { self.clock.now_ms() } else { entry.received_ms };
        self.publisher.send(sequence, entry, now_ms.saturating_sub(self.back_ms))?;
        let account = self.settlements.postings.account(sequence, &entry.source);
        let dead_letter = entry.reason.map(|reason| (reason, Arc::clone(&entry.source)));
        let sent = Sent { account, received_ms: entry.received_ms, dead_letter };
        self.on_the_way.insert(sequence, sent);
        Ok(())
    }

    fn pause(&mut self, delay: Duration) -> Step {
        self.await_and_settle(async move { tokio::time::sleep(delay).await })
    }
}
