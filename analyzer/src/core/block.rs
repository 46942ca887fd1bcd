//! A part of a tally's state that will not change any more: it is stored once, however often the tally is.
//!
//! A block's name holds a checksum of its bytes: two writers whose blocks differ (they had other settings)
//! cannot be mixed up, and a damaged block is not taken for whole. What the bytes mean, and which version
//! they have, is known to whoever made the block.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::core::hash::hash;
use crate::core::versioned;

#[cfg(test)]
mod tests;

/// Bytes that are never changed again; cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    name: BlockName,
    bytes: Arc<[u8]>,
}

/// What a block is stored under; as text `17-00c0ffee00c0ffee`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BlockName {
    /// Its place among the blocks of its kind: their number, or the first instant of a pane.
    pub index: i64,
    /// Hash of its bytes.
    pub checksum: u64,
}

/// A name that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not the name of a block")]
pub struct NotAName(String);

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

// === impl Block ===

impl Block {
    /// A block of these bytes.
    pub fn new(index: i64, bytes: Vec<u8>) -> Self {
        Self { name: BlockName { index, checksum: hash(&bytes) }, bytes: bytes.into() }
    }

    /// A block that was read; `None` if the bytes are not those that were stored under `name`.
    pub fn read(name: BlockName, bytes: Vec<u8>) -> Option<Self> {
        let block = Self::new(name.index, bytes);
        (block.name == name).then_some(block)
    }

    /// What it is stored under.
    pub fn name(&self) -> BlockName {
        self.name
    }

    /// The bytes to store.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

// === impl BlockName ===

impl fmt::Display for BlockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}", self.index, self.checksum)
    }
}

impl FromStr for BlockName {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        let parse = || {
            let (index, checksum) = text.rsplit_once('-')?;
            let checksum =
                (checksum.len() == 16).then(|| u64::from_str_radix(checksum, 16).ok())??;
            Some(Self { index: index.parse().ok()?, checksum })
        };
        parse().ok_or_else(|| NotAName(text.to_owned()))
    }
}
