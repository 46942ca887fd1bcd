//! What a client of the access-api sends and receives: JSON text, one object a frame, told apart by
//! `type`.
//!
//! - After `subscribe` come the newest result of each query (`snapshot`, in the order of their
//!   cursors), then each newer one (`result`).
//! - A [`Cursor`] says "everything up to here has been seen". Given back with `subscribe` it resumes
//!   there; when that is not possible a `gap` says so, and snapshots follow.
//! - A client that falls behind is told twice before anything happens to its connection:
//!   `slow_down`, then `stall_warning`, from which on it gets only the newest result of each query.
//!   `skipped` counts the results that it will never get; over a connection the results sent and
//!   those reported as skipped add up to those published.
//! - `status` says what the server knows of Kafka: with each `subscribe`, and whenever that changes.
//! - Before the server closes, it sends `bye`.
//!
//! A reader passes over fields and frame types that it does not know, and takes a reason or code that
//! it does not know as `Other`, so that an older client can talk to a newer server.

use std::collections::BTreeSet;

use serde::de::{DeserializeOwned, Deserializer, Error as _};
use serde::{Deserialize, Serialize, Serializer};

use crate::result::TopN;

mod cursor;
#[cfg(test)]
mod tests;

pub use cursor::{Cursor, InvalidCursor, InvalidStreamId, StreamId};

/// The WebSocket subprotocol that this module describes. A client need not ask for it.
pub const SUBPROTOCOL: &str = "millrace.v1+json";

/// What a client says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ClientFrame {
    /// Which queries to send, from now on; replaces an earlier subscription.
    Subscribe {
        /// The queries.
        queries: Queries,
        /// What the client has already seen of them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cursor: Option<Cursor>,
    },
    /// The client is done with everything up to `cursor`. Optional; from the first one on the server
    /// measures the client's lag by what it acknowledged, and sends no more than it keeps up with.
    Ack {
        /// What has been seen.
        cursor: Cursor,
    },
}

/// Some or all queries: `["topics"]`, or `"*"` (also `["*"]`) for all, present and future.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Queries {
    /// All of them, those too that appear later.
    All,
    /// Those with these names.
    Named(BTreeSet<String>),
}

/// What the server says. `T` is the result: [`TopN`] for a reader, a reference to one for the writer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", bound(deserialize = "T: DeserializeOwned"))]
pub enum ServerFrame<T = TopN> {
    /// The newest result of a query.
    Snapshot(Update<T>),
    /// A newer one.
    Result(Update<T>),
    /// The client is half way to being stalled.
    SlowDown(SlowDown),
    /// The client is too far behind to get every result: only the newest follow.
    StallWarning(StallWarning),
    /// The cursor given with `subscribe` cannot be resumed from; snapshots follow.
    Gap(Gap),
    /// What the server knows of Kafka.
    Status(Status),
    /// Something in a client's frame was wrong; the connection stays.
    Error(Refusal),
    /// The server closes the connection.
    Bye(Bye),
}

/// A result with its place in the stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(deserialize = "T: DeserializeOwned"))]
pub struct Update<T> {
    /// The query's name.
    pub query: String,
    /// The position of this result.
    pub cursor: Cursor,
    /// Milliseconds from the receipt of the newest event that is reflected to the encoding of this
    /// frame; 0 when nothing is reflected yet.
    pub lag_ms: u64,
    /// The result as published.
    // Through a `Value`, because serde's buffer for tagged enums cannot turn the keys of a JSON
    // object back into the numbers that `TopN::offsets` has.
    #[serde(deserialize_with = "through_value")]
    pub result: T,
}

/// See [`ServerFrame::SlowDown`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlowDown {
    /// How much of what the server waits for is used up, 0 to 100; at 60 results are skipped.
    pub percent_full: u8,
    /// How long the client has been behind.
    pub lag_ms: u64,
    /// The position from which the client would resume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
}

/// See [`ServerFrame::StallWarning`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StallWarning {
    /// How much of what the server waits for is used up, 0 to 100; at 100 of the time that a write
    /// may take, the connection is closed.
    pub percent_full: u8,
    /// How long the client has been behind.
    pub lag_ms: u64,
    /// Results that are passed over, not reported before.
    pub skipped: u64,
    /// The position from which the client would resume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
}

