//! Whether the log is still the one that was counted.

use std::collections::BTreeMap;
use std::time::Duration;

use common::kafka::Kafka;
use common::kafka::reader::{Polled, Reader};
use rdkafka::message::Message;
use tokio_util::sync::CancellationToken;

use crate::core::witness::Witness;
use crate::error::Error;

/// How long one wait for a record lasts before the stop signal is looked at again.
const POLL: Duration = Duration::from_millis(100);

/// Looks up each partition's witness in the log. All of them have to be within the log's bounds.
///
/// # Errors
/// [`Error::OtherLog`] for the first partition that has another record in its place, or none.
pub fn verify(
    kafka: &Kafka,
    witnesses: &BTreeMap<i32, Witness>,
    stop: &CancellationToken,
) -> Result<(), Error> {
    if witnesses.is_empty() {
        return Ok(());
    }
    let topic = &kafka.topics.raw;
    let reader = Reader::new(kafka)?;
    let starts = witnesses.iter().map(|(&at, witness)| (topic.as_str(), at, witness.offset));
    reader.assign(starts)?;
    let mut open = witnesses.clone();
    while !open.is_empty() && !stop.is_cancelled() {
        let (partition, found) = match reader.poll(POLL)? {
            Polled::Record(message) => {
                let (offset, time) = (message.offset(), message.timestamp().to_millis());
                let payload = message.payload().unwrap_or_default();
                let found = Witness::of(offset, time.unwrap_or(0), payload);
                (message.partition(), Some(found))
            }
            Polled::End(partition) => (partition, None),
            Polled::PositionLost => {
                // It went between two questions: what is left of the log cannot be told from another.
                tracing::warn!("the last record that was counted has just expired");
                return Ok(());
            }
            Polled::Trouble(error) => {
                tracing::warn!(%error, "looking up the last record that was counted goes on after a problem");
                continue;
            }
            Polled::Nothing => continue,
        };
        // Only the first record of each counts, whatever else was fetched with it.
        let Some(expected) = open.remove(&partition) else { continue };
        if found != Some(expected) {
            return Err(Error::OtherLog {
                raw: topic.clone(),
                partition,
                offset: expected.offset,
                state: kafka.topics.state.clone(),
                partials: kafka.topics.partials.clone(),
                results: kafka.topics.results.clone(),
            });
        }
    }
    Ok(())
}
