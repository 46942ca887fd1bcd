//! What did reach Kafka, of what the log does not know to be delivered.
//!
//! A crash loses the acknowledgements that came since the log was last truncated, and those that were
//! still on their way. Sending all of it again would be right, since copies of an event are recognised
//! by its id, but would be work for everybody behind Kafka. So the ends of both topics are read back
//! first: from the time at which the oldest entry in question was received to what was the end when the
//! reading began. A record is known by its header `mr-seq`, which holds this log's instance and the
//! entry's sequence; gaps in what arrived are no problem, since each entry is looked for by itself.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use common::event::Reason;
use common::kafka::{Kafka, Topic, header};
use common::message_log::{MessageLog, Sequence};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{Offset, TopicPartitionList};
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::publisher::{log_line, reason_of, sequence_of};

#[cfg(test)]
mod tests;

/// How long Kafka may take for an answer before it is asked anew.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);
/// How far the clock may have been set back while the entries were received.
const CLOCK_SLACK_MS: i64 = 60_000;

/// Entries that were found in Kafka, those among the dead letters with their reason.
pub type Arrived = HashMap<Sequence, Option<Reason>>;

/// Reads back both topics from `since_ms` on, looking for what `log` holds. Blocks.
///
/// # Errors
/// When Kafka cannot be read, or `stop` is cancelled.
pub fn read_back(
    kafka: &Kafka,
    log: &MessageLog,
    since_ms: i64,
    stop: &CancellationToken,
) -> Result<Arrived, Error> {
    let mut arrived = Arrived::new();
    for topic in [Topic::Raw, Topic::DeadLetters] {
        let topic = kafka.name(topic);
        let failed = |source| Error::ReadBack { topic: topic.to_owned(), source };
        let mut config = kafka.consumer(None, None);
        config.set("enable.partition.eof", "true").set("isolation.level", "read_uncommitted");
        let consumer: BaseConsumer<Quiet> = config.create_with_context(Quiet).map_err(failed)?;
        let ends = assign(&consumer, topic, since_ms).map_err(failed)?;
        while_reading(&consumer, ends, stop, |record| {
            arrived
                .extend(own(record, log.instance()).filter(|(sequence, _)| log.holds(*sequence)));
        })
        .map_err(failed)?;
    }
    if stop.is_cancelled() { Err(Error::Interrupted) } else { Ok(arrived) }
}

/// Shows every record before `ends` to `look`, unless `stop` is cancelled.
fn while_reading(
    consumer: &BaseConsumer<Quiet>,
    mut ends: BTreeMap<i32, i64>,
    stop: &CancellationToken,
    mut look: impl FnMut(&BorrowedMessage<'_>),
) -> Result<(), KafkaError> {
    let mut heard = Instant::now();
    while !ends.is_empty() && !stop.is_cancelled() {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(record)) => {
                heard = Instant::now();
                look(&record);
                if ends.get(&record.partition()).is_some_and(|end| record.offset() + 1 >= *end) {
                    ends.remove(&record.partition());
                }
            }
            // The last offsets before the end may hold no record, only transaction markers.
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                ends.remove(&partition);
            }
            Some(Err(error)) => return Err(error),
            None if heard.elapsed() > ANSWER_DEADLINE => {
                return Err(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut));
            }
            None => {}
        }
    }
    Ok(())
}

/// The end of a partition is what is waited for here, not an error to be logged.
struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka");
    }
}

impl ConsumerContext for Quiet {}

/// Assigns every partition that has records since then, and returns where each of them ends.
fn assign(
    consumer: &BaseConsumer<Quiet>,
    topic: &str,
    since_ms: i64,
) -> Result<BTreeMap<i32, i64>, KafkaError> {
    let metadata = consumer.fetch_metadata(Some(topic), ANSWER_DEADLINE)?;
    let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
    let mut times = TopicPartitionList::new();
    for partition in partitions {
        // The "offset" asked for is a time; librdkafka wants none below 0.
        times.add_partition_offset(
            topic,
            partition.id(),
            Offset::Offset((since_ms - CLOCK_SLACK_MS).max(0)),
        )?;
    }
    let mut assignment = TopicPartitionList::new();
    let mut ends = BTreeMap::new();
    for found in consumer.offsets_for_times(times, ANSWER_DEADLINE)?.elements() {
        found.error()?;
        // Without a record since then, the answer is the end.
        let Offset::Offset(start) = found.offset() else { continue };
        let (_, end) = consumer.fetch_watermarks(topic, found.partition(), ANSWER_DEADLINE)?;
        if start < end {
            assignment.add_partition_offset(topic, found.partition(), Offset::Offset(start))?;
            ends.insert(found.partition(), end);
        }
    }
    consumer.assign(&assignment)?;
    Ok(ends)
}

fn own(record: &BorrowedMessage<'_>, instance: &str) -> Option<(Sequence, Option<Reason>)> {
    let headers = record.headers()?;
    let value = |name: &str| {
        headers.iter().find(|header| header.key == name).and_then(|header| header.value)
    };
    Some((sequence_of(value(header::SEQ)?, instance)?, value(header::REASON).and_then(reason_of)))
}
