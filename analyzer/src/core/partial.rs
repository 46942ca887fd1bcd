//! Records of `topn-rsvps-partials`: what one partition contributes to one query.
//!
//! | key | value |
//! |---|---|
//! | `topics/3/1700000000000` | pane: the counts of partition 3 in the slide that starts then; of a running window: slide 0 |
//! | `topics/3/head` | how far the partition was read, and what happened on the way |
//!
//! A value is the version byte [`VERSION`], then postcard: the query's fingerprint, the next offset,
//! and the summary or the progress. An empty value (a tombstone) only cleans up a pane that no window
//! needs: readers learn that from the head, and pay no heed to it.
//!
//! The tally writes changed panes first and the head of the same offset last; a reader shows a pane
//! once it has a head that reflects at least as much. Values replace each other per key, and the one
//! with the highest offset stays, in whatever order they come.
//!
//! Items are at most [`MAX_ITEM_BYTES`](crate::core::decode::MAX_ITEM_BYTES) long, so that a pane of 10,000
//! counters is 2.7 MB at worst; 200 kB are usual.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::core::plan::Fingerprint;

#[cfg(test)]
mod tests;

/// Version of what is written.
const VERSION: u8 = 1;

/// One record to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partial {
    /// Its key. The Kafka partition is chosen by `key.query`, so that one merge sees a whole query.
    pub key: Key,
    /// `None` is a tombstone.
    pub value: Option<Vec<u8>>,
}

/// Key of a partial.
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
    /// Not `query/partition/start` or `query/partition/head`.
    #[error("'{0}' is not the key of a partial")]
    Key(String),
    /// Written by another version.
    #[error(
        "partial has version {0}, this analyzer reads {VERSION}: start the tally and the merge with one version"
    )]
    Version(u8),
    /// Truncated or altered.
    #[error("partial is damaged: {0}")]
    Damaged(String),
}

/// How far a partition was read, and what happened on the way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// First offset that is not reflected.
    pub next_offset: i64,
    /// Distinct events counted.
    pub events: u64,
    /// Re-deliveries dropped.
    pub duplicates: u64,
    /// Records that are not events.
    pub undecodable: u64,
    /// Events dated too far beyond their record's timestamp to be given a window.
    pub future: u64,
    /// Items longer than [`MAX_ITEM_BYTES`](crate::core::decode::MAX_ITEM_BYTES), counted in a shortened form.
    pub shortened: u64,
    /// Newest event time that is not in the future: the watermark.
    pub watermark_ms: Option<i64>,
    /// Newest record timestamp.
    pub ingested_ms: Option<i64>,
    /// Offsets `[from, to)` that were gone before they were read, in order.
    pub gaps: Vec<(i64, i64)>,
}

/// A head as it is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) progress: Progress,
    /// Events too old for any window that was kept.
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
    /// [`Error::Version`] and [`Error::Damaged`].
    pub(crate) fn decode(bytes: &'de [u8]) -> Result<Self, Error> {
        match bytes.split_first() {
            Some((&VERSION, rest)) => {
                postcard::from_bytes(rest).map_err(|error| Error::Damaged(error.to_string()))
            }
            Some((&version, _)) => Err(Error::Version(version)),
            None => Err(Error::Damaged("it is empty".to_owned())),
        }
    }
}

// === impl Partial ===

impl Partial {
    pub(crate) fn new<T: Serialize>(key: Key, value: &Value<T>) -> Self {
        #[expect(clippy::expect_used, reason = "plain data, written to memory")]
        let bytes = postcard::to_extend(value, vec![VERSION]).expect("a Vec takes any bytes");
        Self { key, value: Some(bytes) }
    }

    pub(crate) fn tombstone(key: Key) -> Self {
        Self { key, value: None }
    }
}

// === impl Key ===

impl Key {
    /// From the text form.
    ///
    /// # Errors
    /// [`Error::Key`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let parse = || {
            let mut steps = std::str::from_utf8(bytes).ok()?.split('/');
            let (query, partition, part) = (steps.next()?, steps.next()?, steps.next()?);
            let part = match part {
                "head" => Part::Head,
                start => Part::Pane { start_ms: start.parse().ok()? },
            };
            steps.next().is_none().then_some(Self {
                query: query.to_owned(),
                partition: partition.parse().ok()?,
                part,
            })
        };
        parse().ok_or_else(|| Error::Key(String::from_utf8_lossy(bytes).into_owned()))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { query, partition, part } = self;
        match part {
            Part::Pane { start_ms } => write!(f, "{query}/{partition}/{start_ms}"),
            Part::Head => write!(f, "{query}/{partition}/head"),
        }
    }
}
