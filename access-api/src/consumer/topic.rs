//! The topic of results: connected, asked for its bounds, assigned by hand; and what librdkafka says of
//! its connections meanwhile.

use std::sync::Arc;

use common::admin::Condition;
use common::clock::Clock;
use common::kafka::reader::ANSWER_DEADLINE;
use common::kafka::{Kafka, Reader};
use rdkafka::consumer::{Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientContext, Statistics};

use super::error::Error;
use crate::hub::Hub;
use crate::metrics::Metrics;

/// The only partition; a topic that has more is refused.
const PARTITION: i32 = 0;
/// How often librdkafka says how its connections are.
const STATISTICS_MS: &str = "1000";
/// A broker that answers nothing for so long is away, whatever its connection looks like: a fetch is
/// answered every 100 ms, also when there is nothing new.
const SILENT_US: i64 = 3_000_000;

/// The topic, connected.
pub struct Topic {
    /// Reads it.
    pub reader: Reader<Context>,
    /// Its name.
    pub name: String,
    /// The id of its cluster.
    pub cluster: String,
}

impl Topic {
    /// Connects, and looks whether the topic is as it must be.
    ///
    /// # Errors
    /// When there is no answer, or the topic has not one partition.
    pub fn open(kafka: &Kafka, context: Context) -> Result<Self, Error> {
        let topic = kafka.topics.results.clone();
        let statistics = [("statistics.interval.ms", STATISTICS_MS)];
        let reader = Reader::with_context(kafka, context, &statistics)?;
        let partitions = reader.partitions(&topic)?.len();
        if partitions != 1 {
            return Err(Error::Partitions { topic, partitions });
        }
        let client = reader.consumer().client();
        let cluster = client.fetch_cluster_id(ANSWER_DEADLINE).unwrap_or_else(|| {
            tracing::warn!(
                brokers = kafka.brokers,
                "the broker names no cluster id; cursors hold while kafka.brokers stays as it is"
            );
            kafka.brokers.clone()
        });
        Ok(Self { reader, name: topic, cluster })
    }

    /// The oldest sequence there is, and the one that comes next.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn watermarks(&self) -> Result<(u64, u64), Error> {
        let span = self.reader.span(&self.name, PARTITION)?;
        Ok((sequence(span.start), sequence(span.end)))
    }

    /// Reads on from sequence `next`.
    ///
    /// # Errors
    /// When the consumer is broken.
    pub fn assign(&self, next: u64) -> Result<(), Error> {
        let offset = i64::try_from(next).unwrap_or(i64::MAX);
        Ok(self.reader.assign([(self.name.as_str(), PARTITION, offset)])?)
    }
}

/// Hears what librdkafka says of its connections.
pub struct Context {
    /// Is told whether Kafka answers.
    pub hub: Arc<Hub>,
    /// Likewise.
    pub kafka: Condition,
    /// Says since when it does not.
    pub clock: Clock,
    /// What is counted.
    pub metrics: Metrics,
}

impl ClientContext for Context {
    fn stats(&self, statistics: Statistics) {
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
        // What a poll returns is told here as well, the end of the partition among it.
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
            return;
        }
        self.metrics.consumer_errors.inc();
        tracing::warn!(%error, reason, "kafka");
    }
}

/// Whether the broker that leads the partition answers; where none is known, whether any does.
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

/// Kafka's offsets of records and watermarks are never negative.
pub fn sequence(offset: i64) -> u64 {
    u64::try_from(offset).unwrap_or(0)
}

/// Whether the topic that is read is not there any more.
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
