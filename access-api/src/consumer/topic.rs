//! The topic of results: connecting, asking for its first and last offset, assigning a position by hand; and
//! what librdkafka's statistics say about its connections meanwhile.

use std::sync::Arc;
use std::time::Instant;

use common::admin::Condition;
use common::clock::Clock;
use common::kafka::reader::ANSWER_DEADLINE;
use common::kafka::{Kafka, Reader, Stranded, log_report};
use rdkafka::consumer::{Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientContext, Statistics};

use super::error::Error;
use crate::hub::Hub;
use crate::metrics::Metrics;

/// The only partition; `Kafka::ensure_topics` refuses a topic of results that has more.
const PARTITION: i32 = 0;
/// How often librdkafka reports the state of its connections.
const STATISTICS_MS: &str = "1000";
/// A broker that has answered nothing for this long, in microseconds, counts as away even if its connection looks
/// open: Kafka answers a fetch every 100 ms (`fetch.wait.max.ms`), also when there is nothing new.
const SILENT_US: i64 = 3_000_000;

/// The topic, with a connected client.
pub struct Topic {
    /// The client that reads it.
    pub reader: Reader<Context>,
    /// Its name.
    pub name: String,
    /// The id of its cluster.
    pub cluster: String,
}

impl Topic {
    /// Connects.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn open(kafka: &Kafka, context: Context) -> Result<Self, Error> {
        let topic = kafka.topics.results.clone();
        let reader = reader(kafka, context)?;
        let client = reader.consumer().client();
        let cluster = client.fetch_cluster_id(ANSWER_DEADLINE).unwrap_or_else(|| {
            tracing::warn!(
                brokers = kafka.brokers,
                "the broker has no cluster id; cursors stay valid only while kafka.brokers is not changed"
            );
            kafka.brokers.clone()
        });
        Ok(Self { reader, name: topic, cluster })
    }

    /// Replaces the client by a new one, which is at no position.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn renew(&mut self, kafka: &Kafka, context: Context) -> Result<(), Error> {
        self.reader = reader(kafka, context)?;
        Ok(())
    }

    /// Whether the client knows no broker any more, so that only a new one helps.
    pub fn is_stranded(&self) -> bool {
        self.reader.consumer().context().stranded.is_certain(Instant::now())
    }

    /// The oldest sequence in the topic, and the one that the next record will get.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn watermarks(&self) -> Result<(u64, u64), Error> {
        let span = self.reader.span(&self.name, PARTITION)?;
        Ok((sequence(span.start), sequence(span.end)))
    }

    /// Makes sequence `next` the one to read next.
    ///
    /// # Errors
    /// When librdkafka refuses the assignment.
    pub fn assign(&self, next: u64) -> Result<(), Error> {
        let offset = i64::try_from(next).unwrap_or(i64::MAX);
        Ok(self.reader.assign([(self.name.as_str(), PARTITION, offset)])?)
    }
}

fn reader(kafka: &Kafka, context: Context) -> Result<Reader<Context>, Error> {
    Ok(Reader::with_context(kafka, context, &[("statistics.interval.ms", STATISTICS_MS)])?)
}

/// Receives librdkafka's statistics and errors.
pub struct Context {
    /// Is told whether Kafka answers.
    pub hub: Arc<Hub>,
    /// The readiness condition that is set while Kafka answers.
    pub kafka: Condition,
    /// Gives the time since when Kafka does not answer.
    pub clock: Clock,
    /// Where lag and errors are counted.
    pub metrics: Metrics,
    /// Whether the client knows a broker.
    pub stranded: Stranded,
}

impl ClientContext for Context {
    fn stats(&self, statistics: Statistics) {
        self.stranded.look(&statistics, Instant::now());
        let partitions = statistics.topics.values().flat_map(|topic| topic.partitions.values());
        let lag = |end: i64, next: i64| if end >= 0 && next >= 0 { (end - next).max(0) } else { 0 };
        self.metrics.consumer_lag.set(partitions.map(|p| lag(p.hi_offset, p.app_offset)).sum());
        if is_answered(&statistics) {
            self.kafka.set();
            self.hub.set_kafka(None);
        } else {
            self.kafka.unset("the broker does not answer");
            self.hub.set_kafka(Some(self.clock.now_ms()));
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // librdkafka reports here also what a poll returns, such as the end of the partition.
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
            return;
        }
        self.metrics.consumer_errors.inc();
        log_report(&error, reason);
    }
}

/// Whether the broker that leads the partition answers; while no leader is known, whether any broker does.
fn is_answered(statistics: &Statistics) -> bool {
    let partitions = statistics.topics.values().flat_map(|topic| topic.partitions.values());
    let leader = partitions.filter(|p| p.partition == PARTITION).map(|p| p.leader).max();
    let is_asked = |nodeid: i32| match leader {
        Some(leader @ 0..) => nodeid == leader,
        _ => true,
    };
    statistics
        .brokers
        .values()
        .filter(|broker| is_asked(broker.nodeid))
        .any(|broker| broker.state == "UP" && broker.rxidle < SILENT_US)
}

impl ConsumerContext for Context {}

/// An offset of Kafka as a sequence. Offsets of records and of a partition's ends are never negative.
pub fn sequence(offset: i64) -> u64 {
    u64::try_from(offset).unwrap_or(0)
}

/// Whether the error says that the topic does not exist any more.
pub fn is_topic_gone(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownPartition
                | RDKafkaErrorCode::UnknownTopic
        )
    )
}
