//! Reading partitions of the state topic from start to end.

use std::collections::BTreeMap;
use std::time::Duration;

use common::kafka::Kafka;
use common::kafka::reader::{Error, Reader};
use rdkafka::message::Message;
use tokio_util::sync::CancellationToken;

use super::Log;

const RETRY_DELAY: Duration = Duration::from_millis(100);

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
    let reader = Reader::new(kafka)?;
    loop {
        match attempt(&reader, &kafka.topics.state, partitions, stop) {
            Err(error) if error.retryable() && !stop.is_cancelled() => {
                tracing::warn!(%error, "reading stored snapshots starts again");
                std::thread::sleep(RETRY_DELAY);
            }
            outcome => return outcome,
        }
    }
}

fn attempt(
    reader: &Reader,
    topic: &str,
    partitions: &[i32],
    stop: &CancellationToken,
) -> Result<BTreeMap<i32, Log>, Error> {
    let mut logs: BTreeMap<i32, Log> =
        partitions.iter().map(|&partition| (partition, Log::new(partition))).collect();
    let spans = reader.spans(topic, partitions)?;
    reader.read_to_end(topic, &spans, stop, |record| {
        if let (Some(log), Some(key)) = (logs.get_mut(&record.partition()), record.key()) {
            log.replay(key, record.payload());
        }
    })?;
    Ok(logs)
}
