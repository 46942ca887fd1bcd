//! Recognises that a log is not the one that was counted, although it has the same name.

use serde::{Deserialize, Serialize};

use crate::core::hash::hash;

#[cfg(test)]
mod tests;

/// How many bytes of a payload are hashed. Together with its length and its timestamp this is enough to
/// distinguish two records, and it costs little compared with reading one.
const LOOKED_AT: usize = 256;

/// The last record that a state reflects. A log that has another record at its offset is not the one
/// that was counted: its topic was deleted and created anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witness {
    /// Its offset.
    pub offset: i64,
    /// Kafka's timestamp of the record, unchanged, in milliseconds since 1970.
    pub timestamp_ms: i64,
    length: u64,
    /// Hash of the first bytes of its payload. The payload is used and not the event's id, so that a change of
    /// the schema's `id` does not look like another log.
    beginning: u64,
}

impl Witness {
    /// The witness of this record.
    #[inline]
    pub fn of(offset: i64, timestamp_ms: i64, payload: &[u8]) -> Self {
        let beginning = hash(&payload[..payload.len().min(LOOKED_AT)]);
        Self { offset, timestamp_ms, length: payload.len() as u64, beginning }
    }
}
