//! The life of the producer: its start, what makes a new one necessary, its end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::backoff::Backoff;
use common::kafka::{Topic, reader};
use common::message_log::{Entry, Error as LogError, Family};
use rdkafka::error::RDKafkaErrorCode;

use super::super::backlog::Found;
use super::super::wait::{Halt, Step};
use super::{ANSWER_DEADLINE, Delivery, Sequence, TICK};
use crate::error::Error;
use crate::publisher::{Known, Publisher, Report, Reports};
use crate::read_back::{InKafka, Progress, Since, read_back};

/// What librdkafka sends together at most, unless it is told otherwise.
const BATCH_BYTES: usize = 1_000_000;
/// How far the clock may have been set back while pending entries were received, in milliseconds: while they came, and
/// between a crash and a start. If it was further there are copies.
const SLACK_MS: i64 = 5_000;
const START_SLACK_MS: i64 = 60_000;
/// How far records are dated back at first: Kafka takes what is an hour ahead of its clock.
const HOUR_MS: i64 = 3_600_000;
/// A clock further ahead than so is not what a refusal for the time is about.
const MAX_BACK_MS: i64 = 100 * 366 * 24 * HOUR_MS;

impl Delivery {
    /// Makes the topics ready, and sink out which entries of the log reached Kafka.
    pub(super) fn start(&mut self) -> Step {
        let kafka = self.kafka.clone();
        let topics = [Topic::Raw, Topic::DeadLetters];
        let reachable = self.reachable.clone();
        self.await_and_settle(
            async move { kafka.ensure_topics(&topics, Some(&reachable)).await },
        )??;
        self.settle_what_arrived(START_SLACK_MS)?;
        self.reachable.set();
        Ok(())
    }

    /// Gives the producer up and takes in what it still delivered, so that it is not sent again.
    pub(super) fn close(mut self) -> Result<(), Error> {
        self.publisher.give_up();
        self.take_deliveries(&Arc::clone(&self.reports));
        let written = self.settlements.write(&self.outbox);
        self.settlements.count(&self.outbox, &self.backlog);
        match written {
            Err(Halt::Failed(error)) => Err(error),
            Ok(_) | Err(Halt::Deadline) => Ok(()),
        }
    }

    /// Replaces the producer if it is broken, silent, or has credentials that are not valid any more.
    pub(super) fn mend_producer(&mut self) -> Step {
        if self.rotation.is_due() && self.renewal.is_none() {
            self.begin_renewal();
        }
        let is_draining = self.outbox.is_draining();
        self.draining =
            if is_draining { self.draining.or_else(|| Some(Instant::now())) } else { None };
        let is_silent = self.draining.is_some_and(|since| since.elapsed() >= ANSWER_DEADLINE);
        if let Some(publisher) = self.renewal.take_if(|_| !is_draining || is_silent) {
            self.broken = None;
            return self.take_over(publisher);
        }
        if is_silent {
            self.broken.get_or_insert_with(|| "no answer after a refusal".to_owned());
        }
        self.look_into_silence();
        if self.publisher.is_stranded() {
            self.broken.get_or_insert_with(|| "it knows no broker any more".to_owned());
        }
        let Some(why) = self.broken.take() else { return Ok(()) };
        let delay = self.rebuild_backoff.next_delay(&mut rand::rng());
        tracing::error!(
            why,
            pending = self.outbox.pending(),
            delay_ms = delay.as_millis(),
            "the kafka producer is given up for a new one"
        );
        self.metrics.producer_rebuilds.inc();
        self.reachable.unset(format!("building a new producer: {why}"));
        self.pause(delay)?;
        (self.batch_bytes, self.fitted) = (None, false);
        (self.handed, self.is_told_spent) = (self.outbox.reached(), false);
        self.replace_producer()
    }

    /// Gives up a producer that is told nothing although Kafka answers, see [`silence`](super::silence).
    fn look_into_silence(&mut self) {
        let now = Instant::now();
        if !self.outbox.awaits_answers() {
            self.silence.broken(now);
        } else if self.silence.is_due(now) && self.publisher.answers() {
            self.broken.get_or_insert_with(|| {
                "nothing is acknowledged for long, and kafka answers".to_owned()
            });
        }
    }

