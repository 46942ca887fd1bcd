//! A tier's end of the queue to the exporter.

use std::sync::Arc;

use prometheus::IntCounter;
use tokio::sync::mpsc;

use super::span::Span;
use crate::clock::Clock;

/// Takes the spans of a tier; a copy is as good as the original. When nothing is traced it costs a comparison.
#[derive(Debug, Clone, Default)]
pub struct Tracer(Option<Arc<Active>>);

#[derive(Debug)]
struct Active {
    queue: mpsc::Sender<Span>,
    /// The highest hash of an id that is sampled.
    highest: u64,
    clock: Clock,
    dropped: IntCounter,
}

impl Tracer {
    /// Traces nothing.
    pub const fn off() -> Self {
        Self(None)
    }

    /// Puts spans of one in `sample` events into `queue`; those that find no room are counted in `dropped`.
    pub(super) fn new(
        queue: mpsc::Sender<Span>,
        sample: u64,
        clock: Clock,
        dropped: IntCounter,
    ) -> Self {
        let highest = u64::MAX / sample.max(1);
        Self(Some(Arc::new(Active { queue, highest, clock, dropped })))
    }

    /// Whether anything is traced.
    #[inline]
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Whether the event is traced whose id has this [`hash`](crate::event::identity::hash). All tiers that are configured
    /// alike answer the same.
    #[inline]
    pub fn samples(&self, id: u64) -> bool {
        self.0.as_ref().is_some_and(|active| id <= active.highest)
    }

    /// The present, in nanoseconds since 1970; 0 if nothing is traced.
    pub fn now_ns(&self) -> u64 {
        self.0.as_ref().map_or(0, |active| active.clock.now_ns())
    }

    /// Hands a span to the exporter. Never waits: when there is no room the span is dropped and counted.
    pub fn record(&self, span: Span) {
        if let Some(active) = &self.0
            && active.queue.try_send(span).is_err()
        {
            active.dropped.inc();
        }
    }

    /// Counts a span that its tier has no room to keep until it ends.
    pub fn drop_one(&self) {
        if let Some(active) = &self.0 {
            active.dropped.inc();
        }
    }
}
