//! How a log is told from another log of the same name.

use serde::{Deserialize, Serialize};

use crate::core::hash::hash;

#[cfg(test)]
mod tests;

/// So much of a payload is looked at: with its length and its timestamp enough to tell two records
/// apart, and little beside what it costs to read one.
const LOOKED_AT: usize = 256;

/// The last record that a state reflects. A log that has another record at its offset is not the one
/// that was counted: its topic was deleted and created anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witness {
    /// Its offset.
    pub offset: i64,
    /// Kafka's timestamp of it, as it is.
    pub timestamp_ms: i64,
    length: u64,
    /// Hash of the first bytes of its payload. It is the payload and not the event's id, so that a
    /// changed idea of what an id is does not look like another log.
    beginning: u64,
}

impl Witness {
    /// Of this record.
    #[inline]
    pub fn of(offset: i64, timestamp_ms: i64, payload: &[u8]) -> Self {
        let beginning = hash(&payload[..payload.len().min(LOOKED_AT)]);
        Self { offset, timestamp_ms, length: payload.len() as u64, beginning }
    }
}
