//! What every published result has, whatever its kind. The rest of it is passed on unread, byte for
//! byte, so that a newer analyzer's fields reach the clients.

use common::protocol::StreamId;
use common::result::SCHEMA_VERSION;
use serde::Deserialize;

/// The part of a result that this tier looks at.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Envelope {
    v: u32,
    /// The query's name.
    pub query: String,
    /// Its time span.
    pub window: serde_json::Value,
    /// Its version, which only grows while the stream stays.
    pub version: u64,
    /// Its newest event time.
    #[serde(default)]
    pub as_of_ms: i64,
    /// When its newest event was received.
    #[serde(default)]
    pub ingested_ms: i64,
    /// The stream that it was written to, as 16 hex digits.
    #[serde(default)]
    stream: Option<String>,
}

/// Why a record is no result.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// Not JSON, or without a field that every result has.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// Some of its text is not UTF-8.
    #[error("{0}")]
    Text(#[from] std::str::Utf8Error),
    /// Written by a tier that is too new or too old.
    #[error(
        "schema version {0} is neither {SCHEMA_VERSION} nor the one before; bring the tiers to versions that differ by one at most"
    )]
    Version(u32),
}

impl Envelope {
    /// Reads a record's value.
    ///
    /// # Errors
    /// When it is no result, or one that this version cannot read.
    pub fn read(payload: &[u8]) -> Result<Self, Unreadable> {
        let envelope: Self = serde_json::from_str(std::str::from_utf8(payload)?)?;
        let oldest = SCHEMA_VERSION.saturating_sub(1).max(1);
        if !(oldest..=SCHEMA_VERSION).contains(&envelope.v) {
            return Err(Unreadable::Version(envelope.v));
        }
        Ok(envelope)
    }

    /// The stream that it was written to, where it says so.
    pub fn stream(&self) -> Option<StreamId> {
        self.stream.as_deref().and_then(|text| text.parse().ok())
    }
}
