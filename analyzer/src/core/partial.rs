//! Records of `topn-rsvps-partials`: what one partition contributes to one query.
//!
//! | key | value |
//! |---|---|
//! | `topics/3/00c0ffee00c0ffee/1700000000000` | pane: the counts of partition 3 in the slide that starts then; of a running window: slide 0 |
//! | `topics/3/00c0ffee00c0ffee/head` | how far the partition was read, and what happened on the way |
//! | `.audit/3/00c0ffee00c0ffee/head` | the partition's books, see [`audit`](crate::core::audit) |
//!
//! The third step is the [`Owner`] that wrote it. Compaction keeps what was written last of a key, which
//! is not what is newest: an owner that was replaced may write late. With a key of its own it replaces
//! nobody's values. Of the values of several owners a reader takes the one with the highest offset, in
//! whatever order they come; owners at one offset say the same.
//!
//! A value is [versioned](crate::core::versioned): the query's fingerprint, the next offset, and the
//! summary or the progress. An empty value (a tombstone) only makes room in the topic; to a reader it
//! says nothing. Which panes are in a window follows from the heads.
//!
//! The tally writes changed panes first and the head of the same offset last; a reader shows a pane
//! once it has a head that reflects at least as much.
//!
//! Items are at most [`MAX_ITEM_BYTES`](crate::core::decode::MAX_ITEM_BYTES) long, so that a pane of 10,000
//! counters is 2.7 MB at worst; 200 kB are usual.

use std::fmt;

use common::result::missed::Missed;
use serde::{Deserialize, Serialize};

use crate::core::owner::Owner;
use crate::core::plan::Fingerprint;
use crate::core::versioned::{self, Format};

#[cfg(test)]
mod tests;

const FORMAT: Format = Format::new("a partial", 2, 2);

/// One record to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partial {
    /// Its key. The Kafka partition is chosen by `key.query`, so that one merge sees a whole query.
    pub key: Key,
    /// `None` is a tombstone.
    pub value: Option<Vec<u8>>,
}

/// What a partial is about. Its key in Kafka names the owner too, see [`written_by`](Key::written_by).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The query's name.
    pub query: String,
    /// Partition of `raw-rsvps`.
    pub partition: i32,
    /// What is told about it.
    pub part: Part,
}

/// What a partial tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The counts of one slide.
    Pane {
        /// First instant of the slide; 0 for a running window.
        start_ms: i64,
    },
    /// How far the partition was read.
    Head,
}

/// Why a partial cannot be read. Not to be retried: count it and go on, newer ones replace it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not `query/partition/owner/start` or `query/partition/owner/head`.
    #[error("'{0}' is not the key of a partial")]
    Key(String),
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(#[from] versioned::Error),
}

/// How far a partition was read, and what happened on the way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// First offset that is not reflected.
    pub next_offset: i64,
    /// Distinct events counted.
    pub events: u64,
    /// Re-deliveries dropped.
    pub duplicates: u64,
    /// Records that are not events.
    pub undecodable: u64,
    /// Events that no window but a running one will count: dated too far beyond their record's timestamp,
    /// or given up when too many waited.
    pub future: u64,
    /// Events that wait for others to confirm their time.
    pub waiting: u64,
    /// Events without a readable time.
    pub untimed: u64,
    /// Records whose Kafka key is not the one that the event says: copies may lie in two partitions.
    pub key_mismatches: u64,
    /// Items longer than [`MAX_ITEM_BYTES`](crate::core::decode::MAX_ITEM_BYTES), counted in a shortened form.
    pub shortened: u64,
    /// How far the partition is in event time, see [`watermark`](crate::core::watermark).
    pub watermark_ms: Option<i64>,
    /// Whether it is confirmed: before, it may go back.
    pub is_confirmed: bool,
    /// The same for record timestamps, from the first record on.
    pub ingested_ms: Option<i64>,
    /// The same once it is confirmed: by this a partition is found idle.
    pub recorded_ms: Option<i64>,
    /// Offsets `[from, to)` that were gone before they were read, in order.
    pub gaps: Vec<(i64, i64)>,
    /// What collectors have told to be missing of their sources.
    pub missed: Missed,
}

/// A head as it is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) progress: Progress,
    /// Mentions too old for any window that was kept.
    pub(crate) late: u64,
}

/// A value, with what it was made by and the first offset that it does not reflect.
#[derive(Serialize, Deserialize)]
pub(crate) struct Value<T> {
    pub(crate) fingerprint: Fingerprint,
    pub(crate) next_offset: i64,
    pub(crate) body: T,
}

impl<'de, T: Deserialize<'de>> Value<T> {
    /// # Errors
    /// [`Error::Unreadable`].
    pub(crate) fn decode(bytes: &'de [u8]) -> Result<Self, Error> {
        decode(bytes)
    }
}

/// Reads what [`Partial::new`] was given.
///
/// # Errors
/// [`Error::Unreadable`].
pub(crate) fn decode<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, Error> {
    Ok(FORMAT.decode(bytes)?)
}

/// The first offset that a partial's value does not reflect.
///
/// # Errors
/// [`Error::Unreadable`].
pub fn next_offset(value: &[u8]) -> Result<i64, Error> {
    #[derive(Deserialize)]
    struct Reflected {
        next_offset: i64,
    }
    Ok(FORMAT.decode::<Reflected>(value)?.next_offset)
}

// === impl Partial ===

impl Partial {
    /// `value` has the field `next_offset`, see [`next_offset`].
    pub(crate) fn new(key: Key, value: &impl Serialize) -> Self {
        Self { key, value: Some(FORMAT.encode(value)) }
    }

    pub(crate) fn tombstone(key: Key) -> Self {
        Self { key, value: None }
    }
}

// === impl Key ===

impl Key {
    /// The text of its key in Kafka.
    pub fn written_by(&self, owner: Owner) -> String {
        let Self { query, partition, part } = self;
        format!("{query}/{partition}/{owner}/{part}")
    }

    /// From [`written_by`](Self::written_by).
    ///
    /// # Errors
    /// [`Error::Key`].
    pub fn parse(bytes: &[u8]) -> Result<(Self, Owner), Error> {
        let parse = || {
            let mut steps = std::str::from_utf8(bytes).ok()?.split('/');
            let (query, partition) = (steps.next()?, steps.next()?);
            let (owner, part) = (steps.next()?, steps.next()?);
            let part = match part {
                "head" => Part::Head,
                start => Part::Pane { start_ms: start.parse().ok()? },
            };
            let key = Self { query: query.to_owned(), partition: partition.parse().ok()?, part };
            steps.next().is_none().then_some((key, owner.parse().ok()?))
        };
        parse().ok_or_else(|| Error::Key(String::from_utf8_lossy(bytes).into_owned()))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { query, partition, part } = self;
        write!(f, "{query}/{partition}/{part}")
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pane { start_ms } => write!(f, "{start_ms}"),
            Self::Head => f.write_str("head"),
        }
    }
}
