//! What all clients share: the ring of encoded frames and the newest result of each query.
//!
//! One writer, the consumer's thread, publishes; any number of [`Reader`]s read. The lock is held only for
//! work in memory (looking through the ring, copying pointers to frames, encoding one result), never across
//! I/O. Readers are woken by a `watch` channel, on which the writer never waits.
//!
//! **Invariants.** A query's version never goes backwards while the stream stays the same. A result is
//! encoded once as `result` and at most once as `snapshot`. No reader is given a result before the topic was
//! read to its end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use bytes::Bytes;
use common::protocol::{Cursor, Queries, Status, StreamId};
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::envelope::Envelope;
use crate::limits::{Limits, RingLimits};
use crate::metrics::{FrameKind, Metrics};

mod frame;
mod reader;
mod ring;
pub(crate) mod state;

pub use frame::{Frame, WRAPPING_BYTES};
pub use reader::{Batch, Reader, Subscribed};
use state::State;
pub use state::{Arrival, Dropped, Newest, Published, Resume};

/// Shared by the consumer, the routes and every session.
#[derive(Debug)]
pub struct Hub {
    state: RwLock<State>,
    published: watch::Sender<()>,
    /// How often the status of Kafka has changed.
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

    /// Reading begins at sequence `end`, for the first time or again: nothing is shown until
    /// [`complete`](Self::complete).
    pub fn begin(&self, stream: StreamId, end: u64) {
        self.write().begin(stream, end);
        self.tell_status();
    }

    /// The topic was read to its end. Does nothing when that is known already.
    pub fn complete(&self) {
        if !self.is_complete() {
            self.write().is_complete = true;
            self.tell_status();
        }
    }

    /// Shows a result, unless it is to be dropped: see [`Published`].
    pub fn publish(&self, result: &Envelope, arrival: Arrival) -> Published {
        let now_ms = arrival.now_ms;
        let mut state = self.write();
        // What was published before this process read the topic to its end tells nothing about the way here.
        let is_news = state.is_complete && result.ingested_ms > state.ingested_ms(&result.query);
        let published = state.publish(result, arrival, &self.limits);
        let newest_ms = state.newest_result_ms();
        drop(state);
        if published == Published::Shown {
            let metrics = &self.metrics;
            metrics.results.inc();
            metrics.frames_encoded.with_label_values(&[FrameKind::Result.as_str()]).inc();
            metrics.newest_result.set_ms(newest_ms.unwrap_or(0));
            if is_news {
                let latency_ms = now_ms.saturating_sub(result.ingested_ms);
                let latency = Duration::from_millis(u64::try_from(latency_ms).unwrap_or(0));
                metrics.result_latency.observe(latency.as_secs_f64());
            }
            self.published.send_replace(());
        }
        published
    }

    /// Keeps an audit for those who ask for it, unless its version is below that of the one that is kept. Clients that
    /// follow results are not told.
    pub fn publish_audit(&self, version: u64, arrival: Arrival) {
        self.write().publish_audit(version, arrival);
    }

    /// Sequence `seq` holds nothing to show.
    pub fn pass(&self, seq: u64) {
        self.write().ring.advance(seq);
    }

    /// The record at sequence `seq` says that the query was removed.
    pub fn retire(&self, seq: u64, query: &str) {
        let mut state = self.write();
        state.ring.advance(seq);
        if let Some(&index) = state.indices.get(query) {
            state.queries[index].newest = None;
        }
    }

    /// Says that Kafka answers (`None`), or since when it does not, in milliseconds since 1970.
    pub fn set_kafka(&self, away_since_ms: Option<i64>) {
        self.metrics.kafka_up.set(i64::from(away_since_ms.is_none()));
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

    /// Whether the topic was read to its end.
    pub fn is_complete(&self) -> bool {
        self.read().is_complete
    }

    /// Whether a subscription with this cursor can be answered finally: the topic was read to its end, and
    /// the cursor does not lie beyond what was read.
    pub fn has_reached(&self, cursor: Option<Cursor>) -> bool {
        let state = self.read();
        state.is_complete && cursor.is_none_or(|cursor| state.judge(cursor) != Resume::Ahead)
    }

    /// The status of Kafka, for clients.
    pub fn status(&self, now_ms: i64) -> Status {
        self.read().status(now_ms)
    }

    /// A number that changes when [`status`](Self::status) changes in more than its times.
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

    /// The newest audit, as it was published, and its cursor.
    pub fn audit(&self) -> Option<(Bytes, Cursor)> {
        self.read().audit.as_ref().map(|audit| (audit.payload.clone(), audit.cursor))
    }

    /// Changes whenever there may be something new for a reader.
    pub fn wake_ups(&self) -> watch::Receiver<()> {
        self.published.subscribe()
    }

    /// The text of a `snapshot` frame.
    pub fn snapshot_text(&self, frame: &Frame) -> Utf8Bytes {
        let kind = FrameKind::Snapshot.as_str();
        frame.snapshot(|| self.metrics.frames_encoded.with_label_values(&[kind]).inc())
    }

    /// Begins to read `queries`: after `cursor` if one is given and reading can resume from it, else with
    /// snapshots.
    pub fn subscribe(&self, queries: Queries, cursor: Option<Cursor>) -> Subscribed {
        reader::subscribe(&self.read(), queries, cursor)
    }

    /// The reader's next frames: at most `budget` bytes, or one larger frame. Empty when there is nothing new.
    pub fn take(&self, reader: &mut Reader, budget: usize) -> Batch {
        reader.take(&self.read(), budget)
    }

    /// Gives this reader only the newest result of each query from now on. Returns how many results it skips
    /// by that so far which were not reported before.
    pub fn conflate(&self, reader: &mut Reader) -> u64 {
        reader.conflate(&self.read())
    }

    /// The client acknowledges everything up to `cursor`.
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
    /// The distance between the reader's position and the ring's end.
    pub position: u8,
    /// What the client was given and has not acknowledged; 0 for a client that never acknowledges.
    pub unacknowledged: u8,
}

#[cfg(test)]
mod tests;
