//! A series of event ids that does not change any more.
//!
//! Its [block](crate::core::block) is a version byte and the ids, 8 bytes each, little endian.

use crate::core::block::{Block, BlockName};
use crate::core::versioned::{Error, Format};

#[cfg(test)]
mod tests;

/// Ids in a sealed slice: half a mebibyte.
pub const SLICE_IDS: usize = 65_536;

const FORMAT: Format = Format::new("a dedupe slice", 1, 1);

/// A sealed dedupe slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slice(Block);

impl Slice {
    pub(super) fn new(index: u64, ids: &[u64]) -> Self {
        let bytes = FORMAT.seal(ids.iter().flat_map(|id| id.to_le_bytes()));
        Self(Block::new(index as i64, bytes))
    }

    /// From its block.
    ///
    /// # Errors
    /// [`Error::Version`], and [`Error::Damaged`] for a block of another kind.
    pub(super) fn open(block: Block) -> Result<Self, Error> {
        let bytes = FORMAT.open(block.bytes())?;
        if bytes.len() == SLICE_IDS * size_of::<u64>() {
            Ok(Self(block))
        } else {
            Err(FORMAT.damaged(format!("{} has {} bytes", block.name(), bytes.len())))
        }
    }

    pub(super) fn name(&self) -> BlockName {
        self.0.name()
    }

    pub(super) fn block(&self) -> &Block {
        &self.0
    }

    /// The ids in order of first sight.
    pub(super) fn ids(&self) -> impl ExactSizeIterator<Item = u64> + '_ {
        // The version byte stands before them.
        let (ids, _) = self.0.bytes()[1..].as_chunks();
        ids.iter().map(|&id| u64::from_le_bytes(id))
    }
}
