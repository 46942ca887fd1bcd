//! Reading partitions of the state topic from start to end.

use std::collections::BTreeMap;
use std::time::Duration;

use common::kafka::Kafka;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use tokio_util::sync::CancellationToken;

use super::Log;
use crate::group::{self, Alone, watermarks};

/// How long one wait for a record lasts before the stop signal is looked at again.
const POLL: Duration = Duration::from_millis(100);

/// Why the state could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A consumer's trouble.
    #[error(transparent)]
    Consumer(#[from] group::Error),
    /// Reading failed.
    #[error("cannot read {topic}: {source}")]
    Read {
        /// The state topic.
        topic: String,
        /// What librdkafka said.
        source: KafkaError,
    },
    /// The stage was told to stop.
    #[error("stopped while reading stored snapshots")]
    Stopped,
}

impl Error {
    /// Whether the same call may succeed later without anybody's help.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Consumer(error) => error.retryable(),
            Self::Read { .. } => true,
            Self::Stopped => false,
        }
    }
}

/// Reads `partitions` of the state topic, each from its first to its last record, all at once. Takes
/// as long as the broker needs to be there.
///
/// # Errors
/// When the client cannot be made, or the stage is told to stop.
pub fn read(
    kafka: &Kafka,
    partitions: &[i32],
    stop: &CancellationToken,
) -> Result<BTreeMap<i32, Log>, Error> {
    let mut config = kafka.consumer(None, None);
    config.set("enable.partition.eof", "true");
    let consumer: BaseConsumer<Alone> = config
        .create_with_context(Alone)
        .map_err(|source| group::Error::Create { group: "state reader".to_owned(), source })?;
    loop {
        match attempt(&consumer, &kafka.topics.state, partitions, stop) {
            Err(error) if error.retryable() && !stop.is_cancelled() => {
                tracing::warn!(%error, "reading stored snapshots starts again");
                std::thread::sleep(POLL);
            }
            outcome => return outcome,
        }
    }
}

fn attempt(
    consumer: &BaseConsumer<Alone>,
    topic: &str,
    partitions: &[i32],
    stop: &CancellationToken,
) -> Result<BTreeMap<i32, Log>, Error> {
    let failed = |source| Error::Read { topic: topic.to_owned(), source };
    let mut logs: BTreeMap<i32, Log> =
        partitions.iter().map(|&partition| (partition, Log::new(partition))).collect();
    // The end of each partition that is not read through yet.
    let mut ends = BTreeMap::new();
    let mut assignment = TopicPartitionList::new();
    for &partition in partitions {
        let marks = watermarks(consumer, topic, partition)?;
        if marks.low < marks.high {
            ends.insert(partition, marks.high);
            assignment
                .add_partition_offset(topic, partition, Offset::Offset(marks.low))
                .map_err(failed)?;
        }
    }
    consumer.assign(&assignment).map_err(failed)?;
    while !ends.is_empty() {
        if stop.is_cancelled() {
            return Err(Error::Stopped);
        }
        match consumer.poll(POLL) {
            None => {}
            Some(Ok(message)) => {
                let partition = message.partition();
                if let (Some(log), Some(key)) = (logs.get_mut(&partition), message.key()) {
                    log.replay(key, message.payload());
                }
                if ends.get(&partition).is_some_and(|&end| message.offset() + 1 >= end) {
                    ends.remove(&partition);
                }
            }
            // Compaction may have removed the last records before the end.
            Some(Err(KafkaError::PartitionEOF(partition))) => drop(ends.remove(&partition)),
            Some(Err(
                source @ (KafkaError::MessageConsumptionFatal(_)
                | KafkaError::MessageConsumption(
                    RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange,
                )),
            )) => return Err(failed(source)),
            Some(Err(error)) => {
                tracing::warn!(%error, "reading stored snapshots goes on after a problem")
            }
        }
    }
    Ok(logs)
}
