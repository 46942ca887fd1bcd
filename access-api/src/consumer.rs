//! Reads the topic of results, once for all clients, into the hub.
//!
//! One thread polls one consumer that joins no group, commits nothing and begins at the oldest record:
//! compaction keeps at least the newest result of each query. Publishing to the hub waits for nobody,
//! so no client can hold the thread up.
//!
//! The stream's [`StreamId`] is a hash of the cluster's id and the topic's name, the same in every
//! process. A topic that was created anew under our feet (its end is before what was read) begins
//! another epoch; a process that starts after that has the first one, and what its clients bring along
//! is answered with a gap, not with silence.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::admin::Condition;
use common::backoff::Backoff;
use common::clock::Clock;
use common::kafka::reader::{self, ANSWER_DEADLINE, Polled};
use common::kafka::{Kafka, Reader};
use common::protocol::StreamId;
use common::result::{SCHEMA_VERSION, TopN};
use rdkafka::consumer::{Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{ClientContext, Message, Statistics};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::hub::{Hub, Published};
use crate::metrics::Metrics;

/// The only partition; a topic that has more is refused.
const PARTITION: i32 = 0;
/// How long the thread may not notice that it is to stop.
const POLL: Duration = Duration::from_millis(100);

/// Why the results cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Kafka cannot be read.
    #[error(transparent)]
    Read(#[from] reader::Error),
    /// A position is one offset, so there can be one partition only.
    #[error(
        "the topic {topic} has {partitions} partitions, and must have 1; delete it, or name another in kafka.topics.results"
    )]
    Partitions {
        /// The topic.
        topic: String,
        /// How many it has.
        partitions: usize,
    },
    /// The system gives no thread.
    #[error("cannot start the consumer's thread: {0}")]
    Thread(#[source] std::io::Error),
    /// A defect.
    #[error("the consumer's thread died")]
    Died,
}

impl Error {
    /// Whether trying again can help without anybody changing anything.
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Read(error) => error.retryable(),
            Self::Partitions { .. } | Self::Thread(_) | Self::Died => false,
        }
    }
}

/// Reads results into a hub.
pub struct Consumer {
    kafka: Kafka,
    hub: Arc<Hub>,
    metrics: Metrics,
    caught_up: Condition,
    clock: Clock,
    shutdown: CancellationToken,
}

impl Consumer {
    /// A consumer that has not begun; `caught_up` is set once it has read up to the end that it found
    /// at its start.
    pub fn new(
        kafka: Kafka,
        hub: Arc<Hub>,
        metrics: Metrics,
        caught_up: Condition,
        clock: Clock,
        shutdown: CancellationToken,
    ) -> Self {
        Self { kafka, hub, metrics, caught_up, clock, shutdown }
    }

    /// Reads in a thread of its own until `shutdown`, or until it cannot go on.
    ///
    /// # Errors
    /// See [`Error`]; those that trying again may mend are tried again.
    pub async fn run(self) -> Result<(), Error> {
        let (ended, outcome) = oneshot::channel();
        std::thread::Builder::new()
            .name("consumer".to_owned())
            .spawn(move || {
                let outcome = self.consume();
                // Nobody waits for it any more when the process is going down.
                let _unheard = ended.send(outcome);
            })
            .map_err(Error::Thread)?;
        outcome.await.unwrap_or(Err(Error::Died))
    }

