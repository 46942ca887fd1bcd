//! The identity of the topic of results, which cursors and versions belong to.

use common::kafka::Kafka;
use common::protocol::StreamId;
use rdkafka::message::Message;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::publisher::{Publisher, Record, Ticket};
use crate::reader;

use super::super::exchange::FLUSH_TIMEOUT;

/// The only partition of the topic: an offset is a position in the story.
const PARTITION: i32 = 0;

/// The identity that stands in the topic of results; where there is none, one is written and the topic is
/// read again. Whoever writes at the same time reads the same one afterwards: the first that stands there.
///
/// # Errors
/// When the topic cannot be read or written, or the stage is told to stop.
pub fn identify(
    kafka: &Kafka,
    out: &Publisher,
    stop: &CancellationToken,
) -> Result<StreamId, Error> {
    let topic = &kafka.topics.results;
    loop {
        let first = reader::read(
            kafka,
            topic,
            &[PARTITION],
            stop,
            || None,
            |first, message| {
                if let (None, Some(key)) = (*first, message.key()) {
                    *first = StreamId::from_key(key);
                }
            },
        )?;
        if let Some(stream) = first {
            return Ok(stream);
        }
        let stream = StreamId(rand::random());
        tracing::info!(topic, %stream, "the topic of results gets an identity");
        let value = json!({ "v": 1, "stream": stream.to_string() }).to_string();
        let (key, value) = (stream.key(), Some(value.as_bytes()));
        let partition = Some(PARTITION);
        let record = Record { topic, partition, key: key.as_bytes(), value, header: None };
        out.send(record, &Ticket::new())?;
        out.flush(FLUSH_TIMEOUT)?;
    }
}
