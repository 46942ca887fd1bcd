//! Finds out which pending entries of the log reached Kafka already.
//!
//! A crash loses the acknowledgements that came since the log was last truncated, and those that were still
//! on their way. It would be correct to send all these entries again, because copies of an event are
//! recognised by its id, but it would be work for every reader of the topics. So the ends of both topics are
//! read back first: from the time at which the oldest of these entries was received to the end at the start
//! of the reading. A record is recognised by its header `mr-seq`, which holds this log's instance and the
//! entry's sequence. Each entry is looked for by itself, so that it does not matter if some are missing.

use std::collections::HashMap;

use common::event::Reason;
use common::kafka::{Kafka, Reader, Topic, header, reader};
use common::message_log::{MessageLog, Sequence};
use rdkafka::message::BorrowedMessage;
use tokio_util::sync::CancellationToken;

use crate::publisher::{reason_of, sequence_of};

#[cfg(test)]
mod tests;

/// How far the clock may have been set back while the entries were received, in milliseconds.
const CLOCK_SLACK_MS: i64 = 60_000;

/// The entries that were found in Kafka; those among the dead letters have their reason.
pub type Arrived = HashMap<Sequence, Option<Reason>>;

/// Reads both topics from `since_ms` (milliseconds since 1970) on, and returns the entries of `log` that are
/// in them. Blocks.
///
/// # Errors
/// When Kafka cannot be read, or `stop` is cancelled.
pub fn read_back(
    kafka: &Kafka,
    log: &MessageLog,
    since_ms: i64,
    stop: &CancellationToken,
) -> Result<Arrived, reader::Error> {
    let mut arrived = Arrived::new();
    for topic in [Topic::Raw, Topic::DeadLetters].map(|topic| kafka.name(topic)) {
        let reader = Reader::new(kafka)?;
        let spans = reader.spans_since(topic, since_ms.saturating_sub(CLOCK_SLACK_MS))?;
        reader.read_to_end(topic, &spans, stop, |record| {
            arrived
                .extend(own(record, log.instance()).filter(|(sequence, _)| log.holds(*sequence)));
        })?;
    }
    Ok(arrived)
}

fn own(record: &BorrowedMessage<'_>, instance: &str) -> Option<(Sequence, Option<Reason>)> {
    let sequence = sequence_of(header::value(record, header::SEQ)?, instance)?;
    Some((sequence, header::value(record, header::REASON).and_then(reason_of)))
}
