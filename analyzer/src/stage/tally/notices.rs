//! Warnings about events that are set aside and queries that find nothing, once a minute at most.

use std::time::{Duration, Instant};

use crate::core::notices::{Notice, Notices};
use crate::core::plan::Plan;
use crate::metrics::Metrics;

/// How often the same may be said.
const INTERVAL: Duration = Duration::from_secs(60);

/// What all tallies of this process have noticed, and when it is due to be said.
pub struct Warnings {
    /// Collects what is noticed until then.
    pub notices: Notices,
    next: Instant,
}

impl Warnings {
    /// The first ones are due at once: who has just started a pipeline is looking.
    pub fn new(now: Instant) -> Self {
        Self { notices: Notices::default(), next: now }
    }

    /// Says what there is to say, if it is due.
    pub fn say(&mut self, now: Instant, plan: &Plan, metrics: &Metrics) {
        if now < self.next {
            return;
        }
        let notices = self.notices.take(plan);
        if !notices.is_empty() {
            self.next = now + INTERVAL;
        }
        for notice in notices {
            if let Notice::Unmatched { query, .. } = &notice {
                metrics.unmatched_queries.with_label_values(&[query.as_str()]).set(1);
            }
            tracing::warn!("{notice}");
        }
    }
}
