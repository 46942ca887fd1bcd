//! Stored form of a tally, as it goes through `topn-rsvps-state`.
//!
//! It holds the partition, the counters, the last record that is reflected, the ids of the open dedupe slice,
//! and per query its name, its fingerprint and the panes that still change. Sealed slices and panes are
//! [blocks](crate::core::block), of which it has the names: so its size does not grow with the window. To write
//! one, nothing is copied but into the bytes: a snapshot borrows from the tally.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::core::block::{Block, BlockName};
use crate::core::dedupe;
use crate::core::partial::Progress;
use crate::core::plan::{Fingerprint, QueryId};
use crate::core::versioned::{self, Format};
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

/// Blocks by their names.
#[derive(Debug, Clone, Default)]
pub struct Blocks(BTreeMap<BlockName, Block>);

/// Why a stored state cannot be used. None of these can be retried: an older snapshot may do, or else
/// the log is counted from its start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(#[from] versioned::Error),
    /// The snapshot names a block that is not there.
    #[error("block {0} is missing, so this snapshot cannot be used")]
    MissingBlock(BlockName),
    /// It knows none of the queries, or only with other settings.
    #[error(
        "no query has the settings of this snapshot, not even '{query}': counting anew from the log"
    )]
    Changed {
        /// One of the queries.
        query: String,
    },
}

// === impl Blocks ===

impl Blocks {
    /// # Errors
    /// [`Error::MissingBlock`].
    pub(crate) fn get(&self, name: BlockName) -> Result<&Block, Error> {
        self.0.get(&name).ok_or(Error::MissingBlock(name))
    }
}

impl FromIterator<Block> for Blocks {
    fn from_iter<I: IntoIterator<Item = Block>>(blocks: I) -> Self {
        Self(blocks.into_iter().map(|block| (block.name(), block)).collect())
    }
}

// === impl Snapshot ===

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
