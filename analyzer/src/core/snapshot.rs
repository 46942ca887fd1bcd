//! Stored form of a tally, as it goes through `topn-rsvps-state`.
//!
//! It holds the partition, the counters and the ledger, the last record that is reflected, the ids of the open dedupe slice,
//! and per query its name, its fingerprint and the panes that still change. Sealed slices and panes are
//! [blocks](crate::core::block), of which it has the names alone: a pane of a long window costs it a few bytes. To
//! write one, nothing is copied but into the bytes: a snapshot borrows from the tally.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::core::block::BlockName;
pub use crate::core::block::{Blocks, Error};
use crate::core::dedupe;
use crate::core::ledger::Ledger;
use crate::core::partial::Progress;
use crate::core::plan::{Fingerprint, QueryId};
use crate::core::versioned::Format;
use crate::core::watermark::Watermark;
use crate::core::window;
use crate::core::witness::Witness;

const FORMAT: Format = Format::new("a snapshot", 3, 3);

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
    /// `None` in what an older build stored; see [`Ledger::of`].
    #[serde(default)]
    pub(crate) ledger: Option<Cow<'a, Ledger>>,
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

impl Snapshot<'_> {
    /// The partition of `raw-rsvps` that it is about.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// The first offset that it does not reflect.
    pub fn next_offset(&self) -> i64 {
        self.progress.next_offset
    }

    /// The blocks that it needs.
    pub fn blocks(&self) -> impl Iterator<Item = BlockName> + '_ {
        let panes = self.queries.iter().flat_map(|query| query.panes.blocks());
        self.dedupe.blocks().chain(panes)
    }

    /// The queries that it holds.
    pub fn queries(&self) -> impl Iterator<Item = QueryId> + '_ {
        self.queries.iter().map(|query| QueryId {
            name: query.name.clone().into_owned(),
            fingerprint: query.fingerprint,
        })
    }

    /// The bytes to store.
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