    /// After a refusal: takes back what the producer has not sent until it has answered for everything. Once is not enough,
    /// because a batch that was on its way behind the refused one is refused for its place, and librdkafka would send it
    /// again, before what is in front of it.
    pub(super) fn take_back(&mut self) -> Step {
        if self.taken_back.is_some() && self.outbox.is_draining() {
            self.publisher.take_back();
            return Ok(());
        }
        // What waited to be sent again, after a connection broke, may have arrived the first time.
        match self.taken_back.take() {
            None | Some(0) => Ok(()),
            Some(_) => self.settle_what_arrived(SLACK_MS),
        }
    }

    /// Makes a producer with the changed credentials. The old one answers first for what it has, unless it is silent,
    /// because Kafka does not take the former credentials any more.
    fn begin_renewal(&mut self) {
        self.rotation.acknowledge();
        match self.new_publisher() {
            Ok(publisher) => {
                self.renewal = Some(publisher);
                self.outbox.drain();
                self.draining = None;
            }
            // If the files have changed once more and do not fit together, the watch tells when they do again.
            Err(error) => tracing::warn!(%error, "the former producer stays"),
        }
    }

    pub(super) fn replace_producer(&mut self) -> Step {
        let publisher = self.new_publisher()?;
        self.take_over(publisher)
    }

    fn new_publisher(&self) -> Result<Publisher, Error> {
        Publisher::new(
            &self.kafka,
            self.log.instance(),
            self.batch_bytes,
            self.reachable.clone(),
            self.traces.clone(),
        )
    }

    fn take_over(&mut self, publisher: Publisher) -> Step {
        let reports = std::mem::replace(&mut self.reports, publisher.reports());
        // Dropping the old producer makes it answer for all that it holds. Only what it delivered counts:
        // the rest is sent again in any case.
        drop(std::mem::replace(&mut self.publisher, publisher));
        self.take_deliveries(&reports);
        self.on_the_way.clear();
        (self.draining, self.taken_back) = (None, None);
        self.is_full = false;
        self.outbox.rewind();
        self.backlog.rewind();
        self.start()
    }

    /// Takes in what a producer that is given up has delivered, and nothing else that it reports.
    fn take_deliveries(&mut self, reports: &Reports) {
        let Known { reports, positions } = reports.take();
        for (sequence, report) in reports {
            if report == Report::Delivered {
                let sent = self.on_the_way.remove(&sequence);
                self.acknowledged(sequence, sent.as_ref());
            }
        }
        self.settlements.positions.raise_all(&positions);
    }

    /// Changes how all records are sent, when that is what a refusal was about; gives the reason.
    pub(super) fn adapt(
        &mut self,
        refused: &[(Sequence, RDKafkaErrorCode)],
    ) -> Step<Option<&'static str>> {
        if refused.iter().any(|(_, code)| is_time(*code)) && self.date_back() {
            return Ok(Some("records are dated back"));
        }
        if self.fitted || !refused.iter().any(|(_, code)| is_size(*code)) {
            return Ok(None);
        }
        self.fitted = true;
        for topic in [Topic::Raw, Topic::DeadLetters] {
            let kafka = self.kafka.clone();
            let limit =
                self.await_and_settle(async move { kafka.max_message_bytes(topic).await })?;
            // A broker that does not say so for one topic does not for the other.
            let Some(limit) = limit else { break };
            if limit < self.batch_bytes.unwrap_or(BATCH_BYTES) {
                self.batch_bytes = Some(limit);
            }
        }
        Ok(self.batch_bytes.map(|_limit| "a topic takes smaller batches than usual"))
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

