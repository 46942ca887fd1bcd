//! Reads the topic of results, once for all clients, into the hub.
//!
//! One thread polls one consumer that joins no group, commits nothing and begins at the oldest record:
//! compaction keeps at least the newest result of each query. Publishing to the hub never waits for a client,
//! so no client can delay the thread.
//!
//! The topic carries its own identity: the analyzer writes a record with the key `stream/<random>` before its
//! first result, and of several such records the one with the lowest offset counts. A topic that was deleted
//! and created again has a different identity, so that a cursor of the old topic is never accepted in the new
//! one, even after restarts. When the identity turns out to differ from the one assumed so far, the topic is
//! read again from its beginning, and nothing is served until that is done. Until an analyzer has named the
//! topic, a hash of the cluster's id and the topic's name is used as its identity.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::admin::Condition;
use common::backoff::Backoff;
use common::clock::Clock;
use common::kafka::reader::{self, Polled};
use common::kafka::{Kafka, Rotation, Stranded};
use common::protocol::StreamId;
use common::trace::Tracer;
use rdkafka::Message;
use rdkafka::message::BorrowedMessage;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::envelope::Envelope;
use crate::hub::{Arrival, Dropped, Hub, Published};
use crate::metrics::Metrics;
pub use error::Error;
use identity::Identity;
use position::{Remedy, Silence};
use record::Record;
use topic::{Context, Topic, is_topic_gone, sequence};
use traces::Showing;

mod error;
mod identity;
mod position;
mod record;
mod topic;
mod traces;

/// How long one poll waits, and so how late the thread may notice that it is to stop.
const POLL: Duration = Duration::from_millis(100);

/// The readiness conditions that the consumer sets.
#[derive(Debug, Clone)]
pub struct Conditions {
    /// Kafka answers.
    pub kafka: Condition,
    /// The results were read up to their end.
    pub results: Condition,
}

/// Reads results into a hub.
pub struct Consumer {
    kafka: Kafka,
    rotation: Rotation,
    hub: Arc<Hub>,
    metrics: Metrics,
    conditions: Conditions,
    clock: Clock,
    shutdown: CancellationToken,
    backoff: Backoff,
    tracer: Tracer,
}

/// How far reading has come.
struct Progress {
    /// The next sequence to read.
    next: u64,
    /// The end of the topic when reading began; nothing is served until it is reached.
    end: u64,
    identity: Identity,
    /// A stream that results claimed to belong to although the topic was named differently; the topic was read
    /// again for it once.
    refuted: Option<StreamId>,
}

impl Consumer {
    /// A consumer that has not begun; made inside a runtime.
    pub fn new(
        kafka: Kafka,
        hub: Arc<Hub>,
        metrics: Metrics,
        conditions: Conditions,
        clock: Clock,
        shutdown: CancellationToken,
        tracer: Tracer,
    ) -> Self {
        let rotation = kafka.watch_credentials(shutdown.clone());
        let backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        Self { kafka, rotation, hub, metrics, conditions, clock, shutdown, backoff, tracer }
    }

    /// Reads in a thread of its own until `shutdown`, or until it cannot go on.
    ///
    /// # Errors
    /// See [`Error`]. While connecting and asking for offsets, retryable errors are retried instead.
    pub async fn run(mut self) -> Result<(), Error> {
        let (ended, outcome) = oneshot::channel();
        std::thread::Builder::new()
            .name("consumer".to_owned())
            .spawn(move || {
                let outcome = self.consume();
                // Sending fails only when the receiver is gone because the process is ending.
                let _unheard = ended.send(outcome);
            })
            .map_err(Error::Thread)?;
        outcome.await.unwrap_or(Err(Error::Died))
    }