    fn consume(&self) -> Result<(), Error> {
        let Some(stream) = self.persist(|| Stream::open(&self.kafka, &self.metrics))? else {
            return Ok(());
        };
        let Some((mut next, mut end)) = self.persist(|| stream.watermarks())? else {
            return Ok(());
        };
        let mut generation = 0;
        self.begin(&stream, generation, next)?;
        let mut malformed: u64 = 0;
        // Compaction never takes the last record, so that `end` is always reached.
        while !self.shutdown.is_cancelled() {
            if next >= end {
                self.caught_up.set();
            }
            match stream.reader.poll(POLL)? {
                Polled::Nothing | Polled::End(_) => {}
                Polled::Record(record) => {
                    let seq = sequence(record.offset());
                    next = seq + 1;
                    if let Err(error) = self.show(seq, &record) {
                        malformed += 1;
                        self.metrics.results_dropped.with_label_values(&["malformed"]).inc();
                        // The first, the second, the fourth: enough to know, never a flood.
                        if malformed.is_power_of_two() {
                            tracing::warn!(
                                offset = seq,
                                error,
                                malformed,
                                "dropped a record that is no result"
                            );
                        }
                    }
                }
                // librdkafka reconnects by itself.
                Polled::Trouble(error) if !is_topic_gone(&error) => {
                    self.metrics.consumer_errors.inc();
                    tracing::debug!(%error, "kafka consumer");
                }
                Polled::PositionLost | Polled::Trouble(_) => {
                    self.metrics.consumer_errors.inc();
                    self.caught_up
                        .unset("the position in the results is lost; looking where they stand");
                    let Some((low, high)) = self.persist(|| stream.watermarks())? else {
                        return Ok(());
                    };
                    end = high;
                    match Remedy::of(next, low, high) {
                        Remedy::Retry => stream.assign(next)?,
                        Remedy::Skip => {
                            tracing::warn!(
                                from = next,
                                to = low,
                                "results were gone before they were read"
                            );
                            stream.assign(low)?;
                        }
                        Remedy::Begin => {
                            generation += 1;
                            tracing::warn!(
                                read = next,
                                end = high,
                                "the topic of results was created anew"
                            );
                            next = low;
                            self.begin(&stream, generation, low)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn begin(&self, stream: &Stream, generation: u32, low: u64) -> Result<(), Error> {
        let epoch = epoch(&stream.cluster, &stream.topic, generation);
        tracing::info!(topic = stream.topic, %epoch, from = low, "reading results");
        self.hub.begin(epoch, low);
        stream.assign(low)
    }

    /// Tries until it works, cannot work, or `shutdown`: then none.
    fn persist<T>(&self, attempt: impl Fn() -> Result<T, Error>) -> Result<Option<T>, Error> {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        while !self.shutdown.is_cancelled() {
            match attempt() {
                Err(error) if error.retryable() => {
                    tracing::warn!(%error, "waiting for kafka");
                    self.caught_up.unset(error.to_string());
                    std::thread::sleep(backoff.next_delay(&mut rand::rng()));
                }
                outcome => return outcome.map(Some),
            }
        }
        Ok(None)
    }

    fn show(&self, seq: u64, record: &BorrowedMessage<'_>) -> Result<(), String> {
        let Some(payload) = record.payload() else {
            let query = record.key().and_then(|key| std::str::from_utf8(key).ok());
            self.hub.retire(seq, query.unwrap_or_default());
            return Ok(());
        };
        let result = match decode(payload) {
            Ok(result) => result,
            Err(error) => {
                self.hub.pass(seq);
                return Err(error);
            }
        };
        let published =
            self.hub.publish(seq, &result, Bytes::copy_from_slice(payload), self.clock.now_ms());
        if let Some(reason) = published.dropped_as() {
            self.metrics.results_dropped.with_label_values(&[reason]).inc();
            tracing::debug!(
                query = result.query,
                version = result.version,
                reason,
                "did not show a result"
            );
        }
        debug_assert!(published != Published::Shown || self.hub.newest(&result.query).is_some());
        Ok(())
    }
}

/// The topic, connected.
struct Stream {
    reader: Reader<Context>,
    topic: String,
    cluster: String,
}

impl Stream {
    fn open(kafka: &Kafka, metrics: &Metrics) -> Result<Self, Error> {
        let topic = kafka.topics.results.clone();
        let context = Context { metrics: metrics.clone() };
        let reader = Reader::with_context(kafka, context, &[("statistics.interval.ms", "1000")])?;
        let partitions = reader.partitions(&topic)?.len();
        if partitions != 1 {
            return Err(Error::Partitions { topic, partitions });
        }
        let cluster =
            reader.consumer().client().fetch_cluster_id(ANSWER_DEADLINE).unwrap_or_else(|| {
                tracing::warn!(
                    brokers = kafka.brokers,
                    "the broker names no cluster id; cursors hold while kafka.brokers stays as it is"
                );
                kafka.brokers.clone()
            });
        Ok(Self { reader, topic, cluster })
    }

    /// The oldest sequence there is, and the one that comes next.
    fn watermarks(&self) -> Result<(u64, u64), Error> {
        let span = self.reader.span(&self.topic, PARTITION)?;
        Ok((sequence(span.start), sequence(span.end)))
    }

    fn assign(&self, next: u64) -> Result<(), Error> {
        let offset = i64::try_from(next).unwrap_or(i64::MAX);
        Ok(self.reader.assign([(self.topic.as_str(), PARTITION, offset)])?)
    }
}

/// What to do when the position is not there any more.
#[derive(Debug, PartialEq, Eq)]
enum Remedy {
    /// It is there; ask again.
    Retry,
    /// Records went before they were read; go on with the oldest.
    Skip,
    /// It is another topic of the same name.
    Begin,
}

impl Remedy {
    const fn of(next: u64, low: u64, high: u64) -> Self {
        if high < next {
            Self::Begin
        } else if low > next {
            Self::Skip
        } else {
            Self::Retry
        }
    }
}

fn is_topic_gone(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownPartition
                | RDKafkaErrorCode::UnknownTopic
        )
    )
}

fn decode(payload: &[u8]) -> Result<TopN, String> {
    let result: TopN = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
    let readable = SCHEMA_VERSION.saturating_sub(1).max(1)..=SCHEMA_VERSION;
    if !readable.contains(&result.v) {
        return Err(format!(
            "schema version {} is not one of {readable:?}; bring the tiers to versions that differ by one at most",
            result.v
        ));
    }
    Ok(result)
}

fn epoch(cluster: &str, topic: &str, generation: u32) -> StreamId {
    let identity = format!("{cluster}\0{topic}\0{generation}");
    StreamId(xxhash_rust::xxh3::xxh3_64(identity.as_bytes()))
}

/// Kafka's offsets of records and watermarks are never negative.
fn sequence(offset: i64) -> u64 {
    u64::try_from(offset).unwrap_or(0)
}

struct Context {
    metrics: Metrics,
}

impl ClientContext for Context {
    fn stats(&self, statistics: Statistics) {
        let partitions = statistics.topics.values().flat_map(|topic| topic.partitions.values());
        let lag = |end: i64, next: i64| if end >= 0 && next >= 0 { (end - next).max(0) } else { 0 };
        self.metrics.consumer_lag.set(partitions.map(|p| lag(p.hi_offset, p.app_offset)).sum());
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // What a poll returns is told here as well, the end of the partition among it.
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
            return;
        }
        self.metrics.consumer_errors.inc();
        tracing::warn!(%error, reason, "kafka");
    }
}

impl ConsumerContext for Context {}

#[cfg(test)]
mod tests;
