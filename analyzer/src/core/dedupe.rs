//! Remembers which events were seen: the 64-bit hashes of their ids, in the order in which they were first seen.
//!
//! Ids go into an open slice. When it has [`SLICE_IDS`] ids it is *sealed* and never changes again, so that it
//! is stored only once, however often the tally is stored. The oldest slice is forgotten as a whole, when there
//! are more slices than the capacity allows, or when the newest record that added to it is older than the
//! horizon. All this depends only on the partition's records: their ids and their timestamps.
//!
//! The id of a new event has the hash of one of n remembered ids with probability n/2^64. With 4,000,000
//! remembered ids, one event in 4.6 · 10^12 is wrongly taken for a re-delivery.

use std::borrow::Cow;
use std::collections::VecDeque;

use hashbrown::HashTable;
use serde::{Deserialize, Serialize};

use crate::core::block::{Block, BlockName, Blocks, Error};

mod slice;
#[cfg(test)]
mod tests;

pub use slice::SLICE_IDS;
use slice::Slice;

/// The ids seen within the horizon.
#[derive(Debug)]
pub struct Dedupe {
    seen: HashTable<u64>,
    sealed: VecDeque<Sealed>,
    open: Open,
    /// The most sealed slices that are kept.
    max_slices: usize,
    horizon_ms: i64,
    newest_ms: i64,
    forgotten: u64,
}

#[derive(Debug, Clone)]
struct Sealed {
    slice: Slice,
    newest_ms: i64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Open {
    index: u64,
    newest_ms: i64,
    ids: Vec<u64>,
}

/// What a snapshot holds of a [`Dedupe`]; of sealed slices it holds only the names.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct State<'a> {
    open: Cow<'a, Open>,
    sealed: Vec<(BlockName, i64)>,
    newest_ms: i64,
    forgotten: u64,
}

impl Dedupe {
    /// No event is seen yet. At least the newest `capacity` ids within the horizon are remembered, and fewer
    /// than `capacity` and two slices.
    pub fn new(capacity: usize, horizon_ms: u64) -> Self {
        Self {
            seen: HashTable::new(),
            sealed: VecDeque::new(),
            open: Open { index: 0, newest_ms: i64::MIN, ids: Vec::new() },
            max_slices: capacity.div_ceil(SLICE_IDS),
            horizon_ms: i64::try_from(horizon_ms).unwrap_or(i64::MAX),
            newest_ms: i64::MIN,
            forgotten: 0,
        }
    }

    /// Takes note of a record's timestamp, and forgets slices that are beyond the horizon now.
    #[inline]
    pub fn advance(&mut self, timestamp_ms: i64) {
        if timestamp_ms > self.newest_ms {
            self.newest_ms = timestamp_ms;
            let oldest = timestamp_ms.saturating_sub(self.horizon_ms);
            while self.sealed.front().is_some_and(|sealed| sealed.newest_ms < oldest) {
                self.forget_oldest();
            }
        }
    }

    /// Whether the id is remembered.
    #[inline]
    pub fn contains(&self, id: u64) -> bool {
        self.seen.find(id, |&seen| seen == id).is_some()
    }

    /// Remembers the id of a record with this timestamp. The caller has checked that
    /// [`contains`](Self::contains) is false for it.
    pub fn insert(&mut self, id: u64, timestamp_ms: i64) {
        self.seen.insert_unique(id, id, |&seen| seen);
        self.open.ids.push(id);
        self.open.newest_ms = self.open.newest_ms.max(timestamp_ms);
        if self.open.ids.len() == SLICE_IDS {
            self.seal();
        }
    }

    /// How many ids were forgotten.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// The sealed slices, oldest first.
    pub fn blocks(&self) -> impl Iterator<Item = &Block> + '_ {
        self.sealed.iter().map(|sealed| sealed.slice.block())
    }

    fn seal(&mut self) {
        let next = Open {
            index: self.open.index + 1,
            newest_ms: i64::MIN,
            ids: Vec::with_capacity(SLICE_IDS),
        };
        let Open { index, newest_ms, ids } = std::mem::replace(&mut self.open, next);
        self.sealed.push_back(Sealed { slice: Slice::new(index, &ids), newest_ms });
        if self.sealed.len() > self.max_slices {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some(Sealed { slice, .. }) = self.sealed.pop_front() else { return };
        for id in slice.ids() {
            if let Ok(entry) = self.seen.find_entry(id, |&seen| seen == id) {
                entry.remove();
            }
        }
        self.forgotten += slice.ids().len() as u64;
    }

    pub(crate) fn state(&self) -> State<'_> {
        let sealed =
            self.sealed.iter().map(|sealed| (sealed.slice.name(), sealed.newest_ms)).collect();
        State {
            open: Cow::Borrowed(&self.open),
            sealed,
            newest_ms: self.newest_ms,
            forgotten: self.forgotten,
        }
    }

    /// Continues from a stored state, which may come from another capacity or horizon: slices beyond the present
    /// capacity are forgotten at once, those beyond the present horizon at the next record with a newer timestamp.
    ///
    /// # Errors
    /// [`Error::MissingBlock`], and [`Error::Unreadable`] for a block that is not a slice.
    pub(crate) fn restore(mut self, state: State<'_>, blocks: &Blocks) -> Result<Self, Error> {
        let ids = state.sealed.len() * SLICE_IDS + state.open.ids.len();
        self.seen.reserve(ids, |&seen| seen);
        for (name, newest_ms) in state.sealed {
            let slice = Slice::open(blocks.get(name)?.clone())?;
            slice.ids().for_each(|id| self.remember(id));
            self.sealed.push_back(Sealed { slice, newest_ms });
        }
        state.open.ids.iter().for_each(|&id| self.remember(id));
        self.open = state.open.into_owned();
        self.newest_ms = state.newest_ms;
        self.forgotten = state.forgotten;
        while self.sealed.len() > self.max_slices {
            self.forget_oldest();
        }
        Ok(self)
    }

    fn remember(&mut self, id: u64) {
        if !self.contains(id) {
            self.seen.insert_unique(id, id, |&seen| seen);
        }
    }
}

impl State<'_> {
    pub(crate) fn blocks(&self) -> impl Iterator<Item = BlockName> + '_ {
        self.sealed.iter().map(|&(name, _)| name)
    }
}
