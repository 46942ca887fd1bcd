//! A series of event ids that does not change any more, so that it is stored only once.
//!
//! Its bytes are a version byte, then the ids, 8 bytes each, little endian. A slice's name holds a checksum of
//! its ids. So the slices of two writers with different settings cannot be confused, and a damaged slice is
//! noticed.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::core::hash::hash;
use crate::core::versioned::{Error, Format};

#[cfg(test)]
mod tests;

/// How many ids a sealed slice has: half a mebibyte, which is below Kafka's default limit of a record.
pub const SLICE_IDS: usize = 65_536;

const FORMAT: Format = Format::new("a dedupe slice", 1, 1);

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

// === impl Slice ===

impl Slice {
    pub(super) fn new(index: u64, ids: Vec<u64>) -> Self {
        let ids: Arc<[u64]> = ids.into();
        Self { name: SliceName { index, checksum: hash(&little_endian(&ids)) }, ids }
    }

    /// The name under which it is stored.
    pub fn name(&self) -> SliceName {
        self.name
    }

    /// The ids in the order in which they were first seen.
    pub fn ids(&self) -> &[u64] {
        &self.ids
    }

    /// The bytes to store, half a mebibyte.
    pub fn encode(&self) -> Vec<u8> {
        FORMAT.seal(little_endian(&self.ids))
    }

    /// Reads the bytes that [`encode`](Self::encode) returned.
    ///
    /// # Errors
    /// [`Error::Version`] for an unknown format, [`Error::Damaged`] for bytes that are not those of `name`.
    pub fn decode(name: SliceName, bytes: &[u8]) -> Result<Self, Error> {
        let bytes = FORMAT.open(bytes)?;
        if bytes.len() != SLICE_IDS * size_of::<u64>() || hash(bytes) != name.checksum {
            return Err(FORMAT.damaged(format!("{name} does not have the ids it was named after")));
        }
        let ids = bytes.as_chunks().0.iter().map(|&id| u64::from_le_bytes(id)).collect();
        Ok(Self { name, ids })
    }
}

fn little_endian(ids: &[u64]) -> Vec<u8> {
    ids.iter().flat_map(|id| id.to_le_bytes()).collect()
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
        parse().ok_or_else(|| FORMAT.damaged(format!("'{text}' is not the name of one")))
    }
}
