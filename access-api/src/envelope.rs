//! The fields that every published result has, whatever its kind, and those of the audit. The rest is passed on
//! unread, byte for byte, so that fields of a newer analyzer reach the clients.

use common::protocol::StreamId;
use common::result::SCHEMA_VERSION;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The part of a result that this tier reads.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Envelope {
    v: u32,
    /// The query's name.
    pub query: String,
    /// Its time span.
    pub window: serde_json::Value,
    /// Its version, which only grows while the stream stays the same.
    pub version: u64,
    /// Its newest event time, in milliseconds since 1970.
    #[serde(default)]
    pub as_of_ms: i64,
    /// When its newest event was received, in milliseconds since 1970.
    #[serde(default)]
    pub ingested_ms: i64,
    /// The stream that it was written to, as 16 hex digits.
    #[serde(default)]
    stream: Option<String>,
}

/// The part of the published audit that this tier reads.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct AuditEnvelope {
    v: u32,
    /// Its version, which only grows while the stream stays the same.
    pub version: u64,
    #[serde(default)]
    stream: Option<String>,
}

/// Why a record cannot be read as a result.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It is not JSON, or lacks a field that every result has.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// Some of its text is not UTF-8.
    #[error("{0}")]
    Text(#[from] std::str::Utf8Error),
    /// It was written by a tier that is too new or too old.
    #[error(
        "schema version {0} is neither {SCHEMA_VERSION} nor the one before; use versions of the tiers that differ by one at most"
    )]
    Version(u32),
}

impl Envelope {
    /// Reads a record's value.
    ///
    /// # Errors
    /// When it is not a result, or one that this version cannot read.
    pub fn read(payload: &[u8]) -> Result<Self, Unreadable> {
        read(payload, |envelope: &Self| envelope.v)
    }

    /// The stream that it was written to, if it says so.
    pub fn stream(&self) -> Option<StreamId> {
        parse_stream(self.stream.as_deref())
    }
}

impl AuditEnvelope {
    /// Reads a record's value.
    ///
    /// # Errors
    /// When it is not an audit, or one that this version cannot read.
    pub fn read(payload: &[u8]) -> Result<Self, Unreadable> {
        read(payload, |envelope: &Self| envelope.v)
    }

    /// The stream that it was written to, if it says so.
    pub fn stream(&self) -> Option<StreamId> {
        parse_stream(self.stream.as_deref())
    }
}

/// Reads an envelope, of which `version` is the schema version.
fn read<T: DeserializeOwned>(payload: &[u8], version: impl Fn(&T) -> u32) -> Result<T, Unreadable> {
    let envelope = serde_json::from_str(std::str::from_utf8(payload)?)?;
    let found = version(&envelope);
    let oldest = SCHEMA_VERSION.saturating_sub(1).max(1);
    if (oldest..=SCHEMA_VERSION).contains(&found) {
        Ok(envelope)
    } else {
        Err(Unreadable::Version(found))
    }
}

fn parse_stream(text: Option<&str>) -> Option<StreamId> {
    text.and_then(|text| text.parse().ok())
}