    fn consume(&mut self) -> Result<(), Error> {
        let mut topic = Topic::open(&self.kafka, self.context())?;
        let Some(mut progress) = self.begin(&mut topic, Identity::Unnamed(0), None)? else {
            return Ok(());
        };
        let mut invalid: u64 = 0;
        let mut silence = Silence::begin(Instant::now());
        while !self.shutdown.is_cancelled() {
            if self.rotation.is_due() && self.renew(&mut topic) {
                topic.assign(progress.next)?;
            }
            if progress.next >= progress.end && !self.hub.is_complete() {
                self.hub.complete();
                self.conditions.results.set();
            }
            let (mut is_lost, mut is_stranded) = (false, false);
            let mut again = None;
            match topic.reader.poll(POLL)? {
                Polled::Nothing => {
                    is_stranded = topic.is_stranded();
                    is_lost = !is_stranded
                        && silence.is_due(Instant::now())
                        && match topic.watermarks() {
                            Ok((_, end)) => silence.is_suspicious(progress.next, end),
                            // The client that reads may not notice for minutes.
                            Err(Error::Read(reader::Error::Unanswered { source, .. })) => {
                                is_topic_gone(&source)
                            }
                            // While Kafka does not answer, statistics and errors of the client say so.
                            Err(_) => false,
                        };
                }
                Polled::Record(record) => {
                    silence = Silence::begin(Instant::now());
                    progress.next = sequence(record.offset()) + 1;
                    again = self.take(&record, &mut progress, &mut invalid);
                }
                // Compaction may have removed the record that was last when reading began.
                Polled::End(_) => progress.end = progress.next,
                Polled::PositionLost => is_lost = true,
                Polled::Trouble(error) if is_topic_gone(&error) => is_lost = true,
                // librdkafka connects again by itself.
                Polled::Trouble(error) => {
                    self.metrics.consumer_errors.inc();
                    tracing::debug!(%error, "kafka consumer");
                }
            }
            if is_stranded && self.renew(&mut topic) {
                topic.assign(progress.next)?;
            }
            if is_lost {
                self.metrics.consumer_errors.inc();
                self.conditions.results.unset(
                    "the position in the results is lost; asking Kafka which results there are",
                );
                // What a client knows of a topic that is gone may keep it from reading the new one.
                self.renew(&mut topic);
                let Some((low, high)) = self.watermarks(&mut topic)? else { return Ok(()) };
                again = self.find_position(&topic, &progress, low, high)?;
            }
            if let Some(identity) = again {
                self.conditions.results.unset("reading the results again");
                match self.begin(&mut topic, identity, progress.refuted)? {
                    Some(begun) => (progress, silence) = (begun, Silence::begin(Instant::now())),
                    None => return Ok(()),
                }
            }
        }
        Ok(())
    }

    /// Goes on after the position was lost. Returns an identity when the topic has to be read again under it.
    fn find_position(
        &self,
        topic: &Topic,
        progress: &Progress,
        low: u64,
        high: u64,
    ) -> Result<Option<Identity>, Error> {
        let next = progress.next;
        let remedy = Remedy::of(next, low, high);
        match remedy {
            Remedy::Retry => topic.assign(next)?,
            Remedy::Skip => {
                tracing::warn!(from = next, to = low, "results were deleted before they were read");
                topic.assign(low)?;
            }
            Remedy::Begin => {
                tracing::warn!(read = next, end = high, "the topic of results was created anew");
            }
        }
        if self.hub.is_complete() {
            self.conditions.results.set();
        }
        Ok((remedy == Remedy::Begin).then(|| progress.identity.of_a_new_topic()))
    }

    /// Begins to read at the oldest record. `None` when the process is to stop.
    fn begin(
        &mut self,
        topic: &mut Topic,
        identity: Identity,
        refuted: Option<StreamId>,
    ) -> Result<Option<Progress>, Error> {
        let Some((next, end)) = self.watermarks(topic)? else { return Ok(None) };
        let stream = identity.stream(&topic.cluster, &topic.name);
        tracing::info!(topic = topic.name, %stream, from = next, to = end, "reading results");
        self.hub.begin(stream, next);
        topic.assign(next)?;
        Ok(Some(Progress { next, end, identity, refuted }))
    }

    /// The oldest sequence, and the one that the next record will get; asks until Kafka answers. The caller assigns a
    /// position then, because the client may be a new one. `None` when the process is to stop.
    fn watermarks(&mut self, topic: &mut Topic) -> Result<Option<(u64, u64)>, Error> {
        loop {
            match topic.watermarks() {
                Err(error) if error.retryable() => {
                    if self.is_stopped_while_waiting(&error) {
                        return Ok(None);
                    }
                    // The credentials may have changed, or the client may be stranded, which it cannot tell while it is
                    // not polled.
                    self.renew(topic);
                }
                outcome => {
                    self.conditions.kafka.set();
                    self.hub.set_kafka(None);
                    self.backoff.reset();
                    return outcome.map(Some);
                }
            }
        }
    }

