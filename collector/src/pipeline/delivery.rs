//! Entries on their way to Kafka, and what follows from its answers: forget, dead-letter, or send again.
//!
//! librdkafka fails a whole batch for one record that Kafka does not want. So only a record that is
//! refused when it is sent *alone* is condemned: after a refusal everything in flight is awaited, then the
//! refused records are sent one by one, in their order.
//!
//! When batches of several partitions are refused at once, an idempotent producer of librdkafka may send one of
//! them again for ever. So after a refusal that concerns all records (their time, a batch's size) the producer is
//! given up at once, and after any other one when it does not answer within [`ANSWER_DEADLINE`].
//!
//! | Kafka's answer | done |
//! |---|---|
//! | acknowledged | forgotten |
//! | refused for the record's time | a new producer; records are dated back until they are taken: this clock is ahead of Kafka's |
//! | refused for its size, the first time | a new producer, whose batches are no larger than what the topics take |
//! | refused, or an unknown answer [`ATTEMPTS`] times, alone | moved to `failed`, sent to the dead letters |
//! | a dead letter refused | it stays in `failed`, tried again at the next start |
//! | lost, or the producer is broken | a new producer; what is pending is read back and sent again |
//!
//! When the credentials for Kafka change there is a new producer too.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use common::admin::Condition;
use common::backoff::Backoff;
use common::clock::Clock;
use common::event::Reason;
use common::kafka::{Kafka, Rotation, Topic, reader};
use common::message_log::{Entry, Family, Sequence};
use rdkafka::error::RDKafkaErrorCode;

use super::journal::{Journal, Refused};
use super::wait::{Halt, Step, Waiter};
use crate::error::Error;
use crate::metrics::Metrics;
use crate::publisher::{Publisher, Report, Reports, Unsent};
use crate::read_back::{Arrived, read_back};
use crate::traces::Traces;

/// Entries that are read from the log at once when it is sent again.
const PAGE: usize = 256;
/// What librdkafka sends together at most, unless it is told otherwise.
const BATCH_BYTES: usize = 1_000_000;
/// How long a producer that was refused something may be silent about the rest.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);
/// How often a record is sent alone that Kafka answers with an error we do not know.
const ATTEMPTS: u32 = 3;
/// How far records are dated back at first: Kafka takes what is an hour ahead of its clock.
const HOUR_MS: i64 = 3_600_000;
/// A clock further ahead than so is not what a refusal for the time is about.
const MAX_BACK_MS: i64 = 100 * 366 * 24 * HOUR_MS;

/// The producer, and what it has not answered for.
pub(super) struct Delivery {
    kafka: Kafka,
    publisher: Publisher,
    reports: Arc<Reports>,
    /// How many entries were sent and are not answered.
    in_flight: usize,
    /// Those of them that went to the dead letters.
    dead_letters: HashMap<Sequence, Reason>,
    /// Entries that were refused, not necessarily alone.
    refused: BTreeMap<Sequence, RDKafkaErrorCode>,
    /// How often each entry got an unknown answer.
    unknown: HashMap<Sequence, u32>,
    /// The producer lost a record or takes none.
    broken: Option<String>,
    rebuild_backoff: Backoff,
    /// What is sent together at most, if it is less than usual.
    batch_bytes: Option<usize>,
    /// Whether the topics' limits were asked for since a producer broke.
    fitted: bool,
    /// How far records are dated back.
    back_ms: i64,
    clock: Clock,
    reachable: Condition,
    metrics: Metrics,
    waiter: Waiter,
    rotation: Rotation,
    traces: Traces,
}

