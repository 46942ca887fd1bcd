//! Stored form of a tally, as it goes through `topn-rsvps-state`.
//!
//! A snapshot is the version byte [`VERSION`], then postcard: partition, next offset, counters, the
//! dedupe state (ids of the open slice, names of the sealed ones), and per query its name, fingerprint
//! and panes. A slice is the same version byte, then its ids, 8 bytes each, little endian. A slice's
//! name holds a checksum of its ids: two writers whose slices differ (they had other settings) cannot
//! be mixed up, and a damaged one is not taken for whole.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::core::dedupe::{self, SLICE_IDS};
use crate::core::hash::hash;
use crate::core::partial::Progress;
use crate::core::plan::Fingerprint;
use crate::core::window;

#[cfg(test)]
mod tests;

/// Version of what is written; older ones are not read: the state is made anew from the log.
const VERSION: u8 = 1;

/// State of a tally at an offset.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Snapshot {
    pub(crate) progress: Progress,
    pub(crate) partition: i32,
    pub(crate) dedupe: dedupe::State,
    pub(crate) queries: Vec<QueryState>,
}

/// One query's part of a snapshot.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct QueryState {
    pub(crate) name: String,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) panes: window::State,
    /// What was lost before it joined the others: offsets `[from, to)`.
    pub(crate) missed: Vec<(i64, i64)>,
}

/// A sealed dedupe slice, never changed again; cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    name: SliceName,
    ids: Arc<[u64]>,
}

/// Name of a sealed slice; as text `17-00c0ffee00c0ffee`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SliceName {
    /// Its place in the partition's history, from 0.
    pub index: u64,
    /// Hash of its ids.
    pub checksum: u64,
}

/// Why a stored state cannot be used. None of these can be retried: try an older snapshot, then go on
/// from the start of the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Written by another version.
    #[error("state has version {0}, this analyzer reads {VERSION}: it counts anew from the log")]
    Version(u8),
    /// Truncated or altered.
    #[error("state is damaged: {0}")]
    Damaged(String),
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

// === impl Snapshot ===

impl Snapshot {
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

    /// The bytes to store; several megabytes for a large state.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// From [`encode`](Self::encode).
    ///
    /// # Errors
    /// [`Error::Version`] and [`Error::Damaged`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        postcard::from_bytes(versioned(bytes)?).map_err(|error| Error::Damaged(error.to_string()))
    }
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    #[expect(clippy::expect_used, reason = "plain data, written to memory")]
    postcard::to_extend(value, vec![VERSION]).expect("a Vec takes any bytes")
}

fn versioned(bytes: &[u8]) -> Result<&[u8], Error> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => Ok(rest),
        Some((&version, _)) => Err(Error::Version(version)),
        None => Err(Error::Damaged("it is empty".to_owned())),
    }
}

// === impl Slice ===

impl Slice {
    pub(crate) fn new(index: u64, ids: Vec<u64>) -> Self {
        let ids: Arc<[u64]> = ids.into();
        Self { name: SliceName { index, checksum: checksum(&little_endian(&ids)) }, ids }
    }

    /// What it is stored under.
    pub fn name(&self) -> SliceName {
        self.name
    }

    /// The ids in order of first sight.
    pub fn ids(&self) -> &[u64] {
        &self.ids
    }

    /// The bytes to store, half a mebibyte.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend(little_endian(&self.ids));
        bytes
    }

    /// From [`encode`](Self::encode).
    ///
    /// # Errors
    /// [`Error::Version`], and [`Error::Damaged`] for bytes that are not those of `name`.
    pub fn decode(name: SliceName, bytes: &[u8]) -> Result<Self, Error> {
        let bytes = versioned(bytes)?;
        if bytes.len() != SLICE_IDS * size_of::<u64>() || checksum(bytes) != name.checksum {
            return Err(Error::Damaged(format!(
                "dedupe slice {name} does not have the ids it was named after"
            )));
        }
        let ids = bytes.as_chunks().0.iter().map(|&id| u64::from_le_bytes(id)).collect();
        Ok(Self { name, ids })
    }
}

fn little_endian(ids: &[u64]) -> Vec<u8> {
    ids.iter().flat_map(|id| id.to_le_bytes()).collect()
}

fn checksum(ids: &[u8]) -> u64 {
    hash(ids)
}

// === impl SliceName ===

impl fmt::Display for SliceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}", self.index, self.checksum)
    }
}

impl FromStr for SliceName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parse = || {
            let (index, checksum) = text.split_once('-')?;
            let checksum =
                (checksum.len() == 16).then(|| u64::from_str_radix(checksum, 16).ok())??;
            Some(Self { index: index.parse().ok()?, checksum })
        };
        parse().ok_or_else(|| Error::Damaged(format!("'{text}' is not the name of a dedupe slice")))
    }
}
