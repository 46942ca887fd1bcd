//! What the log holds of a message, and its format.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::event::Reason;
use crate::event::identity::Identity;

const FORMAT: u8 = 2;
/// The format before [`FORMAT`], in which every identity had a key and an id. It is still read.
const FORMAT_BEFORE: u8 = 1;

/// A received message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The source that it came from.
    pub source: Arc<str>,
    /// When it was received, in milliseconds since 1970.
    pub received_ms: i64,
    /// Its key, id and time; `None` if they could not be read.
    pub identity: Option<Identity>,
    /// Why it goes to the dead-letter topic; `None` for an event.
    pub reason: Option<Reason>,
    /// What was received, byte for byte.
    pub payload: Bytes,
}

#[derive(Serialize, Deserialize)]
struct Header<'a, Name> {
    source: &'a str,
    received_ms: i64,
    /// Key, id and time.
    identity: Option<(Name, Name, Option<i64>)>,
    /// The reason's name, not its number, because the order of the reasons may change.
    reason: Option<&'a str>,
}

impl Entry {
    /// Roughly what an entry takes in memory besides its texts and its payload, in bytes.
    pub const OVERHEAD_BYTES: usize = 256;

    /// Roughly what the entry takes in memory, in bytes: a queue of entries without a payload is bounded too.
    pub fn memory_bytes(&self) -> usize {
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let identity = self.identity.as_ref().map_or(0, |one| length(&one.key) + length(&one.id));
        self.payload.len() + identity + Self::OVERHEAD_BYTES
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.payload.len() + self.source.len() + 96);
        self.encode_into(&mut bytes);
        bytes
    }

    pub(super) fn encode_into(&self, bytes: &mut Vec<u8>) {
        let identity = self
            .identity
            .as_ref()
            .map(|known| (known.key.as_deref(), known.id.as_deref(), known.time_ms));
        let reason = self.reason.map(Reason::as_str);
        let header =
            Header { source: &self.source, received_ms: self.received_ms, identity, reason };
        bytes.push(FORMAT);
        #[expect(
            clippy::expect_used,
            reason = "a growing buffer cannot overflow, and the header has no sequence of unknown length"
        )]
        postcard::to_io(&header, &mut *bytes).expect("every header can be written");
        bytes.extend_from_slice(&self.payload);
    }

    /// `None` if `bytes` are in neither format.
    pub(super) fn decode(bytes: Bytes) -> Option<Self> {
        match bytes.split_first()? {
            (&FORMAT, rest) => Self::parse::<Option<&str>>(&bytes, rest, |name| name),
            (&FORMAT_BEFORE, rest) => Self::parse::<&str>(&bytes, rest, Some),
            _ => None,
        }
    }

    fn parse<'a, Name: Deserialize<'a>>(
        bytes: &Bytes,
        rest: &'a [u8],
        name: impl Fn(Name) -> Option<&'a str>,
    ) -> Option<Self> {
        let (header, payload) = postcard::take_from_bytes::<Header<'_, Name>>(rest).ok()?;
        let identity = header.identity.map(|(key, id, time_ms)| Identity {
            key: name(key).map(str::to_owned),
            id: name(id).map(str::to_owned),
            time_ms,
        });
        let reason = header.reason.map(str::parse).transpose().ok()?;
        Some(Self {
            source: header.source.into(),
            received_ms: header.received_ms,
            identity,
            reason,
            payload: bytes.slice_ref(payload),
        })
    }
}
