//! Stored form of a tally, as it goes through `topn-rsvps-state`.
//!
//! It holds the partition, the counters, the last record that is reflected, the dedupe state (ids of
//! the open slice, names of the sealed ones), and per query its name, fingerprint and panes. To write
//! one, nothing is copied but into the bytes: a snapshot borrows from the tally.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::core::dedupe::{self, SliceName};
use crate::core::partial::Progress;
use crate::core::plan::{Fingerprint, QueryId};
use crate::core::versioned::{self, Format};
use crate::core::watermark::Watermark;
use crate::core::window;
use crate::core::witness::Witness;

const FORMAT: Format = Format::new("a snapshot", 2, 2);

/// State of a tally at an offset.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Snapshot<'a> {
    pub(crate) progress: Cow<'a, Progress>,
    pub(crate) partition: i32,
    /// `None` when no record was read.
    pub(crate) witness: Option<Witness>,
    pub(crate) event_time: Cow<'a, Watermark>,
    pub(crate) record_time: Cow<'a, Watermark>,
    pub(crate) dedupe: dedupe::State<'a>,
    pub(crate) queries: Vec<QueryState<'a>>,
}

/// One query's part of a snapshot.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct QueryState<'a> {
    pub(crate) name: Cow<'a, str>,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) panes: window::State<'a>,
    /// What was lost before it joined the others: offsets `[from, to)`.
    pub(crate) missed: Cow<'a, [(i64, i64)]>,
}

/// Why a stored state cannot be used. None of these can be retried: an older snapshot may do, or else
/// the log is counted from its start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(#[from] versioned::Error),
    /// The snapshot names a slice that is not there.
    #[error("dedupe slice {0} is missing, so this snapshot cannot be used")]
    MissingSlice(SliceName),
    /// It knows none of the queries, or only with other settings.
    #[error(
        "no query has the settings of this snapshot, not even '{query}': counting anew from the log"
    )]
    Changed {
        /// One of the queries.
        query: String,
    },
}

impl Snapshot<'_> {
    /// The partition of `raw-rsvps` that it is about.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// The first offset that it does not reflect.
    pub fn next_offset(&self) -> i64 {
        self.progress.next_offset
    }

    /// The sealed dedupe slices that it needs, oldest first.
    pub fn slices(&self) -> impl Iterator<Item = SliceName> + '_ {
        self.dedupe.slices()
    }

    /// The queries that it holds.
    pub fn queries(&self) -> impl Iterator<Item = QueryId> + '_ {
        self.queries.iter().map(|query| QueryId {
            name: query.name.clone().into_owned(),
            fingerprint: query.fingerprint,
        })
    }

    /// The bytes to store; several megabytes for a large state.
    pub fn encode(&self) -> Vec<u8> {
        FORMAT.encode(self)
    }
}

impl Snapshot<'static> {
    /// From [`encode`](Snapshot::encode).
    ///
    /// # Errors
    /// [`Error::Unreadable`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        Ok(FORMAT.decode(bytes)?)
    }
}