/// See [`ServerFrame::Gap`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The cursor that the client gave.
    pub from: Cursor,
    /// The oldest cursor that could be resumed from now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<Cursor>,
    /// How many results of the client's queries it will never get; absent when that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<u64>,
}

/// See [`ServerFrame::Status`]. Times are those of the server's clock, in milliseconds since 1970; they
/// are to be compared with `now_ms`, not with the client's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The server's clock.
    pub now_ms: i64,
    /// Whether the server can read results.
    pub kafka: KafkaState,
    /// Since when Kafka has not answered; absent while it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kafka_away_since_ms: Option<i64>,
    /// When the newest result of any query was published; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_result_ms: Option<i64>,
}

/// Whether the server can read results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KafkaState {
    /// It has read all that there was, and reads on.
    Connected,
    /// It reads what there is; results follow once it has come to the end.
    Reading,
    /// Kafka does not answer; nothing new comes.
    Away,
    /// Something that this version does not know.
    #[serde(other)]
    Other,
}

/// See [`ServerFrame::Error`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What kind of mistake.
    pub code: RefusalCode,
    /// What was wrong and what to do instead.
    pub message: String,
}

/// What can be wrong with a client's frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalCode {
    /// Not a [`ClientFrame`].
    BadFrame,
    /// No result of that query has been published yet; should one be, it is sent.
    UnknownQuery,
    /// Something that this version does not know.
    #[serde(other)]
    Other,
}

/// See [`ServerFrame::Bye`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bye {
    /// Why.
    pub reason: ByeReason,
    /// Where to resume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
    /// How long to wait before connecting again.
    pub retry_ms: u64,
}

/// Why the server closes a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ByeReason {
    /// The server stops. Close code 1012.
    Shutdown,
    /// A write did not end in time. Close code 4008.
    Stalled,
    /// Nothing was heard from the client, not even a pong. Close code 4009.
    Idle,
    /// Too many frames that the server could not make sense of. Close code 1008.
    BadFrames,
    /// A frame above the size limit. Close code 1009.
    TooLarge,
    /// Something that this version does not know; no server of this version sends it.
    #[serde(other)]
    Other,
}

impl<T> ServerFrame<T> {
    /// The position that a reader has reached with this frame.
    pub const fn cursor(&self) -> Option<Cursor> {
        match self {
            Self::Snapshot(update) | Self::Result(update) => Some(update.cursor),
            Self::SlowDown(_)
            | Self::StallWarning(_)
            | Self::Gap(_)
            | Self::Status(_)
            | Self::Error(_) => None,
            Self::Bye(bye) => bye.cursor,
        }
    }
}

impl ByeReason {
    /// Its name in frames and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shutdown => "shutdown",
            Self::Stalled => "stalled",
            Self::Idle => "idle",
            Self::BadFrames => "bad_frames",
            Self::TooLarge => "too_large",
            Self::Other => "other",
        }
    }

    /// The WebSocket close code: RFC 6455 section 7.4 and its IANA registry, else our own (4000–4999).
    pub const fn close_code(self) -> u16 {
        match self {
            Self::Shutdown => 1012,
            Self::Stalled => 4008,
            Self::Idle => 4009,
            Self::BadFrames => 1008,
            Self::TooLarge => 1009,
            Self::Other => 1000,
        }
    }
}

impl Queries {
    const ALL: &str = "*";

    /// Whether the query `name` is among them.
    pub fn contains(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.contains(name),
        }
    }
}

impl<S: Into<String>> FromIterator<S> for Queries {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Self {
        let names: BTreeSet<String> = names.into_iter().map(Into::into).collect();
        if names.contains(Self::ALL) { Self::All } else { Self::Named(names) }
    }
}

impl Serialize for Queries {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All => serializer.serialize_str(Self::ALL),
            Self::Named(names) => names.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Queries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "`queries` must be an array of names, or \"*\"")]
        enum Text {
            One(String),
            Many(Vec<String>),
        }
        Ok(match Text::deserialize(deserializer)? {
            Text::One(name) => std::iter::once(name).collect(),
            Text::Many(names) => names.into_iter().collect(),
        })
    }
}

fn through_value<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    serde_json::from_value(serde_json::Value::deserialize(deserializer)?).map_err(D::Error::custom)
}
