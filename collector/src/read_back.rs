//! Finds out which pending entries of the log reached Kafka already.
//!
//! A crash loses the acknowledgements that came since they were last written to the log, and those that were still
//! on their way. It would be correct to send all these entries again, because copies of an event are
//! recognised by its id, but it would be work for every reader of the topics. So the ends of both topics are
//! read back first: from the later of the [position](crate::positions) that the log has stored and the time at which the
//! oldest of these entries was received, to the end at the start of the reading. A record is recognised by its header
//! `mr-seq`, which holds this log's instance and the entry's sequence. Each entry is looked for by itself, so that it does not
//! matter if some are missing. A partition that has no leader is not read, because all others would wait for it: of what it
//! holds there will be copies.
//!
//! What is found is settled while the rest is read, so that a start goes on where the one before it was killed. Otherwise
//! a collector that is killed more often than it takes to read would never send anything.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::event::Reason;
use common::kafka::{Kafka, Reader, Topic, header, reader};
use common::message_log::Sequence;
use rdkafka::message::{BorrowedMessage, Message};
use tokio_util::sync::CancellationToken;

use crate::positions::Positions;
use crate::publisher::{reason_of, sequence_of};

#[cfg(test)]
mod tests;

/// What was found so far and not taken yet; the one who reads puts it here, and the delivery takes it meanwhile.
#[derive(Debug, Default)]
pub struct Progress(Mutex<InKafka>);

/// A part of what the topics hold.
#[derive(Debug, Default)]
pub struct InKafka {
    /// The entries that were wanted, their sources, and why they are dead letters, if they are.
    pub entries: Vec<(Sequence, Arc<str>, Option<Reason>)>,
    /// Up to where the topics were read, these entries included.
    pub positions: Positions,
}

/// Since when each topic is read, in milliseconds since 1970; `None` for a topic that is not read.
#[derive(Debug, Clone, Copy)]
pub struct Since {
    /// The topic of events.
    pub raw: Option<i64>,
    /// The topic of dead letters.
    pub dead_letters: Option<i64>,
}

impl Progress {
    /// What was found since the last call.
    pub fn take(&self) -> InKafka {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, InKafka> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads both topics from `positions` or `since` on, and puts those entries of the log `instance` into `progress` that
/// `wanted` says. Blocks.
///
/// # Errors
/// When Kafka cannot be read, or `stop` is cancelled. What was found until then is in `progress`.
pub fn read_back(
    kafka: &Kafka,
    instance: &str,
    (since, positions): (Since, &Positions),
    wanted: impl Fn(Sequence) -> bool,
    progress: &Progress,
    stop: &CancellationToken,
) -> Result<(), reader::Error> {
    for (topic, since_ms) in [(Topic::Raw, since.raw), (Topic::DeadLetters, since.dead_letters)] {
        let Some(since_ms) = since_ms else { continue };
        let reader = Reader::new(kafka)?;
        let mut spans = reader.spans_since(kafka.name(topic), since_ms)?;
        positions.shorten(topic, &mut spans);
        reader.read_to_end(kafka.name(topic), &spans, stop, |record| {
            let entry = own(record, instance, &wanted);
            let mut found = progress.lock();
            found.entries.extend(entry);
            found.positions.raise(topic, record.partition(), record.offset() + 1);
        })?;
    }
    Ok(())
}

/// What a record says of itself, if it is an entry of this log that is wanted.
fn own(
    record: &BorrowedMessage<'_>,
    instance: &str,
    wanted: impl Fn(Sequence) -> bool,
) -> Option<(Sequence, Arc<str>, Option<Reason>)> {
    let sequence = sequence_of(header::value(record, header::SEQ)?, instance)?;
    if !wanted(sequence) {
        return None;
    }
    let reason = header::value(record, header::REASON).and_then(reason_of);
    let source = header::value(record, header::SOURCE).unwrap_or_default();
    Some((sequence, String::from_utf8_lossy(source).into(), reason))
}
