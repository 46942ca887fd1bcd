//! The messages of a record.

use bytes::Bytes;
use common::event::Reason;
use common::event::control::Control;
use rdkafka::message::Message as Record;

use crate::config::KafkaSource as Section;
use crate::intake::{Intake, Message};
use crate::source::feed::CUT_BYTES;
use crate::source::framing::divide;

/// The messages of a record; none if it has no value, or another collector tells something by it.
pub(super) fn messages(
    section: &Section,
    intake: &Intake,
    source: &str,
    record: &impl Record,
) -> Vec<Message> {
    let Some(payload) = record.payload() else { return Vec::new() };
    if Control::read(record.key(), payload).is_some() {
        return Vec::new();
    }
    let received_ms = intake.now_ms();
    let message =
        |payload, identity| Message { payload, received_ms, identity, cursor: None, receipt: None };
    if payload.len() > section.max_message_bytes {
        let (topic, partition, offset) = (record.topic(), record.partition(), record.offset());
        tracing::warn!(
            source,
            topic,
            partition,
            offset,
            bytes = payload.len(),
            limit = section.max_message_bytes,
            "a message is too large; its first bytes are a dead letter"
        );
        let cut = Bytes::copy_from_slice(&payload[..CUT_BYTES.min(section.max_message_bytes)]);
        return vec![message(cut, Err(Reason::TooLarge))];
    }
    divide(&section.framing, payload)
        .map(|(payload, refused)| {
            let identity = refused.map_or_else(|| intake.identify(payload), Err);
            // Copied, because a slice would keep the whole record in memory.
            message(Bytes::copy_from_slice(payload), identity)
        })
        .collect()
}
