//! For tests: all that a tally stores, and a tally that goes on from it.

use std::sync::Arc;

use crate::core::plan::Plan;
use crate::core::snapshot::{Blocks, Error, Snapshot};
use crate::core::tally::{Restoring, Tally};

/// A snapshot with the blocks that it names.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) snapshot: Vec<u8>,
    pub(crate) blocks: Blocks,
}

impl Stored {
    pub(crate) fn of(tally: &Tally) -> Self {
        let blocks = tally.blocks().cloned().collect();
        Self { snapshot: tally.snapshot().encode(), blocks }
    }

    /// A tally of `plan` that goes on from this.
    pub(crate) fn restore(&self, plan: &Arc<Plan>) -> Result<Tally, Error> {
        let snapshot = Snapshot::decode(&self.snapshot)?;
        let mut restoring = Restoring::new(snapshot.partition(), plan);
        restoring.offer(snapshot, &self.blocks)?;
        Ok(restoring.finish())
    }
}