    /// Gives the topic a new client, which has the present credentials and no position. Returns whether it did.
    fn renew(&mut self, topic: &mut Topic) -> bool {
        self.rotation.acknowledge();
        // If the files have changed once more and do not fit together, the watch tells when they do again.
        let renewed = topic.renew(&self.kafka, self.context());
        renewed.inspect_err(|error| tracing::warn!(%error, "the former client stays")).is_ok()
    }

    /// Says that Kafka does not answer, and waits before it is asked again. Returns whether the process is to stop.
    fn is_stopped_while_waiting(&mut self, error: &Error) -> bool {
        tracing::warn!(%error, "waiting for kafka");
        self.conditions.kafka.unset(error.to_string());
        self.hub.set_kafka(Some(self.clock.now_ms()));
        std::thread::sleep(self.backoff.next_delay(&mut rand::rng()));
        self.shutdown.is_cancelled()
    }

    fn context(&self) -> Context {
        Context {
            hub: Arc::clone(&self.hub),
            kafka: self.conditions.kafka.clone(),
            clock: self.clock,
            metrics: self.metrics.clone(),
            stranded: Stranded::default(),
        }
    }

    /// A record that hub and clients are given.
    fn arrival(&self, record: &BorrowedMessage<'_>) -> Arrival {
        let now_ms = self.clock.now_ms();
        Arrival {
            seq: sequence(record.offset()),
            payload: Bytes::copy_from_slice(record.payload().unwrap_or_default()),
            published_ms: record.timestamp().to_millis().unwrap_or(now_ms),
            now_ms,
        }
    }

    /// Drops the record at `seq` if it claims to belong to another stream than the one by which the topic is named.
    /// Says then under which identity the topic has to be read again, if it has to.
    fn refute(
        &self,
        claimed: Option<StreamId>,
        seq: u64,
        progress: &mut Progress,
    ) -> Option<Option<Identity>> {
        let (Some(claimed), Identity::Named(stream)) = (claimed, progress.identity) else {
            return None;
        };
        if claimed == stream {
            return None;
        }
        self.hub.pass(seq);
        self.drop_as(Dropped::OtherStream);
        let is_news = progress.refuted.replace(claimed) != Some(claimed);
        Some(is_news.then_some(Identity::Expected(stream)))
    }

    /// Processes a record. Returns an identity when the topic has to be read again under it.
    fn take(
        &self,
        record: &BorrowedMessage<'_>,
        progress: &mut Progress,
        invalid: &mut u64,
    ) -> Option<Identity> {
        let seq = sequence(record.offset());
        match Record::read(record.key(), record.payload()) {
            Ok(Record::Stream(stream)) => {
                self.hub.pass(seq);
                return progress.identity.name(stream);
            }
            Ok(Record::Newest(result)) => {
                if let Some(again) = self.refute(result.stream(), seq, progress) {
                    return again;
                }
                // What is read before that was shown when it was new.
                let is_news = self.hub.is_complete();
                let showing = is_news.then(|| Showing::begin(&self.tracer, record)).flatten();
                let published = self.hub.publish(&result, self.arrival(record));
                if let (Published::Shown, Some(showing)) = (published, showing) {
                    showing.shown(&result, seq);
                }
                if let Some(dropped) = published.dropped() {
                    let (Envelope { query, version, .. }, reason) = (&result, dropped.as_str());
                    self.drop_as(dropped);
                    tracing::debug!(query, version, reason, "did not show a result");
                }
            }
            Ok(Record::Audit(audit)) => {
                if let Some(again) = self.refute(audit.stream(), seq, progress) {
                    return again;
                }
                self.hub.publish_audit(audit.version, self.arrival(record));
            }
            Ok(Record::Retired(query)) => self.hub.retire(seq, query),
            Ok(Record::Other) => self.hub.pass(seq),
            Err(error) => {
                self.hub.pass(seq);
                *invalid += 1;
                self.drop_as(error.dropped());
                // Only the first, second, fourth and so on are logged, so that many do not flood the log.
                if invalid.is_power_of_two() {
                    tracing::warn!(offset = seq, %error, invalid, "dropped a record that is not a result");
                }
            }
        }
        None
    }

    fn drop_as(&self, dropped: Dropped) {
        self.metrics.results_dropped.with_label_values(&[dropped.as_str()]).inc();
    }
}

#[cfg(test)]
mod tests;
