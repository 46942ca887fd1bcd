//! Counts that are packed into bytes, a third of the memory, while they are not used.
//!
//! Most panes of a window, and most nodes of its tree, are needed again only when the window leaves them.

use std::sync::Arc;

use crate::core::summary::Frozen;

/// Counts, packed or not.
#[derive(Debug)]
pub(super) struct Packable {
    form: Form,
    /// Since [`pack_if_unused`](Self::pack_if_unused) was called.
    is_used: bool,
}

#[derive(Debug)]
enum Form {
    Open(Arc<Frozen>),
    Packed(Box<[u8]>),
}

impl Packable {
    pub(super) fn new(counts: Arc<Frozen>) -> Self {
        Self { form: Form::Open(counts), is_used: true }
    }

    /// The counts, which stay open until they are not used for a while.
    pub(super) fn open(&mut self) -> &Arc<Frozen> {
        self.is_used = true;
        if let Form::Packed(bytes) = &self.form {
            #[expect(clippy::expect_used, reason = "packed below, and never changed")]
            let counts = rmp_serde::from_slice(bytes).expect("packed counts are counts");
            self.form = Form::Open(Arc::new(counts));
        }
        match &self.form {
            Form::Open(counts) => counts,
            Form::Packed(_) => unreachable!("opened above"),
        }
    }

    /// Packs the counts if they were not used since this was last called.
    pub(super) fn pack_if_unused(&mut self) {
        let is_used = std::mem::take(&mut self.is_used);
        if let (false, Form::Open(counts)) = (is_used, &self.form) {
            #[expect(clippy::expect_used, reason = "plain data, written to memory")]
            let bytes = rmp_serde::to_vec(&**counts).expect("a Vec takes any bytes");
            self.form = Form::Packed(bytes.into());
        }
    }
}