impl Delivery {
    /// Builds the producer for the log of this instance, inside a runtime.
    ///
    /// # Errors
    /// When the settings cannot be used.
    pub(super) fn new(
        kafka: &Kafka,
        instance: &str,
        clock: Clock,
        reachable: Condition,
        metrics: Metrics,
        waiter: Waiter,
        traces: Traces,
    ) -> Result<Self, Error> {
        let rotation = kafka.watch_credentials(waiter.deadline().child_token());
        let publisher = Publisher::new(kafka, instance, None, reachable.clone(), traces.clone())?;
        Ok(Self {
            kafka: kafka.clone(),
            reports: publisher.reports(),
            publisher,
            in_flight: 0,
            dead_letters: HashMap::new(),
            refused: BTreeMap::new(),
            unknown: HashMap::new(),
            broken: None,
            rebuild_backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(30)),
            batch_bytes: None,
            fitted: false,
            back_ms: 0,
            clock,
            reachable,
            metrics,
            waiter,
            rotation,
            traces,
        })
    }

    /// Makes the topics ready, and sends what the log holds.
    pub(super) fn start(&mut self, journal: &mut Journal) -> Step {
        let kafka = self.kafka.clone();
        let topics = [Topic::Raw, Topic::DeadLetters];
        let reachable = self.reachable.clone();
        self.waiter.wait(async move { kafka.ensure_topics(&topics, Some(&reachable)).await })??;
        self.resend(journal)?;
        self.reachable.set();
        Ok(())
    }

    /// Whether answers are outstanding.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight == 0 && self.refused.is_empty()
    }

    /// Resolves when Kafka has answered something, or a new producer is due.
    pub(super) fn answered(&self) -> impl Future<Output = ()> {
        let (reports, rotation) = (Arc::clone(&self.reports), self.rotation.clone());
        async move {
            tokio::select! {
                () = reports.some() => {}
                () = rotation.due() => {}
            }
        }
    }

    /// All entries that were handed to the producer so far are in the log.
    pub(super) fn logged(&self) {
        self.traces.logged();
    }

    /// Looks whether a Kafka that did not answer does so now.
    pub(super) fn probe(&self) {
        self.publisher.probe();
    }

    /// Hands an entry to the producer, which may not take it now.
    pub(super) fn try_send(&mut self, sequence: Sequence, entry: &Entry) -> Result<(), Unsent> {
        // A dead letter has the time at which it is written: its event may be older than the topic keeps.
        let now_ms = if entry.reason.is_some() { self.clock.now_ms() } else { entry.received_ms };
        self.publisher.send(sequence, entry, now_ms.saturating_sub(self.back_ms))?;
        self.in_flight += 1;
        if let Some(reason) = entry.reason {
            self.dead_letters.insert(sequence, reason);
        }
        Ok(())
    }

    /// Hands a logged entry to the producer, waiting while it is full. A broken producer, and one whose credentials have
    /// changed, is left to [`settle`](Self::settle), which sends all that is pending again.
    pub(super) fn send(
        &mut self,
        journal: &mut Journal,
        sequence: Sequence,
        entry: &Entry,
    ) -> Step {
        while self.broken.is_none() && !self.rotation.is_due() {
            match self.try_send(sequence, entry) {
                Ok(()) => return Ok(()),
                Err(Unsent::Full) => {
                    self.metrics.queue_full.inc();
                    self.waiter.wait(self.answered())?;
                    self.take_reports(journal)?;
                }
                // It did not leave this process, so that it is this record alone that is refused.
                Err(Unsent::Refused(code)) => return self.condemn(journal, sequence, code),
                Err(Unsent::Broken(error)) => self.broken = Some(error.to_string()),
            }
        }
        Ok(())
    }

    /// Does what follows from Kafka's answers, and mends the producer if it broke.
    pub(super) fn settle(&mut self, journal: &mut Journal) -> Step {
        self.take_reports(journal)?;
        loop {
            if self.rotation.is_due() {
                self.renew(journal)?;
            } else if let Some(why) = self.broken.take() {
                self.rebuild(journal, &why)?;
            } else if self.refused.is_empty() {
                return Ok(());
            } else if let Some(why) = self.adapt()? {
                self.refused.clear();
                tracing::info!(why, "a new kafka producer sends what the log holds");
                self.replace_producer(journal)?;
            } else {
                self.send_refused_alone(journal)?;
            }
        }
    }

    /// Gives the producer up and takes in what it still delivered, so that it is not sent again.
    pub(super) fn close(self, journal: &mut Journal) -> Step {
        drop(self.publisher);
        for (sequence, report) in self.reports.take() {
            if report == Report::Delivered {
                journal.acknowledge(sequence, self.dead_letters.get(&sequence).copied())?;
            }
        }
        Ok(())
    }

    fn take_reports(&mut self, journal: &mut Journal) -> Step {
        for (sequence, report) in self.reports.take() {
            self.in_flight = self.in_flight.saturating_sub(1);
            let reason = self.dead_letters.remove(&sequence);
            match report {
                Report::Delivered => {
                    self.unknown.remove(&sequence);
                    if reason.is_none() {
                        self.rebuild_backoff.reset();
                    }
                    journal.acknowledge(sequence, reason)?;
                }
                Report::Refused(code) | Report::Unknown(code) => {
                    self.refused.insert(sequence, code);
                }
                Report::Lost(code) => self.broken = Some(code.to_string()),
            }
        }
        journal.count();
        Ok(())
    }

    /// Changes how all records are sent, when that is what a refusal was about; gives the reason.
    fn adapt(&mut self) -> Step<Option<&'static str>> {
        if self.refused.values().any(is_time) && self.date_back() {
            return Ok(Some("records are dated back"));
        }
        if self.fitted || !self.refused.values().any(is_size) {
            return Ok(None);
        }
        self.fitted = true;
        for topic in [Topic::Raw, Topic::DeadLetters] {
            let kafka = self.kafka.clone();
            let limit = self.waiter.wait(async move { kafka.max_message_bytes(topic).await })?;
            // A broker that does not say so for one topic does not for the other.
            let Some(limit) = limit else { break };
            if limit < self.batch_bytes.unwrap_or(BATCH_BYTES) {
                self.batch_bytes = Some(limit);
            }
        }
        Ok(self.batch_bytes.map(|_limit| "a topic takes smaller batches than usual"))
    }

    /// Finds out which of the refused entries it is that Kafka does not want.
    fn send_refused_alone(&mut self, journal: &mut Journal) -> Step {
        self.await_answers(journal)?;
        let mut suspects = std::mem::take(&mut self.refused);
        while self.broken.is_none()
            && let Some((sequence, _)) = suspects.pop_first()
        {
            self.send_alone(journal, sequence)?;
        }
        self.refused.append(&mut suspects);
        Ok(())
    }

    /// Waits until nothing is in flight, or the producer is broken (also by being silent), or a new one is due.
    fn await_answers(&mut self, journal: &mut Journal) -> Step {
        while self.in_flight > 0 && self.broken.is_none() && !self.rotation.is_due() {
            let answered = self.answered();
            // A timer can only be made inside the runtime.
            let answered = async { tokio::time::timeout(ANSWER_DEADLINE, answered).await };
            match self.waiter.wait(answered)? {
                Ok(()) => self.take_reports(journal)?,
                Err(_) => self.broken = Some("no answer after a refusal".to_owned()),
            }
        }
        Ok(())
    }

    /// Sends an entry and awaits the answer, until there is one that says what to do with it.
    fn send_alone(&mut self, journal: &mut Journal, sequence: Sequence) -> Step {
        let Some(entry) = journal.entry(sequence)? else { return Ok(()) };
        loop {
            self.send(journal, sequence, &entry)?;
            self.await_answers(journal)?;
            let Some(code) = self.refused.remove(&sequence) else { return Ok(()) };
            if is_time(&code) && self.back_ms < MAX_BACK_MS {
                self.refused.insert(sequence, code);
                return Ok(());
            }
            let unknown = self.unknown.entry(sequence).or_default();
            *unknown += 1;
            if !Report::is_refusal(code) && *unknown < ATTEMPTS {
                let delay = self.rebuild_backoff.next_delay(&mut rand::rng());
                tracing::warn!(%sequence, %code, "kafka answers with an error that is not known, sending again");
                self.waiter.pause(delay)?;
                continue;
            }
            self.unknown.remove(&sequence);
            return self.condemn(journal, sequence, code);
        }
    }

    /// Dates records back, twice as far as before; false when it is not the clock.
    fn date_back(&mut self) -> bool {
        if self.back_ms >= MAX_BACK_MS {
            return false;
        }
        let back_ms = (2 * self.back_ms).max(HOUR_MS);
        self.back_ms = back_ms;
        self.metrics.dated_back.set(back_ms);
        tracing::warn!(
            back_ms,
            "kafka refuses the records' time: this clock is ahead of kafka's, or kafka's is behind; records are dated back"
        );
        true
    }

    /// Moves an entry that Kafka does not want to `failed`, and an event to the dead letters.
    fn condemn(
        &mut self,
        journal: &mut Journal,
        sequence: Sequence,
        code: RDKafkaErrorCode,
    ) -> Step {
        match journal.refuse(sequence)? {
            Refused::DeadLetter(entry) => {
                let bytes = entry.payload.len();
                tracing::warn!(%sequence, %code, bytes, "kafka refuses an event, sending it to the dead letters");
                self.send(journal, sequence, &entry)
            }
            Refused::Kept => {
                tracing::error!(%sequence, %code, "kafka refuses a dead letter; it stays in the log until the topic takes it");
                Ok(())
            }
        }
    }

    /// A new producer, and everything again that the old one did not get an answer for.
    fn rebuild(&mut self, journal: &mut Journal, why: &str) -> Step {
        let delay = self.rebuild_backoff.next_delay(&mut rand::rng());
        tracing::error!(
            why,
            pending = journal.log().pending(),
            delay_ms = delay.as_millis(),
            "the kafka producer is given up for a new one"
        );
        self.metrics.producer_rebuilds.inc();
        self.reachable.unset(format!("building a new producer: {why}"));
        self.waiter.pause(delay)?;
        (self.batch_bytes, self.fitted) = (None, false);
        self.replace_producer(journal)
    }

    /// A new producer with the changed credentials. The old one answers first for what it has, unless it is silent, because
    /// Kafka does not take the former credentials any more.
    fn renew(&mut self, journal: &mut Journal) -> Step {
        self.rotation.acknowledge();
        let publisher = match self.new_publisher(journal) {
            Ok(publisher) => publisher,
            // If the files have changed once more and do not fit together, the watch tells when they do again.
            Err(error) => {
                tracing::warn!(%error, "the former producer stays");
                return Ok(());
            }
        };
        self.await_answers(journal)?;
        self.broken = None;
        self.refused.clear();
        self.take_over(publisher, journal)
    }

    fn replace_producer(&mut self, journal: &mut Journal) -> Step {
        let publisher = self.new_publisher(journal)?;
        self.take_over(publisher, journal)
    }

    fn new_publisher(&self, journal: &Journal) -> Result<Publisher, Error> {
        Publisher::new(
            &self.kafka,
            journal.log().instance(),
            self.batch_bytes,
            self.reachable.clone(),
            self.traces.clone(),
        )
    }

    fn take_over(&mut self, publisher: Publisher, journal: &mut Journal) -> Step {
        let reports = std::mem::replace(&mut self.reports, publisher.reports());
        // Dropping the old producer makes it answer for all that it holds. Only what it delivered counts:
        // the rest is sent again in any case.
        drop(std::mem::replace(&mut self.publisher, publisher));
        for (sequence, report) in reports.take() {
            if report == Report::Delivered {
                journal.acknowledge(sequence, self.dead_letters.get(&sequence).copied())?;
            }
        }
        self.in_flight = 0;
        self.dead_letters.clear();
        self.start(journal)
    }

    /// Finds out which entries of the log reached Kafka, and sends the others.
    fn resend(&mut self, journal: &mut Journal) -> Step {
        let (pending, failed) = (journal.log().pending(), journal.log().failures());
        if pending + failed == 0 {
            return Ok(());
        }
        let arrived = self.arrived(journal)?;
        for (&sequence, &reason) in &arrived {
            journal.acknowledge(sequence, reason)?;
        }
        self.metrics.read_back.inc_by(arrived.len() as u64);
        // So that the next start, should it come soon, need not look at them again.
        journal.truncate()?;
        self.send_refused_alone(journal)?;
        let mut sent = 0;
        for family in [Family::Transient, Family::Failed] {
            let mut after = None;
            loop {
                let page = journal.page(family, after, PAGE)?;
                let Some((last, _)) = page.last() else { break };
                after = Some(*last);
                for (sequence, entry) in &page {
                    self.send(journal, *sequence, entry)?;
                    sent += 1;
                }
            }
        }
        tracing::info!(
            pending,
            failed,
            in_kafka = arrived.len(),
            sent,
            "entries of the log that were not acknowledged"
        );
        Ok(())
    }

    fn arrived(&mut self, journal: &mut Journal) -> Step<Arrived> {
        let mut oldest = i64::MAX;
        for family in [Family::Transient, Family::Failed] {
            for (_, entry) in journal.page(family, None, 1)? {
                oldest = oldest.min(entry.received_ms);
            }
        }
        let since = oldest.saturating_sub(self.back_ms);
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        loop {
            match read_back(&self.kafka, journal.log(), since, self.waiter.deadline()) {
                Err(reader::Error::Stopped(_)) => return Err(Halt::Deadline),
                Err(error) if error.retryable() => {
                    tracing::warn!(%error, "reading back again");
                    self.waiter.pause(backoff.next_delay(&mut rand::rng()))?;
                }
                outcome => return Ok(outcome?),
            }
        }
    }
}

/// Whether it was for the record's time.
fn is_time(code: &RDKafkaErrorCode) -> bool {
    *code == RDKafkaErrorCode::InvalidTimestamp
}

/// Whether the batch may have been too large, not the record.
const fn is_size(code: &RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize
    )
}
