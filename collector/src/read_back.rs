//! Finds out which pending entries of the log reached Kafka already.
//!
//! A crash loses the acknowledgements that came since they were last written to the log, and those that were still
//! on their way. It would be correct to send all these entries again, because copies of an event are
//! recognised by its id, but it would be work for every reader of the topics. So the ends of both topics are
//! read back first: from the time at which the oldest of these entries was received to the end at the start
//! of the reading. A record is recognised by its header `mr-seq`, which holds this log's instance and the
//! entry's sequence. Each entry is looked for by itself, so that it does not matter if some are missing. A partition that has
//! no leader is not read, because all others would wait for it: of what it holds there will be copies.

use std::collections::HashMap;

use common::kafka::{Kafka, Reader, Topic, header, reader};
use common::message_log::Sequence;
use rdkafka::message::BorrowedMessage;
use tokio_util::sync::CancellationToken;

use crate::acks::DeadLetter;
use crate::publisher::{reason_of, sequence_of};

#[cfg(test)]
mod tests;

/// The entries that were found in Kafka, and which of them are dead letters.
pub type InKafka = HashMap<Sequence, Option<DeadLetter>>;

/// Since when each topic is read, in milliseconds since 1970; `None` for a topic that is not read.
#[derive(Debug, Clone, Copy)]
pub struct Since {
    /// The topic of events.
    pub raw: Option<i64>,
    /// The topic of dead letters.
    pub dead_letters: Option<i64>,
}

/// Reads both topics, and returns those entries of the log `instance` in them that `wanted` says. Blocks.
///
/// # Errors
/// When Kafka cannot be read, or `stop` is cancelled.
pub fn read_back(
    kafka: &Kafka,
    instance: &str,
    since: Since,
    wanted: impl Fn(Sequence) -> bool,
    stop: &CancellationToken,
) -> Result<InKafka, reader::Error> {
    let mut arrived = InKafka::new();
    for (topic, since_ms) in [(Topic::Raw, since.raw), (Topic::DeadLetters, since.dead_letters)] {
        let (topic, Some(since_ms)) = (kafka.name(topic), since_ms) else { continue };
        let reader = Reader::new(kafka)?;
        let spans = reader.spans_since(topic, since_ms)?;
        reader.read_to_end(topic, &spans, stop, |record| {
            arrived.extend(own(record, instance).filter(|(sequence, _)| wanted(*sequence)));
        })?;
    }
    Ok(arrived)
}

fn own(record: &BorrowedMessage<'_>, instance: &str) -> Option<(Sequence, Option<DeadLetter>)> {
    let sequence = sequence_of(header::value(record, header::SEQ)?, instance)?;
    let reason = header::value(record, header::REASON).and_then(reason_of);
    let source =
        || String::from_utf8_lossy(header::value(record, header::SOURCE).unwrap_or_default());
    Some((sequence, reason.map(|reason| (reason, (&*source()).into()))))
}
