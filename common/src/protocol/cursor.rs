//! A position in the published stream, which clients keep and give back.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize, Serializer};

/// The identity of one topic of results: 64 random bits that the analyzer draws when it first writes to the
/// topic. A topic that is deleted and created again gets another identity. Written as 16 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamId(pub u64);

/// A position in the published stream: everything up to and including the sequence `seq` (the offset
/// in the topic of results) has been seen. Valid across restarts and pods.
///
/// Its text is opaque to clients: base64url of a version byte, the stream and the sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// The stream in which `seq` counts.
    pub stream: StreamId,
    /// The last sequence seen.
    pub seq: u64,
}

/// A text that is not a cursor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a cursor; give back one from a frame, unchanged, or none")]
pub struct InvalidCursor(String);

/// A text that is not a [`StreamId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a stream is written as 16 hex digits in lower case")]
pub struct InvalidStreamId;

impl StreamId {
    const KEY_PREFIX: &str = "stream/";

    /// The key of the record that gives a topic of results its identity. If there are several such records,
    /// the one with the lowest offset counts.
    pub fn key(self) -> String {
        format!("{}{self}", Self::KEY_PREFIX)
    }

    /// Reads a record's key; `None` if it is not the key of such a record.
    pub fn from_key(key: &[u8]) -> Option<Self> {
        std::str::from_utf8(key).ok()?.strip_prefix(Self::KEY_PREFIX)?.parse().ok()
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for StreamId {
    type Err = InvalidStreamId;

    fn from_str(text: &str) -> Result<Self, InvalidStreamId> {
        let id = u64::from_str_radix(text, 16).map(Self).map_err(|_| InvalidStreamId)?;
        // Only one spelling is accepted, so that texts can be compared.
        if id.to_string() == text { Ok(id) } else { Err(InvalidStreamId) }
    }
}

impl Cursor {
    /// The first byte of the encoded form; a later form would have another one.
    const VERSION: u8 = 1;
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [Self::VERSION; 17];
        bytes[1..9].copy_from_slice(&self.stream.0.to_be_bytes());
        bytes[9..].copy_from_slice(&self.seq.to_be_bytes());
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let invalid = || InvalidCursor(text.chars().take(64).collect());
        // The decoder refuses padding and stray bits, so that one position has one text.
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| invalid())?;
        match bytes.split_first_chunk::<9>() {
            Some((&[Self::VERSION, ref stream @ ..], seq)) => {
                let seq = seq.try_into().map_err(|_| invalid())?;
                Ok(Self {
                    stream: StreamId(u64::from_be_bytes(*stream)),
                    seq: u64::from_be_bytes(seq),
                })
            }
            _ => Err(invalid()),
        }
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
