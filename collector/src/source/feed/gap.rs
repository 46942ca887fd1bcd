//! An interval whose messages are missing.

use crate::metrics::SourceMetrics;

/// One that is open, until the next message comes.
#[derive(Debug)]
pub(super) struct Gap {
    /// When the last message before it came, in milliseconds since 1970; `None` if there was none.
    pub(super) after_ms: Option<i64>,
    pub(super) why: &'static str,
}

impl Gap {
    /// Counts and tells it, as a message comes at `now_ms`.
    pub(super) fn end(self, source: &str, now_ms: i64, metrics: &SourceMetrics) {
        metrics.gaps.inc();
        let length_ms = self.after_ms.map(|after_ms| now_ms.saturating_sub(after_ms).max(0));
        metrics.gap_ms.inc_by(length_ms.unwrap_or_default().unsigned_abs());
        tracing::warn!(
            source,
            from_ms = self.after_ms,
            to_ms = now_ms,
            length_ms,
            why = self.why,
            "gap: messages that came in between are missing"
        );
    }
}
