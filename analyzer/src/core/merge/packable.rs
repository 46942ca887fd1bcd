//! Counts that are packed into bytes while they are not used.
//!
//! Most panes of a window, and most nodes of its tree, are needed again only when the window leaves them.

use std::sync::Arc;

use crate::core::summary::Frozen;

#[cfg(test)]
mod tests;

/// Counts, open or packed or both.
#[derive(Debug)]
pub(super) struct Packable {
    open: Option<Arc<Frozen>>,
    /// Once they were packed; always when they are not open.
    packed: Option<Box<[u8]>>,
    /// Since [`pack_if_unused`](Self::pack_if_unused) was called.
    is_used: bool,
}

impl Packable {
    pub(super) fn new(counts: Arc<Frozen>) -> Self {
        Self { open: Some(counts), packed: None, is_used: true }
    }

    /// The counts, which stay open until they are not used for a while.
    pub(super) fn open(&mut self) -> &Arc<Frozen> {
        self.is_used = true;
        self.open.get_or_insert_with(|| {
            #[expect(clippy::expect_used, reason = "packed below, and never changed")]
            let bytes = self.packed.as_deref().expect("packed, since they are not open");
            #[expect(clippy::expect_used, reason = "packed below, and never changed")]
            let counts = rmp_serde::from_slice(bytes).expect("packed counts are counts");
            Arc::new(counts)
        })
    }

    /// Packs the counts if they were not used since this was last called.
    pub(super) fn pack_if_unused(&mut self) {
        if std::mem::take(&mut self.is_used) {
            return;
        }
        if let Some(counts) = self.open.take() {
            self.packed.get_or_insert_with(|| {
                #[expect(clippy::expect_used, reason = "plain data, written to memory")]
                let bytes = rmp_serde::to_vec(&*counts).expect("a Vec takes any bytes");
                bytes.into()
            });
        }
    }
}
