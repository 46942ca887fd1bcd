//! What all clients share: the ring of encoded frames and the newest result of each query.
//!
//! One writer, the consumer's thread, publishes; any number of [`Reader`]s look. A lock is held for
//! as long as it takes to copy a few pointers or to encode one result, never across I/O. Readers are
//! woken by a `watch`, in which a writer never waits.
//!
//! **Invariants.** A query's version never goes backwards while the stream stays. A result is encoded
//! once as `result` and at most once as `snapshot`. Until the results were read up to their end, no
//! reader is given any.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use common::protocol::{Cursor, Queries, Status, StreamId};
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::envelope::Envelope;
use crate::limits::{Limits, RingLimits};
use crate::metrics::Metrics;

mod frame;
mod reader;
mod ring;
mod state;

pub use frame::{Frame, WRAPPING_BYTES};
pub use reader::{Batch, Reader, Subscribed};
use state::State;
pub use state::{Arrival, Newest, Published, Resume};

/// Shared by the consumer, the routes and every session.
#[derive(Debug)]
pub struct Hub {
    state: RwLock<State>,
    published: watch::Sender<()>,
    /// How often what is known of Kafka has changed.
    status_changes: AtomicU64,
    limits: Limits,
    metrics: Metrics,
}

impl Hub {
    /// A hub that shows nothing yet.
    pub fn new(ring: RingLimits, limits: Limits, metrics: Metrics) -> Self {
        Self {
            state: RwLock::new(State::new(ring)),
            published: watch::Sender::new(()),
            status_changes: AtomicU64::new(0),
            limits,
            metrics,
        }
    }

    // --- The consumer's side.

    /// Reading begins, anew or for the first time, at sequence `end`: nothing is shown until
    /// [`complete`](Self::complete).
    pub fn begin(&self, stream: StreamId, end: u64) {
        self.write().begin(stream, end);
        self.tell_status();
    }

    /// The results were read up to their end. Does nothing when that is known.
    pub fn complete(&self) {
        if !self.is_complete() {
            self.write().is_complete = true;
            self.tell_status();
        }
    }

    /// Shows a result, unless that would go backwards.
    pub fn publish(&self, result: &Envelope, arrival: Arrival) -> Published {
        let published = self.write().publish(result, arrival, &self.limits);
        if published == Published::Shown {
            self.metrics.results.inc();
            self.metrics.frames_encoded.with_label_values(&["result"]).inc();
            self.published.send_replace(());
        }
        published
    }

    /// Sequence `seq` holds nothing to show.
    pub fn pass(&self, seq: u64) {
        self.write().ring.advance(seq);
    }

    /// Sequence `seq` says that the query is gone.
    pub fn retire(&self, seq: u64, query: &str) {
        let mut state = self.write();
        state.ring.advance(seq);
        if let Some(&index) = state.indices.get(query) {
            state.queries[index].newest = None;
        }
    }

    /// Kafka answers, or has not since `away_since_ms`.
    pub fn set_kafka(&self, away_since_ms: Option<i64>) {
        let is_news = self.write().set_kafka(away_since_ms);
        if is_news {
            self.tell_status();
        }
    }

    fn tell_status(&self) {
        self.status_changes.fetch_add(1, Ordering::Release);
        self.published.send_replace(());
    }

    // --- The clients' side.

    /// Whether the results were read up to their end.
    pub fn is_complete(&self) -> bool {
        self.read().is_complete
    }

    /// Whether a subscription with this cursor can be answered for good: all results were read, and
    /// those up to the cursor are among them.
    pub fn has_reached(&self, cursor: Option<Cursor>) -> bool {
        let state = self.read();
        state.is_complete && cursor.is_none_or(|cursor| state.judge(cursor) != Resume::Ahead)
    }

    /// What is known of Kafka.
    pub fn status(&self, now_ms: i64) -> Status {
        self.read().status(now_ms)
    }

    /// Another number than before: [`status`](Self::status) has changed in more than its times.
    pub fn status_changes(&self) -> u64 {
        self.status_changes.load(Ordering::Acquire)
    }

    /// The newest result of one query.
    pub fn newest(&self, query: &str) -> Option<Newest> {
        let state = self.read();
        state.indices.get(query).and_then(|&index| state.queries[index].newest.clone())
    }

    /// The newest result of every query, by name.
    pub fn all(&self) -> Vec<(String, Newest)> {
        let state = self.read();
        let shown = |query: &state::Query| Some((query.name.clone(), query.newest.clone()?));
        let mut all: Vec<_> = state.queries.iter().filter_map(shown).collect();
        drop(state);
        all.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        all
    }

    /// Wakes whenever there may be something new.
    pub fn wake_ups(&self) -> watch::Receiver<()> {
        self.published.subscribe()
    }

    /// The text of a `snapshot` frame.
    pub fn snapshot_text(&self, frame: &Frame) -> Utf8Bytes {
        frame.snapshot(|| self.metrics.frames_encoded.with_label_values(&["snapshot"]).inc())
    }

    /// Begins to read `queries`: after `cursor` if there is one and it can be resumed from, else with
    /// snapshots.
    pub fn subscribe(&self, queries: Queries, cursor: Option<Cursor>) -> Subscribed {
        reader::subscribe(&self.read(), queries, cursor)
    }

    /// The reader's next frames, of `budget` bytes or one frame; empty when there is nothing new.
    pub fn take(&self, reader: &mut Reader, budget: usize) -> Batch {
        reader.take(&self.read(), budget)
    }

    /// From now on only the newest result of each query matters to this reader. Returns how many
    /// results are passed over by that so far and were not reported before.
    pub fn conflate(&self, reader: &mut Reader) -> u64 {
        reader.conflate(&self.read())
    }

    /// The client is done with everything up to `cursor`.
    pub fn acknowledge(&self, reader: &mut Reader, cursor: Cursor) {
        reader.acknowledge(&self.read(), cursor);
    }

    /// How far the reader is behind, see [`Behind`].
    pub fn behind(&self, reader: &mut Reader) -> Behind {
        let state = self.read();
        reader.scan(&state);
        Behind {
            position: reader.percent_behind(&state),
            unacknowledged: reader.percent_unacknowledged(&state),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far a reader is behind, in percent of the ring.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Behind {
    /// What lies between the reader's position and the ring's end.
    pub position: u8,
    /// What the client was given and has not acknowledged; 0 for one that acknowledges nothing.
    pub unacknowledged: u8,
}

#[cfg(test)]
mod tests;