    /// Finds out which entries of the log reached Kafka, and settles them, unless it does not matter to any source.
    fn settle_what_arrived(&mut self, slack_ms: i64) -> Step {
        if !self.promises.looks {
            return Ok(());
        }
        let Some(unknown) = self.outbox.unknown() else { return Ok(()) };
        let (pending, failed) = (self.outbox.pending(), self.outbox.failures());
        let since = self.since(slack_ms)?;
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        let before = self.metrics.read_back.get();
        let progress = Arc::<Progress>::default();
        loop {
            let (kafka, instance) = (self.kafka.clone(), self.log.instance().to_owned());
            let (unknown, stop) = (unknown.clone(), self.waiter.deadline().clone());
            let (positions, sink) = (self.settlements.positions.clone(), Arc::clone(&progress));
            let reading = self.waiter.spawn_blocking(move || {
                let wanted = |sequence| unknown.holds(sequence);
                read_back(&kafka, &instance, (since, &positions), wanted, &sink, &stop)
            });
            let outcome = self.await_while(reading, |delivery| delivery.take_found(&progress))?;
            self.take_found(&progress);
            match outcome.map_err(|_panicked| Error::Panicked)? {
                Err(reader::Error::Stopped(_)) => return Err(Halt::Deadline),
                Err(error) if error.retryable() => {
                    tracing::warn!(%error, "reading back again");
                    self.pause(backoff.next_delay(&mut rand::rng()))?;
                }
                outcome => break outcome?,
            }
        }
        // So that the next start, should it come soon, need not look at them again.
        self.settlements.write(&self.outbox)?;
        tracing::info!(
            pending,
            failed,
            in_kafka = self.metrics.read_back.get() - before,
            "entries of the log that were not acknowledged"
        );
        Ok(())
    }

    /// Settles what was read back.
    fn take_found(&mut self, progress: &Progress) {
        let InKafka { entries, positions } = progress.take();
        self.metrics.read_back.inc_by(entries.len() as u64);
        for (sequence, source, reason) in entries {
            let account = self.settlements.postings.account(sequence, &source);
            let dead_letter = reason.map(|reason| (reason, source));
            self.delivered(sequence, account, dead_letter.as_ref());
        }
        self.settlements.positions.raise_all(&positions);
    }

    /// When the oldest entries were received that may be in Kafka.
    fn since(&mut self, slack_ms: i64) -> Step<Since> {
        loop {
            match self.oldest_received_ms(slack_ms) {
                Ok(since) => return Ok(since),
                Err(error) if error.retryable() => self.pause(TICK)?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The oldest entry of a group that is not settled.
    fn oldest_in_group(&mut self) -> Result<Option<Entry>, LogError> {
        while let Some(sequence) = self.outbox.oldest_in_group() {
            match self.backlog.take(sequence, self.outbox.end())? {
                Found::Entry(entry) => {
                    self.backlog.put_back(sequence, entry.clone());
                    return Ok(Some(entry));
                }
                Found::Damaged(ranges) => self.lose(&ranges),
            }
        }
        Ok(None)
    }

    fn oldest_received_ms(&mut self, slack_ms: i64) -> Result<Since, LogError> {
        let group = self.oldest_in_group()?;
        let aside = |family: Family| match self.outbox.oldest(family) {
            Some(sequence) => match self.log.get(family, sequence) {
                // It is met again when it is to be sent.
                Err(LogError::Damaged { .. }) => Ok(None),
                entry => entry,
            },
            None => Ok(None),
        };
        let oldest = |entries: [Option<Entry>; 2]| {
            let times = entries.into_iter().flatten().map(|entry| entry.received_ms);
            times.min().map(|time_ms| time_ms.saturating_sub(self.back_ms).saturating_sub(slack_ms))
        };
        let raw = oldest([group, aside(Family::Deferred)?]);
        let failed = oldest([aside(Family::Failed)?, None]);
        Ok(Since { raw, dead_letters: raw.into_iter().chain(failed).min() })
    }
}

/// Whether it was for the record's time.
fn is_time(code: RDKafkaErrorCode) -> bool {
    code == RDKafkaErrorCode::InvalidTimestamp
}

/// Whether the batch may have been too large, not the record.
const fn is_size(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize
    )
}
