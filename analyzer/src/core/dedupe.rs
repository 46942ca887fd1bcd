//! Which events were seen: the 64-bit hashes of their ids, in order of first sight.
//!
//! Ids go into an open slice; every [`SLICE_IDS`] ids it is *sealed* and never changes again, so that
//! it is stored once however often the tally is. The oldest slice is forgotten whole, when there are
//! more ids than the capacity, or when the newest record that added to it is older than the horizon.
//! Everything follows from the partition's records alone: ids and record timestamps.
//!
//! Two different ids share a hash with probability n/2^64: for 4,000,000 remembered ids an event in
//! 4.6 · 10^12 is taken for a re-delivery.

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

/// What a snapshot says about a [`Dedupe`], sealed slices only by name.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct State<'a> {
    open: Cow<'a, Open>,
    sealed: Vec<(BlockName, i64)>,
    newest_ms: i64,
    forgotten: u64,
}

impl Dedupe {
    /// Nothing seen. At least `capacity` ids are remembered, at most one slice more.
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

    /// Record time goes on: forgets what lies beyond the horizon.
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

    /// Whether the id was seen within the horizon.
    #[inline]
    pub fn contains(&self, id: u64) -> bool {
        self.seen.find(id, |&seen| seen == id).is_some()
    }

    /// Remembers an id that [`contains`](Self::contains) denied, of a record with this timestamp.
    pub fn insert(&mut self, id: u64, timestamp_ms: i64) {
        self.seen.insert_unique(id, id, |&seen| seen);
        self.open.ids.push(id);
        self.open.newest_ms = self.open.newest_ms.max(timestamp_ms);
        if self.open.ids.len() == SLICE_IDS {
            self.seal();
        }
    }

    /// Ids that were forgotten.
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

    /// Goes on from a state. It may have been made with another capacity or horizon: what goes beyond the
    /// present ones is forgotten.
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
