//! What a client of the access-api sends and receives: JSON text, one object in each frame, whose kind is
//! in its field `type`.
//!
//! - After `subscribe` the server sends the newest result of each query (`snapshot`, in the order of their
//!   cursors), then each newer one (`result`).
//! - A [`Cursor`] says "everything up to here has been seen". A client that gives it back with `subscribe`
//!   resumes there. If that is not possible a `gap` says so, and snapshots follow.
//! - A client that falls behind is warned twice before its connection is closed: by `slow_down`, then by
//!   `stall_warning`, after which it gets only the newest result of each query. `skipped` counts the results
//!   that it will never get: over a connection, the results that were sent and those reported as skipped add
//!   up to the results that were published.
//! - `status` says what the server knows about Kafka: with each `subscribe`, and whenever that changes.
//! - Before the server closes a connection it sends `bye`.
//!
//! A reader ignores fields and frame types that it does not know, and reads an unknown reason or code as
//! `Other`, so that an older client can talk to a newer server.

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

/// A frame that a client sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ClientFrame {
    /// Which queries to send from now on; this replaces an earlier subscription.
    Subscribe {
        /// The queries.
        queries: Queries,
        /// What the client has already seen of them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cursor: Option<Cursor>,
    },
    /// The client is done with everything up to `cursor`. A client need not send this. From the first one on
    /// the server measures the client's lag by what it has acknowledged, and sends no more than it keeps up
    /// with.
    Ack {
        /// What has been seen.
        cursor: Cursor,
    },
}

/// Some or all queries: `["topics"]`, or `"*"` (also `["*"]`) for all, present and future.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Queries {
    /// All queries, including those that appear later.
    All,
    /// The queries with these names.
    Named(BTreeSet<String>),
}

/// A frame that the server sends. `T` is the result: [`TopN`] for a reader, a reference to one for the writer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", bound(deserialize = "T: DeserializeOwned"))]
pub enum ServerFrame<T = TopN> {
    /// The newest result of a query.
    Snapshot(Update<T>),
    /// A newer result than the last one of its query.
    Result(Update<T>),
    /// The client is half way to being stalled.
    SlowDown(SlowDown),
    /// The client is too far behind to get every result: only the newest follow.
    StallWarning(StallWarning),
    /// The cursor given with `subscribe` cannot be resumed from; snapshots follow.
    Gap(Gap),
    /// What the server knows about Kafka.
    Status(Status),
    /// Something in a client's frame was wrong; the connection stays open.
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
    /// Milliseconds from the receipt of the newest event that the result counts to the encoding of this frame;
    /// 0 when it counts none yet.
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
    /// How far behind the client is, in percent. It is the largest of three shares: of the server's ring of results
    /// that the client still has to get, of the ring that it has not acknowledged, and of the time that a write may
    /// take. At 60 results are skipped.
    pub percent_full: u8,
    /// How long the client has been behind, in milliseconds.
    pub lag_ms: u64,
    /// The position from which the client would resume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
}

/// See [`ServerFrame::StallWarning`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StallWarning {
    /// How far behind the client is, in percent, as in [`SlowDown::percent_full`]. When a write has used 100 % of the
    /// time that it may take, the connection is closed.
    pub percent_full: u8,
    /// How long the client has been behind, in milliseconds.
    pub lag_ms: u64,
    /// Results that are skipped and were not reported before.
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
    /// How many results of its queries the client will never get; absent when that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<u64>,
}

/// See [`ServerFrame::Status`]. Times are those of the server's clock, in milliseconds since 1970. Compare
/// them with `now_ms`, not with the client's clock.
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
    /// The server has read all results that were published, and follows new ones.
    Connected,
    /// The server is still reading old results; it sends some once it has reached the end.
    Reading,
    /// Kafka does not answer, so that there are no new results.
    Away,
    /// A state that this version does not know.
    #[serde(other)]
    Other,
}

/// See [`ServerFrame::Error`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The kind of mistake.
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
    /// No result of that query has been published yet; if one is, it will be sent.
    UnknownQuery,
    /// A code that this version does not know.
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
    /// How long to wait before connecting again, in milliseconds.
    pub retry_ms: u64,
}

/// Why the server closes a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ByeReason {
    /// The server is stopping. Close code 1012.
    Shutdown,
    /// A write did not finish in time. Close code 4008.
    Stalled,
    /// Nothing was heard from the client, not even a pong. Close code 4009.
    Idle,
    /// Too many frames that the server could not read. Close code 1008.
    BadFrames,
    /// A frame above the size limit. Close code 1009.
    TooLarge,
    /// A reason that this version does not know; no server of this version sends it.
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
    /// Every reason that a server of this version sends.
    pub const ALL: [Self; 5] =
        [Self::Shutdown, Self::Stalled, Self::Idle, Self::BadFrames, Self::TooLarge];

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

    /// The WebSocket close code: one of RFC 6455 section 7.4 and its IANA registry where there is one, else one
    /// of the private range (4000–4999).
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

    /// Whether the query `name` is one of these.
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
